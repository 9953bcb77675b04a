"""Groups, clusters and findings: who is compared with whom, and who is called best."""

import numpy as np
import pytest
from other_stores import task_objectives, write_store_of
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_row, write_store

from analysis import cluster_table, label_points, nondominated, read_results, summary
from analysis.decide.front import front_frame


def test_sparse_and_dense_are_filtered_apart(store):
    table = read_results(store(n_trials=40))
    labels = label_points(table)
    frame = table.ok.frame
    sparse = (frame["k_0"] > 0).to_numpy()
    assert (labels["kept"][sparse] == nondominated(table.ok.values()[sparse])).all()
    losses = table.ok.values([f"loss.validation.{task}" for task in TWO_TASKS])
    assert (labels["kept"][~sparse] == nondominated(losses[~sparse])).all()
    assert (labels["cluster"][~sparse] == -1).all()
    assert labels["cluster"][sparse].nunique() == 3


def test_studies_are_filtered_apart(tmp_path):
    """A study that is worse everywhere keeps its own front."""
    write_manifest(tmp_path, TWO_TASKS)
    k = [0.01, 0.5, 0.49]
    write_row(tmp_path, trial_row(1, k, TWO_TASKS), TWO_TASKS)
    worse = {"study": "hps", "objective.sparsity": 999.0, "loss.validation.left": 9.0, "loss.validation.right": 9.0}
    write_row(tmp_path, trial_row(2, k, TWO_TASKS, **worse), TWO_TASKS)
    assert label_points(read_results(tmp_path))["kept"].all()


def test_cluster_table_chooses_on_validation_and_reports_test(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    for number, validation, test in ((1, 0.9, 0.95), (2, 0.95, 0.9)):
        row = trial_row(number, [0.01, 0.5, 0.49], TWO_TASKS)
        row |= {"loss.validation.left": number / 10, "loss.validation.right": 1 - number / 10}
        row |= {"accuracy.validation.mean": validation, "accuracy.test.mean": test}
        write_row(tmp_path, row, TWO_TASKS)
    table = read_results(tmp_path)
    clusters = cluster_table(table, label_points(table))
    assert clusters["n_points"].tolist() == [2]
    assert clusters["accuracy"].tolist() == [0.9]


@pytest.mark.full
def test_larger_eps_keeps_more(store):
    table = read_results(store(n_trials=40))
    for mode in ("range", "absolute"):
        kept = [summary(table, eps, mode)["n_front"] for eps in (0.0, 0.01, 0.1, 10.0)]
        assert kept == sorted(kept)
        assert kept[-1] == 40


def test_eps_is_a_share_of_each_range_where_units_differ(tmp_path):
    """The second objective is a thousand times larger. One eps in both units drops nothing or everything that is dominated; a share of the
    range drops the same trials in either unit."""
    points = np.array([[0.0, 1.0], [1.0, 0.0], [0.25, 0.5], [0.255, 0.51], [0.5, 0.75]])
    kept = {}
    for name, unit in (("same", 1.0), ("large", 1000.0)):
        rows = [
            trial_row(i, [0.0, 0.5, 0.5], ("f1", "f2"), **{"loss.validation.f1": left, "loss.validation.f2": unit * right})
            for i, (left, right) in enumerate(points)
        ]
        write_store_of(tmp_path / name, rows, ("f1", "f2"), objectives=task_objectives(("f1", "f2")), hypervolume_reference=None)
        table = read_results(tmp_path / name)
        kept[name] = [label_points(table, eps)["kept"].tolist() for eps in (0.0, 0.006, 0.02, 0.3)]
        assert front_frame(table, 0.006)["trial_id"].nunique() == 4
    assert kept["same"] == kept["large"]
    assert [sum(marks) for marks in kept["same"]] == [3, 4, 4, 5]
    assert label_points(read_results(tmp_path / "large"), 0.004, "absolute")["kept"].sum() == 3
    assert label_points(read_results(tmp_path / "large"), 0.006, "absolute")["kept"].sum() == 4
    with pytest.raises(ValueError, match="expects mode one of absolute, ideal, range"):
        label_points(read_results(tmp_path / "large"), 0.1, "relative")


def test_summary_says_only_what_was_measured(tmp_path):
    rows = write_store(tmp_path, n_trials=24)
    facts = summary(read_results(tmp_path))
    dense = max((row for row in rows if row["k"][0] == 0), key=lambda row: row["accuracy.validation.mean"])
    assert facts["best_dense"]["trial_id"] == dense["trial_id"]
    near = [row for row in rows if row["k"][0] > 0 and row["accuracy.validation.mean"] >= dense["accuracy.validation.mean"] - 0.02]
    assert facts["best_sparse"]["sparsity_rate"] == max(row["sparsity_rate"] for row in near)
    assert "within 2 points" in facts["sentence"]
    assert facts["hypervolume"] > 0


def test_summary_without_dense_models_sparse_models_or_results(tmp_path):
    write_manifest(tmp_path, TWO_TASKS, hypervolume_reference=None)
    assert summary(read_results(tmp_path))["sentence"] == "Nothing was planned or trained yet."
    write_row(tmp_path, trial_row(1, [0.5, 0.25, 0.25], TWO_TASKS, state="error"), TWO_TASKS)
    assert summary(read_results(tmp_path))["sentence"].startswith("None of the 1 planned trials")
    write_row(tmp_path, trial_row(2, [0.01, 0.5, 0.49], TWO_TASKS), TWO_TASKS)
    assert summary(read_results(tmp_path))["sentence"].startswith("The most accurate sparse model, with 74.")
    write_row(tmp_path, trial_row(3, [0.0, 0.5, 0.5], TWO_TASKS) | {"accuracy.validation.mean": 0.999}, TWO_TASKS)
    facts = summary(read_results(tmp_path))
    assert "no sparse model comes within 2 points" in facts["sentence"]
    assert facts["hypervolume"] is None


def test_methods_without_a_preference_count_as_dense(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    write_row(tmp_path, trial_row(1, [0.0, 0.5, 0.5], TWO_TASKS) | {"k": None, "k_0": None, "k_1": None, "k_2": None}, TWO_TASKS)
    table = read_results(tmp_path)
    assert label_points(table)["group"].tolist() == ["dense"]
    assert summary(table)["best_dense"]["k"] is None


@pytest.mark.parametrize("eps", [-1.0, np.nan, np.inf])
def test_bad_eps_is_named_even_without_points(tmp_path, eps):
    write_manifest(tmp_path, TWO_TASKS)
    with pytest.raises(ValueError, match=f"found eps = {eps}"):
        label_points(read_results(tmp_path), eps)
