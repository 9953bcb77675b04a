"""The result store as a whole: folders, blobs, verification, the lock, and copies in other processes."""

import hashlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from example_store import TASKS, curves, epochs_of, manifest_of_a_sweep, row_of, row_path, safetensors_of

import sweep.store.rows
from sweep.store.schema import row_schema
from sweep.store.store import Store, StoreError, StoreWriteError
from sweep.store.tables import to_table


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
