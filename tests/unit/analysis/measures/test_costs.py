"""What a sweep used and cost, and what its sparse networks save: sums against sums by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row

from analysis import Costs, read_results
from analysis.measures.costs import Spent, costs_of, savings, spent
from analysis.report.cost import cost_texts
from analysis.results.table import ResultTable

PRICES = {"usd_per_device_hour": 2.0, "usd_per_kwh": 0.5, "g_co2_per_kwh": 400.0}
SPENT = {"device_s": 3600.0, "energy_wh": 250.0, "energy_estimated": False}


def table_of(folder: Path, *changes: dict[str, Any], costs: Any = None) -> ResultTable:
    """A sweep whose trials differ from `trial_row` by these values."""
    write_manifest(folder, TWO_TASKS)
    rows = [
        trial_row(i, k, TWO_TASKS, **change) for i, (k, change) in enumerate(zip(preference_grid(2, len(changes)), changes, strict=True))
    ]
    write_plan(folder, rows)
    if costs is not None:
        path = folder / "plans" / "1.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"config": {"costs": costs}}))
    for row in rows:
        write_row(folder, row, TWO_TASKS)
    return read_results(folder)


def facts_of(table: ResultTable, given: Costs | None = None) -> dict[str, str]:
    section = cost_texts(table, given)
    assert section is not None
    return dict(section.facts)


# -- what was used ------------------------------------------------------------------------------------------------------


def test_measured_estimated_and_unknown_energies_are_told_apart(tmp_path: Path) -> None:
    estimated, unknown = SPENT | {"energy_wh": 750.0, "energy_estimated": True}, {"device_s": 1800.0}
    failed = {"state": "error", "error": "its own", "device_s": None}
    table = table_of(tmp_path, SPENT, SPENT, estimated, unknown, failed)
    assert spent(table) == Spent(5, 4, 3.5, n_measured=2, measured_kwh=0.5, n_estimated=1, estimated_kwh=0.75)
    facts = facts_of(table)
    assert facts["Device hours"] == "3.5, of 4 of 5 trials"
    assert facts["Energy"] == (
        "0.5 kWh measured in 2 trials\n0.75 kWh estimated in 1 trial (others used the device too)\nnot measured in 2 trials"
    )
    assert "CO2" not in facts
    assert "Money" not in facts


def test_a_trial_that_failed_counts_with_what_it_used(tmp_path: Path) -> None:
    table = table_of(tmp_path, SPENT, SPENT | {"state": "error", "error": "its own"}, SPENT | {"state": "diverged"})
    assert (spent(table).device_h, spent(table).kwh) == (3.0, 0.75)


def test_rows_of_an_earlier_version_say_that_nothing_was_measured(tmp_path: Path) -> None:
    """Without the later columns; their device seconds are there."""
    import pyarrow.parquet as pq

    table_of(tmp_path, SPENT, SPENT)
    for path in (tmp_path / "rows").glob("*.parquet"):
        old = pq.read_table(path).drop_columns(["energy_estimated", "energy_wh", "n_macs", "removable_macs", "removable_params"])
        pq.write_table(old, path, write_page_checksum=True)
    facts = facts_of(read_results(tmp_path), Costs(**PRICES))
    assert facts["Device hours"] == "2, of 2 trials"
    assert facts["Energy"] == "not measured in 2 trials"
    assert facts["CO2"] == "not known, as no energy was measured"
    assert facts["Money"] == "4 USD for devices, at 2 USD an hour\nelectricity not known, as no energy was measured"


@pytest.mark.parametrize("device_s", [None, float("nan"), -1.0])
def test_without_any_device_time_there_is_no_section(tmp_path: Path, device_s: float | None) -> None:
    assert cost_texts(table_of(tmp_path, {"device_s": device_s}, {"device_s": device_s})) is None


# -- its price ----------------------------------------------------------------------------------------------------------


def test_the_grid_file_s_prices_hold(tmp_path: Path) -> None:
    facts = facts_of(table_of(tmp_path, SPENT, SPENT, costs=PRICES))
    assert facts["CO2"] == "200 g, at 400 g a kWh"
    assert facts["Money"] == "4 USD for devices, at 2 USD an hour\n0.25 USD for electricity, at 0.5 USD a kWh"


def test_prices_that_a_person_gives_replace_them_one_by_one(tmp_path: Path) -> None:
    facts = facts_of(table_of(tmp_path, SPENT, SPENT, costs=PRICES), Costs(g_co2_per_kwh=0.0, usd_per_kwh=1.0))
    assert facts["CO2"] == "0 g, at 0 g a kWh"
    assert facts["Money"] == "4 USD for devices, at 2 USD an hour\n0.5 USD for electricity, at 1 USD a kWh"


def test_prices_of_energy_are_of_the_trials_that_were_measured(tmp_path: Path) -> None:
    facts = facts_of(table_of(tmp_path, SPENT, {"device_s": 1.0}, costs=PRICES))
    assert facts["CO2"] == "100 g, at 400 g a kWh, of the 1 trial whose energy is known"


@pytest.mark.parametrize("costs", [None, [], "dear", {"usd_per_kwh": "1"}, {"usd_per_kwh": -1}, {"usd_per_kwh": True}, {"eur": 1}])
def test_a_plan_without_prices_or_with_odd_ones_has_none(costs: Any) -> None:
    """Plans of earlier versions, and files that another program wrote."""
    assert costs_of({"config": {"costs": costs}}) == Costs()
    assert costs_of({"config": None}) == costs_of({}) == costs_of(None) == Costs()


# -- what sparsity saved ------------------------------------------------------------------------------------------------


def row_with(accuracy: float, zero: float | None, **changes: Any) -> dict[str, Any]:
    removable = {} if zero is None else {"sparsity_rate_params": zero, "removable_params": round(zero * 1000), "n_params": 1000}
    accuracies = {f"accuracy.{split}.mean": accuracy for split in ("validation", "test")}
    return SPENT | accuracies | {"removable_macs": None, "sparsity_rate": zero} | removable | changes


def test_the_sparsest_network_as_good_as_the_best_counts(tmp_path: Path) -> None:
    table = table_of(
        tmp_path,
        row_with(0.95, 0.0, removable_macs=0, n_macs=1000),
        row_with(0.941, 0.61, removable_macs=400, n_macs=1000),
        row_with(0.939, 0.8),  # sparser, and more than a point below
        row_with(0.945, 0.3),
    )
    (saving,) = savings(table)
    assert (saving.study, saving.params, saving.macs, saving.has_dense) == ("main", 0.61, 0.4, True)
    assert saving.trial_id == table.frame["trial_id"][1]
    section = cost_texts(table)
    assert section is not None
    assert section.sentence == (
        "The sweep took 4 device hours (1 kWh measured); the sparsest trial within 1 point of the best mean accuracy has "
        "61 % fewer parameters and 40 % fewer multiply-adds at inference."
    )
    assert dict(section.facts)["Saved, main"].startswith("61 % fewer parameters and 40 % fewer multiply-adds at inference than the dense ")
    assert dict(section.facts)["Saved, main"].endswith("; mean test accuracy 94.1 %, best trial 95.0 %")


def test_what_compression_removes_from_the_dense_network_too_is_no_saving(tmp_path: Path) -> None:
    dense = row_with(0.95, 0.0, removable_params=100, removable_macs=500, n_macs=1000)
    (saving,) = savings(table_of(tmp_path, dense, row_with(0.95, 0.55, removable_macs=750, n_macs=1000)))
    assert (saving.params, saving.macs) == pytest.approx((0.5, 0.5))


def test_each_study_is_compared_with_its_own_networks(tmp_path: Path) -> None:
    """The second one has no dense network; the third no sparse one, and is not mentioned."""
    other, third = {"study": "other", "model": "hps"}, {"study": "third"}
    rows = [row_with(0.95, 0.0), row_with(0.95, 0.25), row_with(0.8, 0.5) | other, row_with(0.79, 0.75) | other, row_with(0.9, 0.0) | third]
    table = table_of(tmp_path, *rows)
    assert [(saving.study, saving.params, saving.has_dense) for saving in savings(table)] == [("main", 0.25, True), ("other", 0.75, False)]
    section = cost_texts(table)
    assert section is not None
    assert "the sparsest trial of other within 1 point" in section.sentence
    assert "than the whole network, which no trial of this study is" in dict(section.facts)["Saved, other"]


def test_where_only_the_dense_network_is_good_nothing_is_saved(tmp_path: Path) -> None:
    table = table_of(tmp_path, row_with(0.95, 0.0), row_with(0.5, 0.9))
    (saving,) = savings(table)
    assert saving.params == 0
    section = cost_texts(table)
    assert section is not None
    assert section.sentence == "The sweep took 2 device hours (0.5 kWh measured)."
    assert dict(section.facts)["Saved, main"] == "nothing: no trial with zero rows is within 1 point of the best mean accuracy"


def test_without_accuracies_losses_decide(tmp_path: Path) -> None:
    none = {f"accuracy.{split}.{name}": None for split in ("train", "validation", "test") for name in (*TWO_TASKS, "mean")}
    losses = [{f"loss.validation.{task}": value for task in TWO_TASKS} for value in (1.0, 1.09, 1.2)]
    changes = [row_with(0, zero) | none | loss for zero, loss in zip((0.0, 0.5, 0.75), losses, strict=True)]
    table_of(tmp_path, *changes)
    write_manifest(tmp_path, TWO_TASKS, metrics=dict.fromkeys(TWO_TASKS, "root mean squared error"))
    table = read_results(tmp_path)
    (saving,) = savings(table)
    assert (saving.params, saving.accuracy_test) == (0.5, None)
    assert facts_of(table)["Saved, main"].endswith("in the sparsest trial within 10 % of the best mean loss " + f"({saving.trial_id})")


def test_rows_without_counts_have_the_share_of_their_weights(tmp_path: Path) -> None:
    old = {"removable_params": None, "sparsity_rate_params": 0.4, "sparsity_rate": 0.5}
    (saving,) = savings(table_of(tmp_path, row_with(0.95, 0.0), row_with(0.95, None, **old)))
    assert (saving.params, saving.macs) == (0.4, None)
