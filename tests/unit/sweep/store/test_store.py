"""The result store: what is published is complete, what is damaged is named, and compaction changes no result."""

import hashlib
import io
import json
import math
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sweep.store.rows
from sweep.store.files import UnreadableError
from sweep.store.rows import TableFiles
from sweep.store.schema import SchemaError, epoch_schema, row_schema
from sweep.store.store import Store, StoreError, StoreWriteError
from sweep.store.tables import decode_table, encode_table, to_table

TASKS = ("left", "right")


def manifest_of_a_sweep(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 3,
        "name": "quickstart",
        "created": "2026-01-31T12:00:00+00:00",
        "problem": {"name": "multidigits", "options": {"n_train": 3000}, "fingerprint": "ab12"},
        "tasks": list(TASKS),
        "metrics": {"left": "accuracy", "right": "accuracy"},
        "studies": [{"name": "main", "model": "mdmtn", "method": "wcal_growl", "after": None, "training": {"epochs": 3}}],
        "scaling": "none",
        "reference_point": [0.0, 0.0, 0.0],
        "objectives": [
            {"name": "sparsity", "column": "objective.sparsity", "sense": "min", "unit": "GrOWL norm"},
            *({"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": "nats"} for task in TASKS),
        ],
        "hypervolume_reference": None,
        **changes,
    }


def row_of(trial_id: str, attempt: int = 1, retry: int = 0, **changes: Any) -> dict[str, Any]:
    losses = {f"loss.{split}.{task}": 0.25 for split in ("train", "validation", "test") for task in TASKS}
    return {
        "trial_id": trial_id,
        "attempt": attempt,
        "retry": retry,
        "state": "ok",
        "k": [0.5, 0.25, 0.25],
        "objective.sparsity": 100.0 * attempt + retry,
        **losses,
        **changes,
    }


def epochs_of(n_epochs: int, loss: float = 0.5) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "phase": "dense", "loss.train.left": loss} for epoch in range(1, n_epochs + 1)]


