"""Which trial is picked, why the others lost, and what is said when none fits."""

import json
from pathlib import Path

import pytest
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_plan, write_row, write_store

from analysis.decide.pick import pick, pick_json, pick_text
from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable, read_results

RIGHT = "loss.validation.right"


def table_of(folder: Path, trials: list[dict[str, float]], **manifest: object) -> ResultTable:
    """One `ok` trial each with these columns; the i-th one's id begins with i."""
    write_manifest(folder, TWO_TASKS, **manifest)
    rows = [trial_row(i, [0.01, 0.5, 0.49], TWO_TASKS) for i in range(len(trials))]
    for row, changes in zip(rows, trials, strict=True):
        row |= changes
        row["parameter_sharing"] = row["compression_rate"] * (1 - row["sparsity_rate"])
    write_plan(folder, rows)
    for row in rows:
        write_row(folder, row, TWO_TASKS)
    return read_results(folder)


def trial(rate: float, accuracy: float, loss: float) -> dict[str, float]:
    return {"sparsity_rate": rate, "accuracy.test.left": accuracy, RIGHT: loss}


def ids(table: ResultTable) -> list[str]:
    return [str(name) for name in table.frame["trial_id"]]


BOUNDS = {"sparsity_rate": 0.5, "accuracy.test.left": 0.95}


def test_the_best_of_those_that_keep_every_bound_is_picked(tmp_path):
    table = table_of(tmp_path, [trial(0.4, 0.99, 0.1), trial(0.6, 0.94, 0.1), trial(0.6, 0.96, 0.3), trial(0.7, 0.96, 0.2)])
    found = pick(table, at_least=BOUNDS, minimise=RIGHT)
    assert found.chosen is not None
    assert found.chosen["trial_id"] == ids(table)[3]
    assert (found.n_fitting, found.n_trials) == (2, 4)


def test_a_bound_is_kept_by_equality_and_at_most_works_the_other_way(tmp_path):
    table = table_of(tmp_path, [trial(0.5, 0.95, 0.3), trial(0.5, 0.95, 0.2)])
    found = pick(table, at_least=BOUNDS, at_most=[(RIGHT, 0.3)], maximise=RIGHT)
    assert found.chosen is not None
    assert found.chosen["trial_id"] == ids(table)[0]
    assert pick(table, at_most=[(RIGHT, 0.19)], maximise=RIGHT).chosen is None


def test_the_neighbours_lose_for_a_missed_bound_or_a_worse_value(tmp_path):
    table = table_of(tmp_path, [trial(0.45, 0.96, 0.1), trial(0.6, 0.96, 0.2), trial(0.6, 0.97, 0.25)])
    found = pick(table, at_least=BOUNDS, minimise=RIGHT)
    reasons = {loser.trial_id: loser for loser in found.losers}
    first, _, third = ids(table)
    assert reasons[third].worse_by == pytest.approx(0.05)
    assert reasons[third].missed == ()
    assert [(bound.column, pytest.approx(by)) for bound, by in reasons[first].missed] == [("sparsity_rate", 0.05)]
    text = pick_text(table, found)
    assert f"{third}: {RIGHT} is 0.05 higher" in text
    assert f"{first}: misses sparsity_rate >= 0.5 by 0.05, though its {RIGHT} is 0.1 better" in text


def test_when_nothing_fits_the_bound_in_the_way_and_the_nearest_trial_are_named(tmp_path):
    table = table_of(tmp_path, [trial(0.48, 0.96, 0.1), trial(0.6, 0.80, 0.2), trial(0.1, 0.5, 0.1)])
    found = pick(table, at_least=BOUNDS, minimise=RIGHT)
    assert found.chosen is None
    assert [(bound.column, value) for bound, value in found.to_relax] == [("sparsity_rate", 0.48), ("accuracy.test.left", 0.8)]
    text = pick_text(table, found)
    assert "with sparsity_rate >= 0.48 one trial fits" in text
    assert f"nearest: trial {ids(table)[0]} misses sparsity_rate >= 0.5 by 0.02" in text


