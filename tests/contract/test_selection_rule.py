"""One rule for the best trial on validation data, in the manifest: studies that inherit, the method table and the report follow it."""

import json
from pathlib import Path
from typing import Any

import pytest
from method_stores import study
from synthetic_store import TWO_TASKS, table_of, trial_row, write_manifest, write_parquet, write_plan

from analysis import label_points, read_results, summary
from analysis.measures.labels import cluster_table
from analysis.method_table.table import method_table
from analysis.report.page import render_report
from sweep.grid.load import parse_config
from sweep.planning.inherit import inherit
from sweep.store.manifest import selection_of, selection_rule
from sweep.store.schema import row_schema

MIXED = {"left": "accuracy", "right": "root mean squared error"}
GUESSES = (2.302585, 4.0)
ACCURATE, BALANCED = 0, 1
"""Rows of `mixed_rows`: the better classifier, which is bad at the regression task, and the better model of both tasks."""


def mixed_rows() -> list[dict[str, Any]]:
    """Two sparse trials of one study; by accuracy alone the first is best, by the losses of both tasks the second."""
    values = ((0.95, 0.15, 3.0), (0.90, 0.30, 0.5))
    rows = []
    for number, (accuracy, left, right) in enumerate(values):
        changes: dict[str, Any] = {"study": "ours", "model": "hps"}
        for split in ("train", "validation", "test"):
            changes |= {f"loss.{split}.left": left, f"loss.{split}.right": right, f"metric.{split}.right": right**0.5}
            changes |= {f"accuracy.{split}.left": accuracy, f"accuracy.{split}.right": None, f"accuracy.{split}.mean": accuracy}
        k = ([0.1, 0.6, 0.3], [0.1, 0.3, 0.6])[number]
        rows.append(trial_row(number, k, TWO_TASKS, **changes | {"sparsity_rate": 0.5, "compression_rate": 2.0, "parameter_sharing": 1.0}))
    return rows


def write_mixed_store(folder: Path, **manifest: Any) -> list[dict[str, Any]]:
    rows = mixed_rows()
    write_manifest(folder, TWO_TASKS, **{"metrics": MIXED, "studies": [study("ours", "hps", "wcal_growl")]} | manifest)
    write_plan(folder, rows)
    write_parquet(folder / "trials.parquet", rows, row_schema(TWO_TASKS))
    return rows


@pytest.mark.parametrize(
    ("stored", "best"),
    [
        ({}, BALANCED),  # a manifest of an earlier version
        ({"selection": selection_rule(TWO_TASKS, MIXED, GUESSES).record()}, BALANCED),
        ({"selection": {"by": "accuracy"}}, ACCURATE),  # what the manifest says counts
    ],
)
def test_inheriting_studies_the_table_and_the_report_choose_the_same_trial(tmp_path: Path, stored: dict[str, Any], best: int) -> None:
    rows = write_mixed_store(tmp_path, **stored)
    expected = rows[best]["trial_id"]
    table = read_results(tmp_path)

    assert summary(table)["best_sparse"]["trial_id"] == expected
    assert cluster_table(table, label_points(table))["trial_id"].tolist() == [expected]
    (line,) = method_table(table).lines
    assert list(line.preference or ()) == rows[best]["k"]
    page = render_report(table)
    data = json.loads(page.split('id="report-data"', 1)[1].split(">", 1)[1].split("</script>", 1)[0])
    rule = selection_of(table.manifest)
    assert (data["chosen_by"], tuple(data["guess_losses"])) == (rule.by, rule.guess_losses)
    assert rule.goal in page

    studies = [
        {"name": "ours", "model": "hps", "preferences": {"list": [[0.1, 0.6, 0.3], [0.1, 0.3, 0.6]]}},
        {"name": "fixed", "model": "hps", "method": "fixed_architecture", "preferences": {"list": [[0, 0.5, 0.5]]}, "after": "ours"},
    ]
    config = parse_config({"problem": "multidigits", "studies": studies})
    by_name = {one.name: one for one in config.resolved_studies}
    stored_rows = table_of(rows, row_schema(TWO_TASKS)).to_pylist()
    for row in stored_rows:
        row["k"] = json.loads(row["k"])
    assert inherit(by_name["fixed"], 0, by_name, stored_rows, rule).trial_ids == (expected,)


def test_a_rule_by_accuracy_needs_an_accuracy_of_every_task() -> None:
    assert selection_rule(TWO_TASKS, dict.fromkeys(TWO_TASKS, "accuracy")).by == "accuracy"
    assert selection_rule(TWO_TASKS, {}).by == "accuracy"  # a task without a named metric is a classification task
    assert selection_rule(TWO_TASKS, MIXED).by == "loss"
    assert selection_rule(TWO_TASKS, dict.fromkeys(TWO_TASKS, "value")).by == "loss"
