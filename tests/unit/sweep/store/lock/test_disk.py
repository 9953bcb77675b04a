"""What only the lock on a disk does: torn files, and files that a rival moved. What both locks do is in `test_folder_lock.py`."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from waiting import until

from sweep.store.lock.disk import Lock
from sweep.store.lock.folder_lock import Holder
from tests.unit.sweep.store.lock.test_folder_lock import NEVER, FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock.json"


def write_successor(path: Path) -> bytes:
    """Another run's lock in the place of this one's."""
    path.rename(path.with_name("stale"))
    path.write_text(json.dumps({**asdict(Holder.myself()), "nonce": "successor"}))
    return path.read_bytes()


@pytest.mark.parametrize("torn", [b"", b"{", b"\0" * 1024, b"[]", b'{"host": "a"}', b"\xff"])
def test_a_torn_file_is_replaced_after_a_moment(path: Path, torn: bytes) -> None:
    path.write_bytes(torn)
    assert Lock(path).current_holder() is None
    clock = FakeClock()
    with Lock(path, patience=30, clock=clock) as lock:
        assert 0 < clock.now < 30, "its writer had time to complete it, but not a holder's patience"
        assert lock.current_holder() is not None


def test_a_torn_file_that_its_writer_completes_is_a_lock(path: Path) -> None:
    path.write_bytes(b"")
    holder = Holder.myself()
    complete = json.dumps(asdict(holder))
    clock = FakeClock(lambda: path.write_text(complete) and None)
    with pytest.raises(Exception, match="another run works here"), Lock(path, clock=clock):
        pass
    assert Lock(path).current_holder() == holder


def test_a_late_heartbeat_never_reaches_the_successor(path: Path) -> None:
    """The holder slept between its last look and its write: the write goes to the file that was moved away."""
    with Lock(path, beat_every=NEVER) as lock:
        successor = write_successor(path)
        lock._write_heartbeat(Holder.myself())
        assert path.read_bytes() == successor


def test_a_lock_that_a_rival_removes_by_mistake_is_put_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival judged the former holder dead, slept while we replaced it, and wakes just before its rename."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path.write_text(json.dumps({**asdict(Holder.myself()), "pid": child.pid}))
    rival = Lock(path)
    judged = rival._read()
    assert judged is not None
    with Lock(path, beat_every=NEVER) as lock:
        mine = path.read_bytes(), path.stat().st_ino
        monkeypatch.setattr(rival, "_read", lambda: judged)
        rival._remove(judged)
        assert (path.read_bytes(), path.stat().st_ino) == mine
        lock.beat()
        assert not lock.lost
    assert not path.exists()


def test_one_miss_is_no_loss(path: Path) -> None:
    """The heart looks while a rival's mistaken removal is not yet undone."""
    with Lock(path, beat_every=NEVER) as lock:
        aside = path.with_name("aside")
        reads = []
        read = lock._read

        def read_and_put_back() -> object:
            reads.append(read())
            if aside.exists():
                aside.rename(path)
            return reads[-1]

        lock._read = read_and_put_back  # type: ignore[method-assign,assignment]
        path.rename(aside)
        lock.beat()
        assert reads[0] is None
        assert not lock.lost
    until(lambda: not path.exists(), "release")
