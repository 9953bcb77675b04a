"""Rows and curves: what is published is complete, what is damaged is named, and compaction changes no result."""

import io
import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from example_store import TASKS, curves, epochs_of, manifest_of_a_sweep, row_of, row_path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sweep.store.rows
from sweep.store.files import UnreadableError
from sweep.store.rows import TableFiles
from sweep.store.schema import SchemaError, epoch_schema, row_schema
from sweep.store.store import Store, StoreError
from sweep.store.tables import decode_table, encode_table, to_table


def test_a_published_row_is_read_back_whole(store: Store) -> None:
    row = row_of(
        "a",
        layer_sparsity={"conv1": 0.5, "fc": 0.0},
        multipliers=[1.0, 2.0],
        sparsity_reached=True,
        n_params=2**40,
        penalty=math.nan,
        versions={"torch": "2.13"},
        finished_at=datetime(2026, 1, 31, tzinfo=UTC),
    )
    store.publish(row, epochs_of(2), weights=b"weights")
    table = store.read_rows()
    assert pq.read_schema(io.BytesIO(row_path(store, "a").read_bytes())).metadata[b"schema_version"] == b"3"
    assert table.schema.names == row_schema(TASKS).names
    (found,) = table.to_pylist()
    assert math.isnan(found.pop("penalty"))
    assert found.pop("layer_sparsity") == [("conv1", 0.5), ("fc", 0.0)]
    assert found.pop("versions") == [("torch", "2.13")]
    assert store.get_blob(found.pop("weights_sha256")) == b"weights"
    assert {name: value for name, value in found.items() if value is not None} == {
        name: value for name, value in row.items() if name not in ("penalty", "layer_sparsity", "versions")
    }
    assert found["energy_wh"] is None
    assert store.complete() == {"a": "ok"}
    assert store.verify() == []


def test_plain_readers_take_the_folder_while_rows_are_being_written(store: Store) -> None:
    for trial_id in ("a", "b"):
        store.publish(row_of(trial_id))
    (store.root / "rows" / ".c.1-0.parquet.0123abcd.tmp").write_bytes(b"PAR1 half")
    assert sorted(pq.read_table(store.root / "rows")["trial_id"].to_pylist()) == ["a", "b"]
    assert store.complete() == {"a": "ok", "b": "ok"}


def test_publishing_again_changes_nothing(store: Store) -> None:
    store.publish(row_of("a", energy_wh=1.0))
    first = row_path(store, "a").read_bytes()
    store.publish(row_of("a", energy_wh=2.0), epochs_of(1), b"other")
    assert row_path(store, "a").read_bytes() == first
    assert list((store.root / "epochs").iterdir()) == list((store.root / "blobs").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": -1},
        {"retry": -1},
        {"state": "running"},
        {"k": [0.5, 0.1, 0.1]},
        {"loss.train.left": None},
        {"colour": "red"},
        {"seed": 1.5},
        {"penalty": "high"},
    ],
)
def test_a_row_that_breaks_the_contract_is_refused_and_leaves_nothing(store: Store, changes: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match=next(iter(changes)).split(".")[0] + "|preference|objective"):
        store.publish(row_of("a", **changes), epochs_of(1), b"weights")
    assert [list((store.root / folder).iterdir()) for folder in ("rows", "epochs", "blobs")] == [[], [], []]


def test_a_curve_that_breaks_the_contract_is_refused(store: Store) -> None:
    with pytest.raises(SchemaError, match="colour"):
        store.publish(row_of("a"), [{"epoch": 1, "colour": "red"}])
    assert store.complete() == {}


def test_of_a_trial_the_highest_attempt_and_retry_counts(store: Store) -> None:
    for attempt, retry, state in ((2, 10, "ok"), (2, 9, "diverged"), (1, 11, "error"), (10, 0, "diverged"), (9, 3, "ok")):
        store.publish(row_of("a", attempt, retry, state=state))
    assert store.complete() == {"a": "diverged"}
    assert store.read_rows()["attempt"].to_pylist() == [10]


def test_rows_of_some_trials_and_columns_alone_are_read(store: Store) -> None:
    for trial_id in "bca":
        store.publish(row_of(trial_id, device_s=float(ord(trial_id))))
    store.publish(row_of("b", 2, device_s=7.0))
    for _ in range(2):
        whole = store.read_rows()
        assert store.read_rows(["c", "a", "unknown"]).equals(whole.take([0, 2]))
        some = store.read_rows(columns=["device_s", "state"])
        assert some.equals(whole.select(some.column_names))
        assert store.read_rows({"b"}, ["device_s"])["device_s"].to_pylist() == [7.0]
        assert store.read_rows([]).num_rows == 0
        store.compact()


operations = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.integers(0, 1)) | st.just("compact"), max_size=12)