@pytest.mark.parametrize("value", [0.123456, 0.61253456, 12345.678, -0.123456])
def test_the_bound_that_is_named_lets_a_trial_fit_after_rounding(tmp_path, value):
    table = table_of(tmp_path, [{RIGHT: value}])
    for bounds in ({"at_least": {RIGHT: value + 1}}, {"at_most": {RIGHT: value - 1}}):
        text = pick_text(table, pick(table, minimise=RIGHT, **bounds))
        number = float(text.partition(" one trial fits")[0].split()[-1])
        relaxed = {key: {RIGHT: number} for key in bounds}
        assert pick(table, minimise=RIGHT, **relaxed).chosen is not None


def test_when_two_bounds_are_in_the_way_no_single_one_is_named(tmp_path):
    table = table_of(tmp_path, [trial(0.3, 0.8, 0.1)])
    found = pick(table, at_least=BOUNDS, minimise=RIGHT)
    assert found.to_relax == ()
    assert "relax more than one bound" in pick_text(table, found)


def test_a_trial_without_a_value_neither_wins_nor_breaks_the_others(tmp_path):
    table = table_of(tmp_path, [trial(0.6, float("nan"), 0.1), trial(0.6, 0.96, 0.2)])
    found = pick(table, at_least=BOUNDS, minimise=RIGHT)
    assert found.chosen is not None
    assert found.chosen["trial_id"] == ids(table)[1]
    assert "accuracy.test.left is not known" in pick_text(table, found)
    assert json.loads(pick_json(found))["losers"][0]["missed"][0]["by"] is None


def test_unknown_columns_are_one_message_with_close_names(tmp_path):
    table = table_of(tmp_path, [trial(0.6, 0.9, 0.1)])
    with pytest.raises(ResultsError) as error:
        pick(table, at_least={"sparsty_rate": 0.5, "energy_wh": 1}, minimise="loss.validation.rigth")
    text = str(error.value)
    assert "loss.validation.rigth: no such column\n  hint: did you mean `loss.validation.right`" in text
    assert "sparsty_rate: no such column\n  hint: did you mean `sparsity_rate`" in text
    assert "energy_wh: no finished trial has a number there" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one column to decide by"),
        ({"minimise": RIGHT, "maximise": RIGHT}, "one column to decide by"),
        ({"minimise": RIGHT, "at_least": {"seed": float("nan")}}, "a finite bound expected"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    table = table_of(tmp_path, [trial(0.6, 0.9, 0.1)])
    with pytest.raises(ResultsError, match=message):
        pick(table, **options)


def test_a_store_without_a_finished_trial_is_refused(tmp_path):
    write_store(tmp_path, n_trials=0)
    with pytest.raises(ResultsError, match="no finished trial to pick from"):
        pick(read_results(tmp_path), minimise=RIGHT)


def test_a_candidate_of_a_search_is_never_shipped(tmp_path):
    studies = [{"name": "main", "model": "hps", "method": "wcal_growl", "candidate_of": "search"}, {"name": "search", "candidates": [{}]}]
    table = table_of(tmp_path, [trial(0.6, 0.9, 0.1)], studies=studies)
    with pytest.raises(ResultsError, match="no finished trial"):
        pick(table, minimise=RIGHT)


def test_json_holds_the_whole_row(tmp_path):
    table = table_of(tmp_path, [trial(0.6, 0.96, 0.1), trial(0.7, 0.96, 0.2)])
    found = json.loads(pick_json(pick(table, at_least=BOUNDS, minimise=RIGHT)))
    assert found["chosen"]["trial_id"] == ids(table)[0]
    assert found["chosen"]["k"] == [0.01, 0.5, 0.49]
    assert found["sense"] == "min"
    assert found["losers"][0]["worse_by"] == pytest.approx(0.1)