def safetensors_of(trial_ids: Any = ("a",), epoch: Any = 3, n_bytes: int = 8) -> bytes:
    """A safetensors file with one tensor of bytes."""
    notes = {"trial_ids": json.dumps(trial_ids), "epoch": json.dumps(epoch)}
    header = json.dumps({"__metadata__": notes, "x": {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\1" * n_bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create(manifest_of_a_sweep())
    return store


def row_path(store: Store, trial_id: str, attempt: int = 1, retry: int = 0) -> Path:
    return store.root / "rows" / f"{trial_id}.{attempt}-{retry}.parquet"


def curves(store: Store) -> dict[str, list[float]]:
    """trial_id -> the training losses in epochs.parquet."""
    table = pq.read_table(store.root / "epochs.parquet")
    found: dict[str, list[float]] = {}
    for row in table.to_pylist():
        found.setdefault(row["trial_id"], []).append(row["loss.train.left"])
    return found


# -- identity -----------------------------------------------------------------------------------------------------------


def test_a_new_folder_has_no_manifest_and_nothing_complete(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert store.manifest() is None
    assert store.complete() == {}
    for nothing in (store.unreadable(), store.checkpoints(), store.live()):
        assert nothing == []
    assert store.latest_plan() is None
    assert store.next_attempt() == 1
    assert not store.root.exists()


def test_the_manifest_is_kept_as_given(store: Store) -> None:
    assert store.manifest() == manifest_of_a_sweep()
    assert {path.name for path in store.root.iterdir()} == {"manifest.json", "plans", "rows", "epochs", "blobs", "live", "checkpoints"}


def test_the_same_sweep_may_come_again_under_another_name(store: Store) -> None:
    store.create(manifest_of_a_sweep(name="other", created="2027-01-01T00:00:00+00:00", hypervolume_reference=[1.0, 1.0, 1.0]))
    assert store.manifest() == manifest_of_a_sweep()


def test_another_sweep_is_refused_with_every_difference_and_both_values(store: Store) -> None:
    other = manifest_of_a_sweep(
        problem={"name": "multidigits", "options": {"n_train": 4000, "seed": 1}, "fingerprint": "cd34"},
        studies=[{"name": "main", "model": "mdmtn", "method": "wcal_growl", "after": None, "training": {"epochs": 5}}],
    )
    with pytest.raises(StoreError) as refused:
        store.create(other)
    for line in (
        "problem.options.n_train: 3000 in the folder, 4000 asked for",
        "problem.options.seed: nothing in the folder, 1 asked for",
        "studies.main.training.epochs: 3 in the folder, 5 asked for",
        "hint: choose another `output`",
    ):
        assert line in str(refused.value)
    assert store.manifest() == manifest_of_a_sweep()


def test_the_same_data_may_lie_elsewhere(store: Store) -> None:
    """The fingerprint covers the data and every option that matters; where the files lie does not."""
    store.create(manifest_of_a_sweep(problem={"name": "multidigits", "options": {"n_train": 3000, "root": "/new"}, "fingerprint": "ab12"}))
    assert store.manifest() == manifest_of_a_sweep()


def test_studies_are_added_and_stay(store: Store) -> None:
    main = manifest_of_a_sweep()["studies"][0]
    dense: dict[str, Any] = {"name": "dense", "model": "hps", "method": "stl", "after": None, "training": {}}
    store.create(manifest_of_a_sweep(studies=[dense]))
    store.create(manifest_of_a_sweep(studies=[main]))
    assert store.manifest() == manifest_of_a_sweep(studies=[main, dense])


def test_a_folder_that_is_used_for_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        store.create(manifest_of_a_sweep())
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        store.lock()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_with_our_names_or_hidden_files_only_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").touch()
    store = Store(tmp_path)
    with store.lock():
        store.create(manifest_of_a_sweep())
    assert store.manifest() is not None


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"schema_version": 3}', "nul\0", '{"schema_version": 3, "tasks": ["a", "a"]}'])
def test_a_torn_manifest_is_an_error(store: Store, torn: str) -> None:
    (store.root / "manifest.json").write_text(torn)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        store.manifest()
    assert [finding.path.name for finding in store.verify()] == ["manifest.json"]


def test_a_manifest_of_another_version_is_an_error(store: Store) -> None:
    (store.root / "manifest.json").write_text(json.dumps(manifest_of_a_sweep(schema_version=99)))
    with pytest.raises(StoreError, match="99"):
        store.manifest()
    with pytest.raises(StoreError, match="99"):
        store.create(manifest_of_a_sweep())


def test_results_without_a_manifest_are_an_error(store: Store) -> None:
    store.publish(row_of("a"))
    (store.root / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        Store(store.root).complete()


def test_a_given_hypervolume_reference_never_moves(store: Store) -> None:
    with pytest.raises(StoreError, match="3 finite values"):
        store.settle_hypervolume_reference([1.0, math.nan, 2.0], is_given=False)
    assert store.settle_hypervolume_reference([120, 2.5, 2.5], is_given=False)
    assert store.settle_hypervolume_reference([130, 2.5, 2.5], is_given=False)
    assert not store.settle_hypervolume_reference([130, 2.5, 2.5], is_given=False)
    assert store.settle_hypervolume_reference([1, 1, 1], is_given=True)
    assert not store.settle_hypervolume_reference([200, 2.5, 2.5], is_given=False)
    assert store.manifest() == manifest_of_a_sweep(hypervolume_reference=[1.0, 1.0, 1.0], hypervolume_reference_given=True)


def test_an_earlier_versions_reference_is_given_where_a_plan_says_so(store: Store) -> None:
    manifest = manifest_of_a_sweep(hypervolume_reference=[1.0, 1.0, 1.0])
    (store.root / "manifest.json").write_text(json.dumps(manifest))
    assert not store.has_given_reference()
    store.write_plan(1, {"config": {"hypervolume_reference": None}})
    assert not store.has_given_reference()
    store.write_plan(2, {"config": {"hypervolume_reference": [1.0, 1.0, 1.0]}})
    assert store.has_given_reference()
    assert not store.settle_hypervolume_reference([2, 2, 2], is_given=False)
    assert store.manifest() == manifest


def test_the_reference_point_is_fixed_once_and_no_part_of_the_identity(tmp_path: Path) -> None:
    store = Store(tmp_path / "auto")
    asked = manifest_of_a_sweep(reference_point="auto", reference_point_values=None)
    store.create(asked)
    for wrong in ([1.0], [0.0, math.inf, 1.0]):
        with pytest.raises(StoreError, match="a reference point has 3 finite values"):
            store.fix_reference_point(wrong)
    store.fix_reference_point([0, 0.5, 0.25])
    store.fix_reference_point([1, 1, 1])
    store.create(asked)
    assert store.manifest() == asked | {"reference_point_values": [0.0, 0.5, 0.25]}


# -- plans --------------------------------------------------------------------------------------------------------------


def test_each_run_has_its_number_and_plan(store: Store) -> None:
    assert store.next_attempt() == 1
    store.write_plan(1, {"attempt": 1})
    store.write_plan(10, {"attempt": 10})
    assert store.latest_plan() == {"attempt": 10}
    assert store.next_attempt() == 11
    with pytest.raises(StoreError, match="already has a plan"):
        store.write_plan(10, {"attempt": 10})


def test_a_number_that_a_result_or_checkpoint_bears_is_not_given_again(store: Store) -> None:
    store.publish(row_of("a", attempt=4))
    assert store.next_attempt() == 5
    store.save_checkpoint("p", 7, 0, safetensors_of())
    assert store.next_attempt() == 8


# -- rows ---------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", ".a", "a\0", "a b", "ä", "a" * 129, "a\n", None, 7])
def test_no_id_leaves_its_folder(store: Store, name: Any) -> None:
    attacks: list[Callable[[], object]] = [
        lambda: store.publish(row_of(name)),
        lambda: store.save_checkpoint(name, 1, 0, safetensors_of()),
        lambda: store.save_checkpoint("p", 1, 0, safetensors_of([name])),
        lambda: store.write_live(name, {}),
        lambda: store.remove_live(name),
        lambda: store.get_blob(name),
    ]
    before = sorted(store.root.parent.rglob("*"))
    for attack in attacks:
        with pytest.raises(StoreError):
            attack()
    assert sorted(store.root.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["a", "A-1.2_3", "1.0-0", "a.1-0.parquet", "a" * 128])
def test_every_other_name_is_an_id(store: Store, name: str) -> None:
    store.publish(row_of(name), epochs_of(1))
    assert store.complete() == {name: "ok"}
    store.compact()
    assert store.complete() == {name: "ok"}


# -- damage -------------------------------------------------------------------------------------------------------------


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


# -- compaction ---------------------------------------------------------------------------------------------------------


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


def test_a_run_removes_what_was_never_written_whole(store: Store) -> None:
    left = store.root / "rows" / ".a.1-0.parquet.0123abcd.tmp"
    others = store.root / ".report.html.0123abcd.tmp"
    stale = store.root / ".manifest.json.0123abcd.tmp"
    foreign = store.root / "rows" / ".keep"
    for path in (left, others, stale, foreign):
        path.touch()
    for path in (stale, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    assert {finding.path for finding in store.verify()} == {left, others, stale}
    store.remove_temporaries()
    assert [path.exists() for path in (left, others, stale, foreign)] == [False, True, False, True]


def test_a_forgotten_trial_is_planned_again(store: Store) -> None:
    for trial_id in "ab":
        store.publish(row_of(trial_id), epochs_of(1))
    store.compact()
    store.publish(row_of("b", 2), epochs_of(1))
    store.publish(row_of("c"))
    store.forget({"b", "c"})
    assert store.complete() == {"a": "ok"}
    assert curves(store) == {"a": [0.5]}
    assert store.verify() == []


# -- latency ------------------------------------------------------------------------------------------------------------

LATENCY = {
    "weights_sha256": "0" * 64,
    "latency_ms": {"1": {"before": 0.6, "after": 0.5}, "256": {"before": 54.0, "after": 20}},
    "host": "node",
    "processor": "A Processor",
    "torch": "2.13.0",
    "product": "pareto-sweep 0.1.0",
    "measured": "2026-01-31T12:00:00+00:00",
}


def test_a_latency_is_kept_replaced_and_forgotten(store: Store) -> None:
    assert store.latency("a") is None
    for trial_id in "ab":
        store.publish(row_of(trial_id))
        store.write_latency(trial_id, LATENCY)
    store.write_latency("a", LATENCY | {"host": "other"})
    assert store.latency("a") == {"trial_id": "a"} | LATENCY | {"host": "other"}
    assert store.verify() == []
    store.forget({"a"})
    assert (store.latency("a"), store.latency("b")) == (None, {"trial_id": "b"} | LATENCY)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights_sha256", "0"),
        ("latency_ms", []),
        ("latency_ms", {"x": {"before": 1, "after": 1}}),
        ("latency_ms", {"1": {"before": 1}}),
        ("latency_ms", {"1": {"before": -1, "after": 1}}),
        ("latency_ms", {"1": {"before": float("inf"), "after": 1}}),
        ("latency_ms", {"1": {"before": 10**400, "after": 1}}),
        ("host", "\x1b[2J"),
        ("processor", None),
        ("measured", "yesterday"),
        ("trial_id", "b"),
    ],
)
def test_a_latency_that_no_command_measured_is_refused_and_found(store: Store, key: str, value: Any) -> None:
    with pytest.raises(StoreError, match=f"`{key}` is not what"):
        store.write_latency("a", LATENCY | {key: value})
    store.write_latency("a", LATENCY)
    path = store.root / "latency" / "a.json"
    path.write_bytes(json.dumps({"trial_id": "a"} | LATENCY | {key: value}).encode())
    assert store.latency("a") is None
    assert [finding.path for finding in store.verify()] == [path]


def test_a_latency_that_is_being_written_survives_a_run_that_clears_up(store: Store) -> None:
    store.write_latency("a", LATENCY)
    fresh, old = (store.root / "latency" / f".a.json.0123456{digit}.tmp" for digit in "78")
    for path in (fresh, old):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    store.remove_temporaries()
    assert (fresh.exists(), old.exists()) == (True, False)


# -- verify -------------------------------------------------------------------------------------------------------------


def damage_blob(store: Store) -> Path:
    path = store.root / "blobs" / hashlib.sha256(b"weights").hexdigest()
    path.write_bytes(b"wEights")
    return path


def lose_blob(store: Store) -> Path:
    (store.root / "blobs" / hashlib.sha256(b"weights").hexdigest()).unlink()
    return row_path(store, "a")


def break_an_identity(store: Store) -> Path:
    path = row_path(store, "b")
    row = row_of("b", sparsity_rate=0.5, compression_rate=2.0, parameter_sharing=3.0)
    pq.write_table(to_table([row], row_schema(TASKS)), path)
    return path


def repeat_a_trial(store: Store) -> Path:
    path = store.root / "trials.parquet"
    pq.write_table(to_table([row_of("z"), row_of("z")], row_schema(TASKS)), path)
    return path


def write_torn(name: str) -> Callable[[Store], Path]:
    def damage(store: Store) -> Path:
        (store.root / name).write_bytes(b"{")
        return store.root / name

    return damage


@pytest.mark.parametrize(
    "damage",
    [damage_blob, lose_blob, break_an_identity, repeat_a_trial]
    + [
        write_torn(name)
        for name in (
            "rows/x.1-0.parquet",
            "epochs/x.1-0.parquet",
            "trials.parquet",
            "epochs.parquet",
            "checkpoints/x.1-0.safetensors",
            "plans/1.json",
            "live/p.json",
            "control.json",
            "blobs/notes",
        )
    ],
)
def test_verify_names_each_damage_and_what_to_do(store: Store, damage: Callable[[Store], Path]) -> None:
    store.publish(row_of("a"), epochs_of(2), weights=b"weights")
    store.publish(row_of("c", state="error", error="bad data"))
    store.save_checkpoint("p", 1, 0, safetensors_of())
    store.write_plan(2, {"attempt": 2})
    store.write_live("q", {"epoch": 1})
    assert store.verify() == []
    path = damage(store)
    (finding,) = store.verify()
    assert finding.path == path
    assert finding.problem
    assert finding.hint


# -- blobs --------------------------------------------------------------------------------------------------------------


def test_blobs_are_named_by_their_content(store: Store) -> None:
    sha256 = store.put_blob(b"weights")
    assert sha256 == hashlib.sha256(b"weights").hexdigest()
    assert store.get_blob(sha256) == b"weights"
    damage_blob(store)
    with pytest.raises(StoreError, match="damaged"):
        store.get_blob(sha256)
    store.put_blob(b"weights")
    assert store.get_blob(sha256) == b"weights"
    with pytest.raises(StoreError, match="no such blob"):
        store.get_blob("0" * 64)


# -- checkpoints --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_found_by_its_header(store: Store) -> None:
    data = safetensors_of(["a", "b"], epoch=12)
    store.save_checkpoint("p", 1, 2, data)
    (checkpoint,) = store.checkpoints()
    assert checkpoint.pack_id == "p"
    assert (checkpoint.attempt, checkpoint.retry, checkpoint.trial_ids, checkpoint.epoch) == (1, 2, ("a", "b"), 12)
    assert store.load_checkpoint(checkpoint) == data
    store.remove_checkpoints("p")
    assert store.checkpoints() == []
    with pytest.raises(StoreError, match="gone"):
        store.load_checkpoint(checkpoint)


def test_the_library_that_writes_checkpoints_is_understood(store: Store) -> None:
    numpy = pytest.importorskip("numpy")
    safetensors = pytest.importorskip("safetensors.numpy")
    notes = {"trial_ids": json.dumps(["a"]), "epoch": "4"}
    store.save_checkpoint("p", 1, 0, safetensors.save({"x": numpy.ones(3), "y": numpy.ones((2, 2))}, metadata=notes))
    store.save_checkpoint("q", 1, 0, safetensors.save({}, metadata=notes))
    assert [checkpoint.epoch for checkpoint in store.checkpoints()] == [4, 4]


def test_a_newer_checkpoint_replaces_older_ones_and_fences_off_late_writers(store: Store) -> None:
    for attempt, retry, epoch in ((1, 0, 5), (1, 0, 6), (2, 1, 7), (2, 0, 99), (1, 3, 99)):
        store.save_checkpoint("p", attempt, retry, safetensors_of(epoch=epoch))
    store.save_checkpoint("p.1", 1, 0, safetensors_of(epoch=1))
    assert [(checkpoint.pack_id, checkpoint.epoch) for checkpoint in store.checkpoints()] == [("p", 7), ("p.1", 1)]


@pytest.mark.parametrize(
    "data",
    [b"", b"1234567", b"\xff" * 100, safetensors_of()[:-1], safetensors_of() + b"x", safetensors_of("a"), safetensors_of(["a"], "3")]
    + [(10**12).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]", (2).to_bytes(8, "little") + b"{}"]
    + [safetensors_of()[: 8 + n_bytes] for n_bytes in (1, 50, 100)],
)
def test_a_torn_checkpoint_is_skipped_and_named(store: Store, data: bytes) -> None:
    store.save_checkpoint("good", 1, 0, safetensors_of())
    with pytest.raises(StoreError):
        store.save_checkpoint("bad", 1, 0, data)
    path = store.root / "checkpoints" / "bad.1-0.safetensors"
    path.write_bytes(data)
    assert [checkpoint.pack_id for checkpoint in store.checkpoints()] == ["good"]
    assert [name for name, _ in store.unreadable()] == [path]
    store.remove_checkpoints("bad")
    assert not path.exists()


def test_checkpoints_go_when_their_every_trial_is_complete(store: Store) -> None:
    store.save_checkpoint("p", 1, 0, safetensors_of(["a", "b"]))
    store.save_checkpoint("q", 1, 0, safetensors_of(["b", "c"]))
    store.remove_checkpoints("q", complete_ids={"b"})
    store.remove_checkpoints("q", complete_ids={"a", "b"})
    assert [checkpoint.pack_id for checkpoint in store.checkpoints()] == ["p", "q"]
    for trial_id in "ab":
        store.publish(row_of(trial_id))
    store.remove_checkpoints()
    assert [checkpoint.pack_id for checkpoint in store.checkpoints()] == ["q"]
    store.remove_checkpoints(complete_ids=["b", "c"])
    assert store.checkpoints() == []


# -- live and control ---------------------------------------------------------------------------------------------------


def test_live_states_are_replaced_and_removed(store: Store) -> None:
    store.write_live("p", {"epoch": 1})
    store.write_live("p", {"epoch": 2, "losses": [0.5, math.nan, (math.inf,)]})
    store.write_live("q", {"epoch": 9})
    assert store.live() == [{"epoch": 2, "losses": [0.5, None, [None]], "pack_id": "p"}, {"epoch": 9, "pack_id": "q"}]
    (store.root / "live" / "p.json").write_text("{")
    assert store.live() == [{"epoch": 9, "pack_id": "q"}]
    store.remove_live("q")
    store.remove_live("q")
    assert store.live() == []
    store.clear_live()
    assert list((store.root / "live").iterdir()) == []


def test_a_stop_is_asked_for_and_forgotten(store: Store) -> None:
    assert not store.control.stop_requested()
    store.control.request_stop()
    assert Store(store.root).control.stop_requested()
    store.control.clear_stop()
    store.control.clear_stop()
    assert not store.control.stop_requested()


def test_the_lock_is_the_folders(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "results")
    with store.lock() as lock:
        holder = store.lock_holder()
        assert holder is not None
        assert holder["pid"] == os.getpid()
        assert not lock.lost
    assert store.lock_holder() is None


# -- the object itself --------------------------------------------------------------------------------------------------


def test_a_store_travels_to_workers(store: Store) -> None:
    store.publish(row_of("a"))
    assert pickle.loads(pickle.dumps(store)).complete() == {"a": "ok"}


def test_errors_travel_from_workers() -> None:
    error = pickle.loads(pickle.dumps(StoreWriteError("cannot write: the disk is full", Path("/x"), "free some space")))
    assert str(error) == "/x: cannot write: the disk is full\n  hint: free some space"


def test_importing_the_store_is_light() -> None:
    heavy = ("torch", "ray", "pandas", "pydantic", "pyarrow.parquet")
    code = f"import sys, sweep.store.store; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(sweep.store.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout == "[]\n"


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


def test_the_first_workers_backend_holds_for_all_and_comes_into_the_manifest(store: Store) -> None:
    def never() -> dict[str, Any]:
        raise AssertionError("it is settled")

    assert store.settle_backend("mdmtn", lambda: {"backend": "packed", "seconds_a_step_and_model": {"packed": 1e-4}}) == "packed"
    assert store.settle_backend("mdmtn", never) == "packed"
    # Two that measure at once: the slower one takes what is there by then.
    assert store.settle_backend("hps", lambda: {"backend": store.settle_backend("hps", lambda: {"backend": "vmap"}) + "?"}) == "vmap"
    store.record_backends()
    assert store.manifest()["backends"]["mdmtn"]["backend"] == "packed"  # type: ignore[index]
    for path in (store.root / "plans").glob("backend-*.json"):
        path.unlink()
    assert store.settle_backend("hps", never) == "vmap"
    assert store.verify() == []
    again = {key: value for key, value in store.manifest().items() if key != "backends"}  # type: ignore[union-attr]
    store.create(again)
    assert set(store.manifest()["backends"]) == {"mdmtn", "hps"}  # type: ignore[index]


def test_curves_that_are_all_alike_can_be_read(store: Store) -> None:
    """Thousands of epochs of trials that diverged take half a byte each."""
    schema = epoch_schema(TASKS)
    rows = [{"trial_id": f"t{i // 20}", "attempt": 1, "retry": 0, "epoch": i % 20, "penalty": math.nan} for i in range(50_000)]
    data = encode_table(to_table(rows, schema))
    assert decode_table(data, schema, store.root / "epochs.parquet").num_rows == len(rows)