@pytest.mark.full
@settings(deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=operations)
def test_compaction_never_changes_what_is_read(tmp_path_factory: pytest.TempPathFactory, operations: list[Any]) -> None:
    """Whenever it happens, and however often."""
    store = Store(tmp_path_factory.mktemp("results"))
    store.create(manifest_of_a_sweep())
    latest: dict[str, tuple[int, int]] = {}
    for operation in operations:
        if operation == "compact":
            before = store.read_rows()
            store.compact()
            assert store.read_rows().equals(before)
        else:
            trial_id, attempt, retry = operation
            store.publish(row_of(trial_id, attempt, retry), epochs_of(1, loss=attempt + retry / 2))
            latest[trial_id] = max(latest.get(trial_id, (0, 0)), (attempt, retry))
        assert store.complete() == dict.fromkeys(sorted(latest), "ok")
    store.compact()
    assert {row["trial_id"]: (row["attempt"], row["retry"]) for row in store.read_rows().to_pylist()} == latest
    if latest:
        assert curves(store) == {trial_id: [attempt + retry / 2] for trial_id, (attempt, retry) in latest.items()}
    assert store.verify() == []


def test_a_torn_row_does_not_count_and_is_named(store: Store) -> None:
    store.publish(row_of("a"))
    store.publish(row_of("b"))
    path = row_path(store, "a")
    whole = path.read_bytes()
    for n_bytes in (0, 1, 4, 8, 12, *range(100, len(whole) - 9, len(whole) // 12), *range(len(whole) - 9, len(whole))):
        path.write_bytes(whole[:n_bytes])
        assert store.complete() == {"b": "ok"}
        ((named, reason),) = store.unreadable()
        assert named == path
        assert "torn" in reason
    path.write_bytes(whole)
    assert store.unreadable() == []


def test_an_older_row_counts_while_the_latest_is_torn(store: Store) -> None:
    store.publish(row_of("a", 1, state="diverged"))
    store.publish(row_of("a", 2))
    row_path(store, "a", 2).write_bytes(b"")
    assert store.complete() == {"a": "diverged"}
    assert [path for path, _ in store.unreadable()] == [row_path(store, "a", 2)]


def test_a_flipped_byte_anywhere_is_noticed(store: Store) -> None:
    """Page checksums alone leave the footer and page headers open; the file's own checksum does not."""
    store.publish(row_of("a"), epochs_of(3))
    whole = store.read_rows()
    for path in (row_path(store, "a"), store.root / "epochs" / "a.1-0.parquet"):
        data = path.read_bytes()
        for position in random.Random(0).sample(range(len(data)), 150):
            flipped = bytearray(data)
            flipped[position] ^= 1 << (position % 8)
            path.write_bytes(flipped)
            named = [name for name, _ in store.unreadable()]
            assert named == [path] or (named == [] and store.read_rows().equals(whole))
        path.write_bytes(data)
    assert store.read_rows().equals(whole)


@pytest.mark.full
def test_a_flipped_byte_in_a_compacted_file_stops_every_reader(store: Store) -> None:
    """Leaving its trials out would train them all again."""
    for trial_id in ("a", "b"):
        store.publish(row_of(trial_id))
    store.compact()
    store.publish(row_of("c"))
    path = store.root / "trials.parquet"
    data = path.read_bytes()
    label = data.rindex(b"sha256-of-this-file")  # damage to the checksum's own label changes no result
    positions = [position for position in range(len(data)) if not label <= position < label + 40]
    for position in random.Random(1).sample(positions, 50):
        path.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        for read in (store.complete, store.read_rows, store.compact):
            with pytest.raises(UnreadableError, match=r"trials\.parquet(?s:.*)hint: restore"):
                read()
        assert [name for name, _ in store.unreadable()] == [path]
    path.write_bytes(data)
    assert set(store.complete()) == {"a", "b", "c"}


def test_page_checksums_are_verified_in_a_file_that_another_tool_rewrote(store: Store) -> None:
    table = to_table([row_of("a", energy_wh=1234.5)], row_schema(TASKS))
    path = row_path(store, "a")
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False, write_statistics=False)
    assert store.read_rows()["energy_wh"].to_pylist() == [1234.5]
    data = bytearray(path.read_bytes())
    data[data.index(pa.array([1234.5]).buffers()[1].to_pybytes()[:8]) + 6] ^= 1
    path.write_bytes(data)
    ((named, reason),) = store.unreadable()
    assert named == path
    assert "CRC" in reason
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    assert store.unreadable() == []


def test_a_file_holds_what_its_name_says(store: Store) -> None:
    store.publish(row_of("a"))
    row_path(store, "a").rename(row_path(store, "b"))
    (store.root / "rows" / "notes.txt").write_text("x")
    (store.root / "rows" / "c.01-0.parquet").write_text("x")
    assert store.complete() == {}
    assert [path.name for path, _ in store.unreadable()] == ["c.01-0.parquet", "notes.txt", "b.1-0.parquet"]


def test_a_file_of_other_columns_or_version_is_named(store: Store) -> None:
    schema = row_schema(TASKS)
    table = to_table([row_of("a")], schema)
    pq.write_table(table.drop_columns(["seed"]), row_path(store, "a"))
    ((_, reason),) = store.unreadable()
    assert "seed (missing, expected int64)" in reason
    pq.write_table(table.replace_schema_metadata({"schema_version": "99"}), row_path(store, "a"))
    ((_, reason),) = store.unreadable()
    assert "schema_version 99" in reason
    assert store.complete() == {}


def test_a_compacted_file_of_a_newer_version_is_not_called_damaged(store: Store) -> None:
    store.publish(row_of("a"))
    store.compact()
    path = store.root / "trials.parquet"
    path.write_bytes(encode_table(pq.read_table(path).replace_schema_metadata({"schema_version": "99"})))
    with pytest.raises(UnreadableError, match=r"schema_version 99, this program knows 2 and 3\n  hint: install the version that wrote it"):
        store.complete()


@pytest.mark.parametrize("change", [Store.compact, lambda store: store.forget(["a"])])
def test_who_writes_tables_into_an_earlier_versions_folder_raises_its_version(store: Store, change: Callable[[Store], None]) -> None:
    """An earlier release then refuses the folder, and does not advise to move its tables away."""
    (store.root / "manifest.json").write_text(json.dumps(manifest_of_a_sweep(schema_version=2)))
    store.publish(row_of("a"))
    change(store)
    assert store.manifest() == manifest_of_a_sweep(schema_version=3)


def test_compaction_leaves_one_file_of_each_kind(store: Store) -> None:
    for trial_id in "abc":
        store.publish(row_of(trial_id), epochs_of(2), weights=trial_id.encode())
    before = store.read_rows()
    store.compact()
    assert [list((store.root / folder).iterdir()) for folder in ("rows", "epochs")] == [[], []]
    assert store.read_rows().equals(before)
    assert curves(store) == {trial_id: [0.5, 0.5] for trial_id in "abc"}
    assert pq.read_table(store.root / "trials.parquet").schema.equals(row_schema(TASKS))
    modified = (store.root / "trials.parquet").stat().st_mtime_ns
    store.compact()
    assert (store.root / "trials.parquet").stat().st_mtime_ns == modified
    assert store.verify() == []


def test_compaction_removes_only_what_it_has_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.publish(row_of("a"))
    store.publish(row_of("torn"))
    row_path(store, "torn").write_bytes(b"PAR1")
    publish_compacted = TableFiles.publish_compacted

    def late_worker(files: TableFiles, table: pa.Table) -> None:
        store.publish(row_of("late"))
        publish_compacted(files, table)

    monkeypatch.setattr(TableFiles, "publish_compacted", late_worker)
    store.compact()
    assert {path.name for path in (store.root / "rows").iterdir()} == {"late.1-0.parquet", "torn.1-0.parquet"}
    assert set(store.complete()) == {"a", "late"}


def test_curves_wait_for_their_row(store: Store) -> None:
    """A worker publishes curves first; compaction in between must not drop them."""
    store.publish(row_of("a"), epochs_of(1))
    store.publish(row_of("a", 2), epochs_of(2))
    row = row_path(store, "a", 2).read_bytes()
    row_path(store, "a", 2).unlink()
    store.compact()
    assert curves(store) == {"a": [0.5]}
    row_path(store, "a", 2).write_bytes(row)
    store.compact()
    assert curves(store) == {"a": [0.5, 0.5]}


def test_a_damaged_write_is_noticed_before_anything_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.publish(row_of("a"))
    monkeypatch.setattr(sweep.store.rows, "encode_table", lambda table: b"PAR1 and nothing else PAR1")
    with pytest.raises(StoreError, match=r"torn|damaged"):
        store.compact()
    assert row_path(store, "a").exists()
    assert not (store.root / "trials.parquet").exists()
    assert store.complete() == {"a": "ok"}


def test_a_row_of_before_a_later_column_is_read_with_a_null(tmp_path: Path) -> None:
    """A file that lacks any other column is still refused."""
    store = Store(tmp_path)
    store.create(manifest_of_a_sweep())
    store.publish(row_of("new", taken_over=["other"]))
    store.publish(row_of("old"))
    paths = {path.name.partition(".")[0]: path for path in (tmp_path / "rows").iterdir()}
    table = pq.read_table(paths["old"])
    paths["old"].write_bytes(encode_table(table.drop_columns(["taken_over"])))
    assert {row["trial_id"]: row["taken_over"] for row in store.read_rows().to_pylist()} == {"new": ["other"], "old": None}
    store.compact()
    assert {row["trial_id"]: row["taken_over"] for row in store.read_rows().to_pylist()} == {"new": ["other"], "old": None}
    assert store.verify() == []


def test_curves_that_are_all_alike_can_be_read(store: Store) -> None:
    """Thousands of epochs of trials that diverged take half a byte each."""
    schema = epoch_schema(TASKS)
    rows = [{"trial_id": f"t{i // 20}", "attempt": 1, "retry": 0, "epoch": i % 20, "penalty": math.nan} for i in range(50_000)]
    data = encode_table(to_table(rows, schema))
    assert decode_table(data, schema, store.root / "epochs.parquet").num_rows == len(rows)
