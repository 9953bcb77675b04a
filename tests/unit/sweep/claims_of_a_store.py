"""What a results folder does wherever it is: those claims of the tests in `tests/unit/sweep/store` that hold in object stores too."""

import inspect
from collections.abc import Callable

import pytest

from sweep.store.store import Store
from tests.unit.sweep.store import test_checkpoints, test_records, test_rows, test_store, test_store_manifest

CLAIMS = (
    test_store_manifest.test_the_same_sweep_may_come_again_under_another_name,
    test_store_manifest.test_another_sweep_is_refused_with_every_difference_and_both_values,
    test_store_manifest.test_studies_are_added_and_stay,
    test_store_manifest.test_results_without_a_manifest_are_an_error,
    test_store_manifest.test_a_given_box_never_moves_and_that_of_a_placed_front_replaces_the_rule,
    test_records.test_each_run_has_its_number_and_plan,
    test_records.test_a_number_that_a_result_or_checkpoint_bears_is_not_given_again,
    test_rows.test_a_published_row_is_read_back_whole,
    test_rows.test_a_curve_that_breaks_the_contract_is_refused,
    test_rows.test_of_a_trial_the_highest_attempt_and_retry_counts,
    test_rows.test_rows_of_some_trials_and_columns_alone_are_read,
    test_rows.test_an_older_row_counts_while_the_latest_is_torn,
    test_rows.test_a_damaged_write_is_noticed_before_anything_is_removed,
    test_store.test_blobs_are_named_by_their_content,
    test_checkpoints.test_a_checkpoint_is_found_by_its_header,
    test_checkpoints.test_a_newer_checkpoint_replaces_older_ones_and_fences_off_late_writers,
    test_checkpoints.test_checkpoints_go_when_their_every_trial_is_complete,
    test_store.test_a_stop_is_asked_for_and_forgotten,
    test_records.test_a_latency_is_kept_replaced_and_forgotten,
    test_store.test_a_store_travels_to_workers,
)
DAMAGES = (
    test_store.damage_blob,
    test_store.lose_blob,
    *map(test_store.write_torn, ("rows/x.1-0.parquet", "trials.parquet", "checkpoints/x.1-0.safetensors", "plans/1.json", "control.json")),
)


def name_of(claim: Callable[..., None]) -> str:
    """For pytest's ids."""
    return claim.__name__.removeprefix("test_")


def check(claim: Callable[..., None], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a claim about a store."""
    given = {"store": store, "monkeypatch": monkeypatch}
    claim(**{name: given[name] for name in inspect.signature(claim).parameters})
