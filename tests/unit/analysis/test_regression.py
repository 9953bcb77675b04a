"""Tasks without an accuracy: metrics by their names, models chosen by loss, no k0 where nothing is pruned, no NaN shown."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from other_stores import no_accuracies, task_objectives, write_analytic_store, write_regression_store, write_store_of
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_row, write_store

from analysis import cluster_table, front_2d_projection, front_2d_staircase, label_points, read_results, summary, write_report
from analysis.decide.front import front_text
from analysis.report.about import about

RMSE = "root mean squared error"


def mean_loss(row, split="validation"):
    return float(np.mean([row[f"loss.{split}.{task}"] for task in TWO_TASKS]))


def test_models_are_chosen_by_loss_when_there_is_no_accuracy(tmp_path):
    rows = write_regression_store(tmp_path, dict.fromkeys(TWO_TASKS, RMSE))
    facts = summary(read_results(tmp_path))
    dense = min((row for row in rows if row["k"][0] == 0), key=mean_loss)
    assert facts["best_dense"]["trial_id"] == dense["trial_id"]
    assert facts["best_dense"]["accuracy_test"] is None
    assert facts["best_dense"]["loss_test"] == pytest.approx(mean_loss(dense, "test"))
    assert facts["best_dense"]["metrics_test"] == {task: dense[f"metric.test.{task}"] for task in TWO_TASKS}
    close = [row for row in rows if row["k"][0] > 0 and mean_loss(row) <= 1.1 * mean_loss(dense)]
    assert facts["best_sparse"]["sparsity_rate"] == max(row["sparsity_rate"] for row in close)
    sentence = facts["sentence"]
    assert f"The best dense model reaches {dense['metric.test.left']:.4g} test {RMSE} for left and " in sentence
    assert "within 10 % of its loss on validation data" in sentence
    assert "accuracy" not in sentence


def test_many_metrics_are_summed_up_as_the_mean_loss(tmp_path):
    write_regression_store(tmp_path, {f"t{i}": RMSE for i in range(5)})
    assert "The best dense model reaches a mean test loss of 0." in summary(read_results(tmp_path))["sentence"]


def test_a_mixed_problem_is_described_by_each_task(tmp_path):
    rows = write_regression_store(tmp_path, {"left": "accuracy", "right": RMSE})
    facts = summary(read_results(tmp_path))
    dense = min((row for row in rows if row["k"][0] == 0), key=mean_loss)
    assert facts["best_dense"]["trial_id"] == dense["trial_id"]
    assert facts["best_dense"]["accuracies_test"] == {"left": dense["accuracy.test.left"]}
    assert facts["best_dense"]["metrics_test"] == {"right": dense["metric.test.right"]}
    reached = f"{100 * dense['accuracy.test.left']:.1f} % test accuracy for left and {dense['metric.test.right']:.4g} test {RMSE} for right"
    assert f"The best dense model reaches {reached}" in facts["sentence"]


def test_clusters_hold_the_metrics_of_their_best(tmp_path):
    rows = write_regression_store(tmp_path, dict.fromkeys(TWO_TASKS, RMSE))
    table = read_results(tmp_path)
    labels = label_points(table)
    clusters = cluster_table(table, labels)
    assert clusters["accuracy"].isna().all()
    by_id = {row["trial_id"]: row for row in rows}
    kept = table.ok.frame.assign(cluster=labels["cluster"])[labels["kept"]]
    for line in clusters.itertuples():
        members = [by_id[trial_id] for trial_id in kept[kept["cluster"] == line.cluster]["trial_id"]]
        assert line.trial_id == min(members, key=mean_loss)["trial_id"]
    assert clusters["metric.test.right"].tolist() == [by_id[trial_id]["metric.test.right"] for trial_id in clusters["trial_id"]]


def test_hover_names_each_metric(tmp_path):
    rows = write_regression_store(tmp_path, {"left": "accuracy", "{right}": f"{RMSE} <m>"})
    trace = front_2d_projection(read_results(tmp_path)).data[-1]
    row = next(row for row in rows if row["trial_id"] in trace.hovertext[0])
    assert f"left: {100 * row['accuracy.test.left']:.2f} % test accuracy" in trace.hovertext[0]
    assert f"{{right}}: {row['metric.test.{right}']:.4g} test {RMSE} &lt;m&gt;" in trace.hovertext[0]
    assert trace.hovertext[0].count("accuracy") == 2  # left and the mean


def test_no_k0_where_nothing_is_pruned(tmp_path):
    rows = write_analytic_store(tmp_path, n_tasks=2)
    table = read_results(tmp_path)
    shown = f"k = ({rows[3]['k'][1]:.4g}, {rows[3]['k'][2]:.4g})"
    trace = front_2d_projection(table, everything=True).data[-1]
    assert shown in trace.hovertext[3]
    assert "gap to the exact optimum: " in trace.hovertext[3]
    assert trace.marker.color == "#0072B2"
    assert [t.name for t in front_2d_staircase(table).data if t.mode == "lines" and t.meta["group"] == "sparse"] == ["front"]
    text = front_text(tmp_path, 0.0, "table")
    assert f"({rows[0]['k'][1]:.4g}, {rows[0]['k'][2]:.4g})" in text
    assert "k0" not in dict(about(table, summary(table)))["Filter"]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_printed_fronts_hold_no_nan(tmp_path, form):
    rows = write_analytic_store(tmp_path, n_tasks=2)
    write_row(tmp_path, rows[0] | {"attempt": 2, "notes": ["one", 'two "2"']}, ("f1", "f2"))
    text = front_text(tmp_path, 0.0, form)
    assert "nan" not in text.lower()
    if form == "json":
        first = next(line for line in json.loads(text) if line["trial_id"] == rows[0]["trial_id"])
        assert first["k"] == rows[0]["k"]
        assert first["sparsity_rate"] is None
        assert first["notes"] == ["one", 'two "2"']
        assert first["gap"] == pytest.approx(1e-7, rel=1e-3)
    if form == "table":
        assert "sparsity_rate" not in text
        assert "notes" not in text


def test_printed_fronts_without_a_preference_or_with_some_rates(tmp_path):
    rows = write_store(tmp_path, n_trials=4)
    write_row(tmp_path, rows[0] | {"attempt": 2, "k": None, "k_0": None, "sparsity_rate": None}, TWO_TASKS)
    assert "none" in front_text(tmp_path, 100.0, "table")
    assert "nan" not in front_text(tmp_path, 100.0, "table")
    for row in rows:
        write_row(tmp_path, row | {"attempt": 3, "k": None, "k_0": None}, TWO_TASKS)
    head, first = front_text(tmp_path, 100.0, "table").splitlines()[:2]
    assert head.split()[:5] == ["trial_id", "group", "study", "seed", "k"]
    assert first.split()[4] == "none"
    write_row(tmp_path, rows[1] | {"attempt": 4}, TWO_TASKS)
    frame = pd.read_csv(io.StringIO(front_text(tmp_path, 100.0, "csv")))
    assert frame["k"].isna().tolist().count(False) == 1


def test_regression_without_sparsity_and_without_optimum(tmp_path):
    tasks = ("a", "b")
    rows = [
        trial_row(i, [0.0, 0.5, 0.5], tasks, **no_accuracies(tasks), **{"sparsity_rate": None, "metric.test.a": 1.0, "metric.test.b": 2.0})
        for i in range(3)
    ]
    write_store_of(tmp_path, rows, tasks, metrics=dict.fromkeys(tasks, RMSE), objectives=task_objectives(tasks), hypervolume_reference=None)
    assert summary(read_results(tmp_path))["sentence"].endswith("of 3 finished trials are on the front.")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "The best of the points shown" in page
    assert "the one with the lowest mean validation loss." in page


def test_a_manifest_without_metrics_means_accuracies(tmp_path):
    write_store(tmp_path, n_trials=4)
    write_manifest(tmp_path, TWO_TASKS, metrics=None)
    assert read_results(tmp_path).metrics == dict.fromkeys(TWO_TASKS, "accuracy")
    assert "mean test accuracy" in summary(read_results(tmp_path))["sentence"]
