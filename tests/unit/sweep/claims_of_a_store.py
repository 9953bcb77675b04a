"""What a results folder does wherever it is: the claims of `test_store.py` that hold in object stores too."""

import inspect
from collections.abc import Callable

import pytest

from sweep.store.store import Store
from tests.unit.sweep.store import test_store as on_a_disk

CLAIMS = (
    on_a_disk.test_the_same_sweep_may_come_again_under_another_name,
    on_a_disk.test_another_sweep_is_refused_with_every_difference_and_both_values,
    on_a_disk.test_studies_are_added_and_stay,
    on_a_disk.test_results_without_a_manifest_are_an_error,
    on_a_disk.test_a_given_hypervolume_reference_never_moves,
    on_a_disk.test_each_run_has_its_number_and_plan,
    on_a_disk.test_a_number_that_a_result_or_checkpoint_bears_is_not_given_again,
    on_a_disk.test_a_published_row_is_read_back_whole,
    on_a_disk.test_a_curve_that_breaks_the_contract_is_refused,
    on_a_disk.test_of_a_trial_the_highest_attempt_and_retry_counts,
    on_a_disk.test_rows_of_some_trials_and_columns_alone_are_read,
    on_a_disk.test_an_older_row_counts_while_the_latest_is_torn,
    on_a_disk.test_a_damaged_write_is_noticed_before_anything_is_removed,
    on_a_disk.test_blobs_are_named_by_their_content,
    on_a_disk.test_a_checkpoint_is_found_by_its_header,
    on_a_disk.test_a_newer_checkpoint_replaces_older_ones_and_fences_off_late_writers,
    on_a_disk.test_checkpoints_go_when_their_every_trial_is_complete,
    on_a_disk.test_a_stop_is_asked_for_and_forgotten,
    on_a_disk.test_a_latency_is_kept_replaced_and_forgotten,
    on_a_disk.test_a_store_travels_to_workers,
)
DAMAGES = (
    on_a_disk.damage_blob,
    on_a_disk.lose_blob,
    *map(on_a_disk.write_torn, ("rows/x.1-0.parquet", "trials.parquet", "checkpoints/x.1-0.safetensors", "plans/1.json", "control.json")),
)


def name_of(claim: Callable[..., None]) -> str:
    """For pytest's ids."""
    return claim.__name__.removeprefix("test_")


def check(claim: Callable[..., None], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a claim about a store."""
    given = {"store": store, "monkeypatch": monkeypatch}
    claim(**{name: given[name] for name in inspect.signature(claim).parameters})
