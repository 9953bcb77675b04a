"""Two fronts against each other."""

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row, write_store

from analysis.decide.compare import compare, comparison_json, comparison_text
from analysis.figures.export import write_html
from analysis.results.columns import PARAMETERS_KEPT, ROWS_KEPT
from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable, read_results


def sweep_of(folder: Path, n_seeds: int, better_by: float = 0.0, model: str = "mdmtn", **manifest: object) -> ResultTable:
    """A sweep whose task losses are lower by a number, with a little noise over seeds."""
    studies = [{"name": "main", "model": model, "method": "wcal_growl", "training": {}}]
    write_manifest(folder, TWO_TASKS, **({"name": folder.name, "studies": studies} | manifest))
    rows = []
    for seed in range(n_seeds):
        for i, k in enumerate(preference_grid(2, 8)):
            row = trial_row(100 * seed + i, k, TWO_TASKS, seed=seed, model=model)
            row |= {f"loss.validation.{task}": row[f"loss.validation.{task}"] - better_by for task in TWO_TASKS}
            rows.append(row)
    write_plan(folder, rows)
    for row in rows:
        write_row(folder, row, TWO_TASKS)
    return read_results(folder)


@pytest.mark.full
def test_a_front_that_is_better_everywhere_has_more_hypervolume_and_needs_no_shift(tmp_path):
    a, b = sweep_of(tmp_path / "a", 3, better_by=0.03), sweep_of(tmp_path / "b", 3)
    found = compare(a, b)
    assert found.difference.low is not None
    assert found.difference.low > 0
    assert found.epsilon[0] < found.epsilon[1]
    assert "A is better" in comparison_text(found)
    assert "B is better" in comparison_text(compare(b, a))
    assert compare(b, a).difference.mean == pytest.approx(-(found.difference.mean or 0))


def test_a_front_against_itself_differs_by_nothing(tmp_path):
    a = sweep_of(tmp_path / "a", 2)
    found = compare(a, a)
    assert found.difference.mean == 0
    assert "no difference beyond the seeds" in comparison_text(found)


def test_with_one_seed_there_is_no_interval_and_it_says_so(tmp_path):
    found = compare(sweep_of(tmp_path / "a", 1), sweep_of(tmp_path / "b", 1, better_by=0.01))
    assert found.difference.low is None
    assert "at least two seeds on each side" in comparison_text(found)
    assert "bootstrap" not in comparison_text(found)


def test_the_box_is_common_stated_and_never_taken_from_the_results(tmp_path):
    a = sweep_of(tmp_path / "a", 1, hypervolume_reference=[120.0, 2.0, 3.0])
    b = sweep_of(tmp_path / "b", 1, hypervolume_reference=[100.0, 2.5, 3.0])
    none = sweep_of(tmp_path / "none", 1, hypervolume_reference=None)
    assert (compare(a, b).ideal, compare(a, b).reference) == ((0.0, 0.0, 0.0), (1.0, 2.5, 3.0))
    assert "the worse nadir of both manifests" in comparison_text(compare(a, b))
    assert "share of rows kept from 0 to 1, left from 0 to 2.5, right from 0 to 3" in comparison_text(compare(a, b))
    assert compare(none, b).reference == (1.0, 2.5, 3.0)
    assert compare(a, b, reference=[1, 4, 4]).reference == (1.0, 4.0, 4.0)
    assert not any("beyond" in note for note in compare(a, b, reference=[1, 4, 4]).notes)
    assert any("1000 for sparsity is a GrOWL norm" in note for note in compare(a, b, reference=[1000, 4, 4]).notes)
    n_beyond = int((a.ok.frame["sparsity_rate"] < 0.5).sum())
    assert 0 < n_beyond < len(a.ok.frame)
    assert f"a: {n_beyond} finished trials lie beyond the nadir and add nothing" in compare(a, b, reference=[0.5, 4, 4]).notes
    with pytest.raises(ResultsError, match="left: a nadir worse than the ideal expected"):
        compare(a, b, reference=[1, 0, 4])
    with pytest.raises(ResultsError, match="neither manifest states the box"):
        compare(none, none)
    with pytest.raises(ResultsError, match="expects 3 finite numbers"):
        compare(a, b, reference=[1, 2])


