"""Curves in a report: whose, how many, which lines, and nothing that is not there."""

import json

import numpy as np
import pytest
from synthetic_store import TWO_TASKS, write_epochs, write_row, write_store

from analysis import label_points, read_results
from analysis.report.embed import choose_rows, embedded_curves
from analysis.results.json_text import script_json

LINES = 2 * 2 + 2 + 1 + 3


def curves(folder):
    table = read_results(folder)
    embedded = choose_rows(table, label_points(table))
    return table, embedded, embedded_curves(table, embedded)


def values_of(found, row, panel, name):
    place = [(line["panel"], line["name"]) for line in found["lines"]].index((panel, name))
    return found["trials"][row]["values"][place]


def test_the_lines_of_a_trial(tmp_path):
    rows = write_store(tmp_path, n_trials=6)
    write_epochs(tmp_path, rows[2], TWO_TASKS, n_epochs=8)
    _, _, found = curves(tmp_path)
    assert len(found["lines"]) == LINES
    assert [line["panel"] for line in found["lines"]] == sorted(
        (line["panel"] for line in found["lines"]), key=["Loss", "Validation accuracy", "Sparsity rate", "Multipliers"].index
    )
    assert sorted(found["trials"]) == [0, 2]
    trial = found["trials"][2]
    assert trial["epochs"] == list(range(1, 9))
    assert trial["retrain"] == 5
    assert values_of(found, 2, "Loss", "right, validation") == [float(f"{1 / e + 0.1:.4g}") for e in range(1, 9)]
    assert values_of(found, 2, "Multipliers", "sparsity") == [0.3333] * 4 + [None] * 4
    assert values_of(found, 2, "Multipliers", "right") == [0.3333] * 4 + [0.5] * 4
    assert json.loads(script_json(found))["trials"]["2"]["epochs"] == trial["epochs"]


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    rows = write_store(tmp_path, n_trials=2)
    write_epochs(tmp_path, rows[1], TWO_TASKS, n_epochs=500)
    _, _, found = curves(tmp_path)
    epochs = found["trials"][1]["epochs"]
    assert len(epochs) == 60
    assert (epochs[0], epochs[-1]) == (1, 500)
    assert set(np.diff(epochs)) <= {8, 9}
    assert len(values_of(found, 1, "Loss", "left, train")) == 60


def test_when_room_is_short_failures_and_the_front_come_first(tmp_path, monkeypatch):
    rows = write_store(tmp_path, n_trials=20)
    failed = rows[7] | {"state": "diverged", "attempt": 2, "loss.validation.left": float("nan")}
    write_row(tmp_path, failed, TWO_TASKS)
    for row in (*rows[:7], failed, *rows[8:]):
        write_epochs(tmp_path, row, TWO_TASKS, n_epochs=5)
    monkeypatch.setattr("analysis.report.embed.MAX_CURVE_VALUES", 6 * 39 * (LINES + 1) + 1)  # a row says 39 epochs
    table, embedded, found = curves(tmp_path)
    slack = embedded.labels["slack"].to_numpy()
    assert len(found["trials"]) == 6
    assert len(embedded.points.frame) in found["trials"], "the diverged trial is the first of the others"
    own = [row for row in found["trials"] if row < len(slack)]
    assert slack[own].max() <= np.delete(slack, own).min()
    assert table.read_epochs([failed["trial_id"], rows[0]["trial_id"]])["trial_id"].nunique() == 2


def test_one_file_of_many_row_groups_reads_as_loose_files_do(tmp_path):
    import pyarrow.parquet as pq

    rows = write_store(tmp_path, n_trials=8)
    for row in rows:
        write_epochs(tmp_path, row, TWO_TASKS, n_epochs=6)
    _, _, loose = curves(tmp_path)
    files = sorted((tmp_path / "epochs").glob("*.parquet"))
    pq.write_table(pq.read_table(files), tmp_path / "epochs.parquet", row_group_size=7, write_page_checksum=True)
    for file in files:
        file.unlink()
    _, _, compacted = curves(tmp_path)
    assert compacted == loose


@pytest.mark.parametrize("n_trials", [0, 1])
def test_hardly_anything(tmp_path, n_trials):
    write_store(tmp_path, n_trials=n_trials)
    for file in (tmp_path / "epochs").glob("*"):
        file.unlink()
    _, _, found = curves(tmp_path)
    assert found == {}


def test_what_is_not_finite_is_not_drawn(tmp_path):
    rows = write_store(tmp_path, n_trials=2)
    write_epochs(tmp_path, rows[0], TWO_TASKS, n_epochs=4, **{"loss.train.left": float("inf"), "multipliers": [1.0], "sparsity_rate": None})
    write_epochs(tmp_path, rows[1], TWO_TASKS, n_epochs=4, **{"loss.train.left": float("nan"), "multipliers": None, "sparsity_rate": None})
    _, _, found = curves(tmp_path)
    names = [(line["panel"], line["name"]) for line in found["lines"]]
    assert ("Loss", "left, train") not in names
    assert ("Loss", "left, validation") in names
    assert {panel for panel, _ in names} == {"Loss", "Validation accuracy"}
