"""A results folder on NFS: everything that the store does to files is creating, writing, syncing, renaming and removing."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import sweep.store.store
from sweep.store.files import read_json, write_first

# Audit hooks cannot be taken away again, so the life of a store is told by a process of its own.
LIFE = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[2])
from example_store import epochs_of, manifest_of_a_sweep, row_of, safetensors_of
import pyarrow.compute, pyarrow.parquet
from sweep.store.store import LockedError, Store

root, events = pathlib.Path(sys.argv[1]), []
is_on = True

def hook(event, arguments):
    if is_on and event.partition(".")[0] in ("os", "fcntl", "mmap", "shutil", "open", "socket"):
        if event.partition(".")[0] in ("fcntl", "mmap") or any(str(root) in str(argument) for argument in arguments):
            events.append(event)

sys.addaudithook(hook)
store = Store(root)
with store.lock():
    store.create(manifest_of_a_sweep())
    try:
        store.lock().__enter__()
    except LockedError:
        pass
    assert store.settle_backend("mdmtn", lambda: {"backend": "packed"}) == "packed"
    store.record_backends()
    store.write_plan(store.next_attempt(), {"trials": []})
    store.write_live("p", {"epoch": 1})
    store.save_checkpoint("p", 1, 0, safetensors_of())
    for trial_id in "ab":
        store.publish(row_of(trial_id), epochs_of(2), trial_id.encode())
    store.control.request_stop()
    store.control.clear_stop()
    store.compact()
    store.forget({"a"})
    store.remove_checkpoints("p")
    store.clear_live()
    store.remove_temporaries()
    assert store.verify() == []
is_on = False
print(json.dumps(sorted(set(events))))
"""


@pytest.mark.full
def test_only_creating_writing_renaming_and_removing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(sweep.store.store.__file__).parents[2])}
    command = [sys.executable, "-c", LIFE, str(tmp_path / "results"), str(Path(__file__).parents[1])]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    events = set(json.loads(ended.stdout))
    assert {"open", "os.rename", "os.remove", "os.mkdir"} <= events  # the hook hears of this folder
    assert events <= {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"}


def test_of_several_first_writers_one_stays_and_all_read_it(tmp_path: Path) -> None:
    path = tmp_path / "first.json"
    read = []

    def write(number: int) -> None:
        write_first(path, {"number": number, "rest": "x" * 100_000})
        read.append(read_json(path)["number"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 8
    assert len(set(read)) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["first.json"]


def test_a_first_writer_that_died_half_way_is_replaced(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sweep.store.files._TORN_PATIENCE_S", 0.1)
    path = tmp_path / "first.json"
    path.write_text('{"number":')
    write_first(path, {"number": 2})
    assert read_json(path) == {"number": 2}
