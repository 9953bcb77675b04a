"""What the store is for: killed processes, full and read-only disks, many writers at once. No published row is lost."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import sweep.store.rows
import sweep.store.store
from sweep.store.store import Store, StoreError, StoreWriteError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sweep.store.store.__file__).parents[2])}
MANIFEST: dict[str, Any] = {
    "schema_version": 3,
    "name": "tiny",
    "tasks": ["left"],
    "studies": [{"name": "main"}],
    "objectives": [{"name": "sparsity"}, {"name": "left"}],
    "hypervolume_reference": None,
}

WRITER = """
import json, sys
from pathlib import Path
from sweep.store.store import Store
store, prefix, n_rows = Store(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
losses = {f"loss.{split}.left": 0.5 for split in ("train", "validation", "test")}
for i in range(n_rows):
    trial_id = f"{prefix}{i}"
    row = {"trial_id": trial_id, "attempt": 1, "retry": 0, "state": "ok", "objective.sparsity": float(i), **losses}
    store.publish(row, [{"epoch": epoch, "penalty": float(i)} for epoch in range(20)], weights=trial_id.encode() * 1000)
    print(trial_id, flush=True)
"""

COMPACTOR = """
import sys
from pathlib import Path
from sweep.store.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
store.compact()
"""


def row_of(trial_id: str, attempt: int = 1) -> dict[str, Any]:
    losses = {f"loss.{split}.left": 0.5 for split in ("train", "validation", "test")}
    return {"trial_id": trial_id, "attempt": attempt, "retry": 0, "state": "ok", "objective.sparsity": 1.0, **losses}


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create(MANIFEST)
    return store


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("not run: needs root")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"not run: cannot mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Use up the disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


# -- killed processes ---------------------------------------------------------------------------------------------------


def test_kill_9_in_the_middle_of_publishing_loses_nothing_that_was_reported(store: Store) -> None:
    chance = random.Random(0)
    reported: set[str] = set()
    for kill in range(15):
        writer = start(WRITER, store.root, f"k{kill}-", 10_000)
        assert writer.stdout is not None
        reported.add(writer.stdout.readline().strip())
        time.sleep(chance.uniform(0, 0.06))
        writer.kill()
        reported.update(writer.stdout.read().split())  # communicate() would lose what readline() has read ahead
        writer.wait()
        complete = store.complete()
        assert reported <= set(complete)
        assert len(complete) <= len(reported) + kill + 1  # a row is at most one print ahead of its report
    assert store.unreadable() == []
    for row in store.read_rows().select(["trial_id", "weights_sha256"]).to_pylist():
        assert store.get_blob(row["weights_sha256"]) == row["trial_id"].encode() * 1000
    stray = [finding.path.name for finding in store.verify()]
    assert all(name.startswith(".") and name.endswith(".tmp") for name in stray)
    before = store.read_rows()
    store.compact()
    assert store.read_rows().equals(before)
    assert store.unreadable() == []


def test_kill_9_in_the_middle_of_compaction_changes_no_result(store: Store) -> None:
    chance = random.Random(0)
    writer = start(WRITER, store.root, "a", 60)
    assert writer.communicate()[1] == ""
    for kill in range(8):
        store.publish(row_of("again", kill + 1), [{"epoch": 1, "penalty": float(kill)}])
        before = store.read_rows()
        compactor = start(COMPACTOR, store.root)
        assert compactor.stdout is not None
        compactor.stdout.readline()
        time.sleep(chance.uniform(0, 0.8))
        compactor.kill()
        compactor.communicate()
        assert store.unreadable() == []
        assert store.read_rows().equals(before)
    store.compact()
    assert store.read_rows().equals(before)
    assert list((store.root / "rows").iterdir()) == list((store.root / "epochs").iterdir()) == []


@pytest.mark.parametrize("n_removals", range(5))
def test_a_crash_between_publishing_and_removing_is_harmless(store: Store, monkeypatch: pytest.MonkeyPatch, n_removals: int) -> None:
    """Whatever was still to be removed lies in both places; readers take it once, and the next compaction cleans up."""
    for trial_id in "ab":
        store.publish(row_of(trial_id), [{"epoch": epoch} for epoch in (1, 2)])
    before = store.read_rows()
    left = iter(range(n_removals))

    def crash(paths: Any) -> None:
        for path in paths:
            if next(left, None) is None:
                raise KeyboardInterrupt
            path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(sweep.store.rows, "remove", crash)
        if n_removals < 4:
            with pytest.raises(KeyboardInterrupt):
                store.compact()
        else:
            store.compact()
    assert store.read_rows().equals(before)
    assert store.complete() == {"a": "ok", "b": "ok"}
    store.compact()
    assert store.read_rows().equals(before)
    assert store.verify() == []
    curves = pq.read_table(store.root / "epochs.parquet", page_checksum_verification=True)
    assert curves.num_rows == 4


# -- disks --------------------------------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_leaves_no_row_and_no_torn_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        store = Store(disk / "results")
        store.create(MANIFEST)
        store.publish(row_of("before"))
        fill(disk / "ballast")
        writes = {
            "publish": lambda: store.publish(row_of("a"), [{"epoch": 1}], b"w" * 10_000),
            "put_blob": lambda: store.put_blob(b"w" * 10_000),
            "write_plan": lambda: store.write_plan(1, {"text": "x" * 10_000}),
            "write_live": lambda: store.write_live("p", {"text": "x" * 10_000}),
            "compact": store.compact,
        }
        for name, write in writes.items():
            with pytest.raises(StoreWriteError, match="the disk is full") as refused:
                write()
            assert "hint: free some space" in str(refused.value), name
        assert store.complete() == {"before": "ok"}
        assert store.verify() == []
        (disk / "ballast").unlink()
        for write in writes.values():
            write()
        assert store.complete() == {"before": "ok", "a": "ok"}
        assert store.verify() == []


def test_a_full_disk_refuses_a_new_run(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        fill(disk / "ballast")
        store = Store(disk / "results")
        with pytest.raises(StoreWriteError, match="the disk is full"), store.lock():
            pass
        with pytest.raises(StoreWriteError, match="the disk is full"):
            store.create(MANIFEST)
        assert store.manifest() is None


def test_a_read_only_disk_is_said_and_still_read(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        store = Store(disk / "results")
        store.create(MANIFEST)
        store.publish(row_of("a"))
        assert store.takes_files()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert not store.takes_files()
        for write in (lambda: store.publish(row_of("b")), lambda: store.create(MANIFEST), lambda: store.lock().__enter__(), store.compact):
            with pytest.raises(StoreWriteError, match="read-only"):
                write()
        assert store.complete() == {"a": "ok"}
        assert store.verify() == []


def test_a_file_in_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "results"):
        with pytest.raises(StoreError, match=r"a file stands where a folder is needed|Not a directory"):
            Store(root).create(MANIFEST)
        with pytest.raises(StoreError, match=r"a file stands where a folder is needed|Not a directory"), Store(root).lock():
            pass


def test_a_folder_that_was_deleted_is_said(store: Store) -> None:
    (store.root / "rows").rmdir()
    with pytest.raises(StoreWriteError, match="folder is missing"):
        store.publish(row_of("a"))
    store.create(MANIFEST)
    store.publish(row_of("a"))
    assert store.complete() == {"a": "ok"}


# -- many at once -------------------------------------------------------------------------------------------------------


def test_four_writers_and_a_compaction_at_once(store: Store) -> None:
    writers = [start(WRITER, store.root, f"w{i}-", 25) for i in range(4)]
    n_seen = 0
    while any(writer.poll() is None for writer in writers):
        store.compact()
        complete = store.complete()
        assert len(complete) >= n_seen
        n_seen = len(complete)
    assert [writer.communicate()[1] for writer in writers] == [""] * 4
    expected = {f"w{i}-{j}" for i in range(4) for j in range(25)}
    assert set(store.complete()) == expected
    store.compact()
    assert set(store.complete()) == expected
    assert store.read_rows()["trial_id"].to_pylist() == sorted(expected)
    curves = pq.read_table(store.root / "epochs.parquet", page_checksum_verification=True)
    assert curves.num_rows == 20 * 100
    assert store.verify() == []
