"""Reading a results folder: each trial once, nothing bad hides anything good, users are told what is wrong."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_store import (
    TWO_TASKS,
    preference_grid,
    table_of,
    trial_row,
    write_manifest,
    write_parquet,
    write_plan,
    write_row,
    write_store,
)

from analysis import ResultsError, read_results
from sweep.store.schema import row_schema


@pytest.mark.parametrize("compacted", [False, True])
def test_reads_every_trial_once_in_plan_order(store, compacted):
    table = read_results(store(n_trials=12, compacted=compacted))
    assert table.frame["trial_id"].tolist() == list(table.planned_ids)
    assert table.counts == {"planned": 12, "ok": 12, "diverged": 0, "error": 0, "non_finite": 0, "missing": 0, "unreadable": 0}
    assert table.tasks == TWO_TASKS
    assert table.values().shape == (12, 3)
    assert json.loads(table.frame["layer_sparsity"][1]).keys() == {"trunk.3", "trunk.6"}


def test_latest_attempt_wins_between_loose_and_compacted(tmp_path):
    rows = write_store(tmp_path, n_trials=3, compacted=True)
    write_row(tmp_path, rows[0] | {"attempt": 2, "retry": 0, "state": "error", "error": "late"}, TWO_TASKS)
    write_row(tmp_path, rows[1] | {"attempt": 1, "retry": 2, "seed": 7}, TWO_TASKS)
    write_row(tmp_path, rows[2] | {"attempt": 0, "retry": 9, "state": "error"}, TWO_TASKS)
    frame = read_results(tmp_path).frame.set_index("trial_id")
    assert len(frame) == 3
    assert frame.loc[rows[0]["trial_id"], "error"] == "late"
    assert frame.loc[rows[1]["trial_id"], "seed"] == 7
    assert frame.loc[rows[2]["trial_id"], "state"] == "ok"


def test_same_row_loose_and_compacted_counts_once(tmp_path):
    """A compactor that died between publishing trials.parquet and deleting rows."""
    rows = write_store(tmp_path, n_trials=4)
    write_parquet(tmp_path / "trials.parquet", rows, row_schema(TWO_TASKS))
    assert len(read_results(tmp_path).frame) == 4


def test_bad_files_are_named_and_hide_nothing(tmp_path):
    rows = write_store(tmp_path, n_trials=4)
    folder = tmp_path / "rows"
    (folder / "empty.1-0.parquet").write_bytes(b"")
    whole = next(folder.glob("0000*")).read_bytes()
    (folder / "torn.1-0.parquet").write_bytes(whole[: len(whole) // 2])
    write_parquet(folder / "alien.1-0.parquet", [{"a": 1}], pa.schema([("a", pa.int64())]))
    newer = row_schema(TWO_TASKS).with_metadata({"schema_version": "99"})
    write_parquet(folder / "newer.1-0.parquet", [rows[0]], newer)
    text = pa.schema([("trial_id", pa.string()), ("attempt", pa.int64()), ("retry", pa.int64()), ("wall_s", pa.string())])
    write_parquet(folder / "zz.1-0.parquet", [{"trial_id": "zz", "attempt": 1, "retry": 0, "wall_s": "long"}], text)
    (folder / ".half.1-0.parquet.tmp").write_bytes(b"not finished")
    (folder / ".hidden.parquet").write_bytes(b"not ours")
    table = read_results(tmp_path)
    assert table.counts["ok"] == 4
    assert [entry.split(": ")[0] for entry in table.unreadable] == [
        f"rows/{name}.1-0.parquet" for name in ("alien", "empty", "newer", "torn", "zz")
    ]
    reasons = " ".join(table.unreadable)
    assert "no column trial_id" in reasons
    assert "schema version 99, this release reads 1" in reasons


def test_a_flipped_byte_is_found_by_its_checksum(tmp_path):
    """Without verification Parquet hands out a wrong number."""
    write_manifest(tmp_path, TWO_TASKS)
    schema = row_schema(TWO_TASKS)
    row = trial_row(1, [0.0, 0.5, 0.5], TWO_TASKS, wall_s=123.456)
    path = tmp_path / "rows" / "a.1-0.parquet"
    path.parent.mkdir()
    pq.write_table(
        table_of([row], schema), path, write_page_checksum=True, write_statistics=False, compression="none", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    place = data.find(np.float64(123.456).tobytes())
    data[place + 2] ^= 1
    path.write_bytes(data)
    assert pq.read_table(path)["wall_s"][0].as_py() != 123.456
    table = read_results(tmp_path)
    assert table.frame.empty
    assert "CRC" in table.unreadable[0]


def test_a_file_without_a_column_gives_nulls(tmp_path):
    rows = write_store(tmp_path, n_trials=2)
    narrow = pa.schema([row_schema(TWO_TASKS).field(name) for name in ("trial_id", "attempt", "retry", "state")])
    row = {"trial_id": "00narrow", "attempt": 1, "retry": 0, "state": "error"}
    write_parquet(tmp_path / "rows" / "00narrow.1-0.parquet", [row], narrow)
    table = read_results(tmp_path)
    assert table.unreadable == ()
    assert np.isnan(table.frame.set_index("trial_id").loc["00narrow", "wall_s"])
    assert table.frame["wall_s"].notna().sum() == len(rows)


def test_ok_sets_failed_and_non_finite_trials_aside(tmp_path):
    rows = write_store(tmp_path, n_trials=4)
    changes = [{"state": "diverged", "loss.validation.left": np.nan}, {"state": "error"}, {"loss.validation.left": np.inf}]
    for row, change in zip(rows, changes, strict=False):
        write_row(tmp_path, row | change | {"attempt": 2}, TWO_TASKS)
    table = read_results(tmp_path)
    assert [table.counts[name] for name in ("ok", "diverged", "error", "non_finite", "missing")] == [2, 1, 1, 1, 0]
    assert table.ok.frame["trial_id"].tolist() == [rows[3]["trial_id"]]
    assert np.isfinite(table.ok.values()).all()


def test_empty_store_reads_like_any_other(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    table = read_results(tmp_path)
    assert table.planned == 0
    assert table.values().shape == (0, 3)
    assert table.ok.frame.empty
    assert table.read_epochs().empty


def test_missing_and_latest_plan(tmp_path):
    rows = write_store(tmp_path, n_trials=4)
    write_plan(tmp_path, rows[:1], number=2)
    write_plan(tmp_path, [*rows, rows[0] | {"trial_id": "later"}], number=10)
    (tmp_path / "plans" / "11.json").write_text('{"trials": [')
    table = read_results(tmp_path)
    assert (table.plan["attempt"], table.planned, table.counts["missing"]) == (10, 5, 1)
    assert table.unreadable[0].startswith("plans/11.json: ")


def test_maximised_objectives_are_negated(tmp_path):
    write_store(tmp_path, n_trials=2)
    objectives = [{"name": "sharing", "column": "accuracy.validation.left", "sense": "max", "unit": "fraction"}]
    write_manifest(tmp_path, TWO_TASKS, objectives=objectives, hypervolume_reference=None)
    table = read_results(tmp_path)
    assert (table.values()[:, 0] == -table.frame["accuracy.validation.left"]).all()
    assert (table.values(["loss.test.left"])[:, 0] == table.frame["loss.test.left"]).all()


def test_epochs_of_one_trial_and_of_all(tmp_path):
    rows = write_store(tmp_path, n_trials=2)
    table = read_results(tmp_path)
    assert table.read_epochs(rows[0]["trial_id"])["epoch"].tolist() == [1, 2, 3]
    assert table.read_epochs("nobody").empty
    (tmp_path / "epochs" / "torn.1-0.parquet").write_bytes(b"PAR1")
    everything = table.read_epochs()
    assert len(everything) == 3
    assert everything.attrs["unreadable"][0].startswith("epochs/torn.1-0.parquet: ")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "no manifest.json"),
        ("{", "cannot be read as JSON"),
        ("[]", "schema_version None"),
        (json.dumps({"schema_version": 99}), "written by a newer version"),
        (json.dumps({"schema_version": 1}), "no tasks and no objectives"),
    ],
)
def test_errors_say_what_and_where(tmp_path, manifest, message):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ResultsError, match=message) as caught:
        read_results(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "hint: " in str(caught.value)


def test_no_such_folder(tmp_path):
    with pytest.raises(ResultsError, match="no such folder"):
        read_results(tmp_path / "nowhere")


def test_preference_grid_is_on_the_simplex():
    """The fixture keeps the store's contract."""
    assert np.allclose(np.sum(preference_grid(3, 20), axis=1), 1, atol=1e-12)