def test_manifests_that_count_different_shares_are_compared_by_rows(tmp_path):
    axes = [PARAMETERS_KEPT, *(f"loss.validation.{task}" for task in TWO_TASKS)]
    box = {"axes": axes, "ideal": [0, 0, 0], "nadir": [1, 2, 2], "origin": "rule"}
    a, b = sweep_of(tmp_path / "a", 1), sweep_of(tmp_path / "b", 1, hypervolume_box=box)
    assert compare(a, b).objectives[0] == ROWS_KEPT
    assert compare(b, b).objectives[0] == PARAMETERS_KEPT
    assert any("share of parameters kept" in note for note in compare(b, b).notes)


def test_two_architectures_are_compared_by_the_rows_that_are_left(tmp_path):
    a, b = sweep_of(tmp_path / "a", 2), sweep_of(tmp_path / "b", 2, model="hps")
    found = compare(a, b)
    assert found.objectives[0] == ROWS_KEPT
    assert found.reference[0] == 1.0
    seed = found.first.of_seed[0]
    assert np.allclose(np.sort(seed[:, 0]), np.sort(1 - a.frame.loc[a.frame["seed"] == 0, "sparsity_rate"]))
    assert found.difference.mean == pytest.approx(0)
    assert "sparsity is the share of rows kept" in comparison_text(found)


def test_other_objectives_are_refused_with_both_lists(tmp_path):
    a = sweep_of(tmp_path / "a", 1)
    write_store(tmp_path / "c", n_trials=4, tasks=("left", "right", "third"))
    with pytest.raises(ResultsError, match="other objectives than") as error:
        compare(a, read_results(tmp_path / "c"))
    assert "loss.validation.third (min)" in str(error.value)


def test_the_study_must_be_named_where_there_are_several(tmp_path):
    studies = [{"name": name, "model": "mdmtn", "method": "wcal_growl"} for name in ("main", "other")]
    folder = tmp_path / "two"
    write_manifest(folder, TWO_TASKS, studies=studies)
    for i, k in enumerate(preference_grid(2, 8)):
        write_row(folder, trial_row(i, k, TWO_TASKS, study=("main", "other")[i % 2]), TWO_TASKS)
    table = read_results(folder)
    with pytest.raises(ResultsError, match="2 studies, one expected"):
        compare(table, table)
    found = compare(table, table, studies=("main", "other"))
    assert (found.first.name, found.second.name) == ("synthetic: main", "synthetic: other")
    with pytest.raises(ResultsError, match="no finished trial of a study 'third'"):
        compare(table, table, studies=("main", "third"))


def test_an_empty_sweep_and_other_data_are_told(tmp_path):
    a = sweep_of(tmp_path / "a", 1)
    write_store(tmp_path / "empty", n_trials=0)
    with pytest.raises(ResultsError, match="no finished trial to compare"):
        compare(a, read_results(tmp_path / "empty"))
    other = sweep_of(tmp_path / "b", 1, problem={"name": "multidigits", "fingerprint": "0" * 64})
    assert any("different data" in note for note in compare(a, other).notes)


def test_json_and_figure(tmp_path):
    found = compare(sweep_of(tmp_path / "a", 2, better_by=0.03), sweep_of(tmp_path / "<b>", 2))
    data = json.loads(comparison_json(found))
    assert data["difference"]["low"] > 0
    assert (data["ideal"], data["reference"]) == ([0.0, 0.0, 0.0], [1.0, 2.302585, 2.302585])
    figure = found.figure()
    assert np.max(figure.data[0].z) == 1
    write_html(figure, tmp_path / "figure.html")
    page = (tmp_path / "figure.html").read_text(encoding="utf-8")
    assert "connect-src 'none'" in page
    assert '"showSendToCloud": false' in page.replace('"showSendToCloud":false', '"showSendToCloud": false')
    assert "<b>" not in page.rpartition("Plotly.newPlot")[2].replace("\\u003cb\\u003e", "")
