"""One run at a time: who may take the lock, who may not, and that two never hold it."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import sweep.store.lock
from sweep.store.files import StoreWriteError
from sweep.store.lock import Holder, Lock, LockedError, holder_of

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(sweep.store.lock.__file__).parents[1])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock.json"


def leave_lock(path: Path, **changes: Any) -> dict[str, Any]:
    """A lock file as this process would have left it, with some fields changed."""
    holder = {**asdict(Holder.myself()), **changes}
    path.write_text(json.dumps(holder))
    return holder


def ended_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@contextmanager
def beating(path: Path, holder: Mapping[str, Any], every: float) -> Iterator[None]:
    """Another host's heartbeat."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(every):
            count += 1
            with path.open("r+") as file:
                file.write(json.dumps({**holder, "heartbeat": count}))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_until(condition: Any, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def test_the_file_says_who_holds_it_and_goes_with_the_holder(path: Path) -> None:
    with Lock(path) as lock:
        holder = json.loads(path.read_bytes())
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        assert set(holder) >= {"process_start", "started", "heartbeat", "nonce"}
        assert holder_of(path) == holder
        assert not lock.lost
    assert holder_of(path) is None
    assert list(path.parent.iterdir()) == []


def test_a_second_run_is_refused_and_told_who_is_first(path: Path) -> None:
    with Lock(path) as first:
        started = json.loads(path.read_bytes())["started"]
        with pytest.raises(LockedError) as refused, Lock(path):
            pass
        for part in (str(os.getpid()), socket.gethostname(), started, str(path), "hint: wait", "Ctrl-C"):
            assert part in str(refused.value)
        assert not first.lost
    with Lock(path):
        pass


def test_an_exception_releases_the_lock(path: Path) -> None:
    with pytest.raises(KeyError), Lock(path):
        raise KeyError
    assert not path.exists()


def test_a_disk_that_has_turned_read_only_does_not_hide_what_ended_the_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(KeyError), Lock(path):
        raise KeyError
    assert path.exists()


def test_a_dead_holder_on_this_host_is_replaced_at_once(path: Path) -> None:
    leave_lock(path, pid=ended_pid())
    start = time.monotonic()
    with Lock(path, patience=60):
        assert time.monotonic() - start < 2
        assert json.loads(path.read_bytes())["pid"] == os.getpid()


def test_a_pid_that_now_belongs_to_a_later_process_is_dead(path: Path) -> None:
    leave_lock(path, process_start=1)
    with Lock(path, patience=60):
        pass


def test_a_holder_that_only_waits_to_be_reaped_is_dead(path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        leave_lock(path, pid=child.pid, process_start=None)
        with pytest.raises(LockedError), Lock(path):
            pass
        child.kill()
        time.sleep(0.2)
        with Lock(path, patience=60):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_killed_run_leaves_a_lock_that_the_next_one_takes(path: Path) -> None:
    hold = f"with Lock(pathlib.Path({str(path)!r})): print('held', flush=True); time.sleep(60)"
    code = f"import pathlib, time\nfrom sweep.store.lock import Lock\n{hold}"
    child = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"pid {child.pid} "), Lock(path):
            pass
    finally:
        child.kill()
        child.communicate()
    with Lock(path):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "another-host"}, {"machine": "another boot/another container"}])
def test_a_silent_holder_elsewhere_is_replaced_after_patience(path: Path, elsewhere: dict[str, str]) -> None:
    leave_lock(path, **elsewhere)
    start = time.monotonic()
    with Lock(path, patience=0.8):
        assert time.monotonic() - start >= 0.8


def test_a_beating_holder_elsewhere_is_alive_whatever_its_clock_says(path: Path) -> None:
    holder = leave_lock(path, host="another-host", started="1970-01-01T00:00:00+00:00")
    with beating(path, holder, every=0.2), pytest.raises(LockedError, match="another-host"), Lock(path, patience=30):
        pass


def test_a_holder_elsewhere_that_ends_while_we_watch_is_followed(path: Path) -> None:
    leave_lock(path, host="another-host")
    release = threading.Timer(0.3, path.unlink)
    release.start()
    start = time.monotonic()
    with Lock(path, patience=30):
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("torn", [b"", b"{", b"\0" * 1024, b"[]", b'{"host": "a"}', b"\xff"])
def test_a_torn_file_is_replaced(path: Path, torn: bytes) -> None:
    path.write_bytes(torn)
    assert holder_of(path) is None
    with Lock(path, patience=0.3):
        assert holder_of(path) is not None


def test_heartbeats_count(path: Path) -> None:
    with Lock(path, beat_every=0.05):
        assert wait_until(lambda: (holder_of(path) or {}).get("heartbeat", 0) >= 3)


def test_a_holder_learns_that_it_was_replaced_and_leaves_the_successor_alone(path: Path) -> None:
    with Lock(path, beat_every=0.1) as lock:
        path.rename(path.with_name("stale"))
        successor = leave_lock(path, nonce="successor")
        assert wait_until(lambda: lock.lost)
    assert json.loads(path.read_bytes()) == successor


def test_a_late_heartbeat_never_reaches_the_successor(path: Path) -> None:
    """The holder slept between its last look and its write: the write goes to the file that was taken away."""
    with Lock(path, beat_every=60) as lock:
        path.rename(path.with_name("stale"))
        successor = leave_lock(path, nonce="successor")
        lock._write(Holder.myself())
        assert json.loads(path.read_bytes()) == successor


def test_a_lock_taken_away_by_mistake_is_put_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival judged the former holder dead, slept while we took over, and wakes just before its rename."""
    leave_lock(path, pid=ended_pid())
    rival = Lock(path)
    judged = rival._look()
    assert judged is not None
    with Lock(path, beat_every=0.05) as lock:
        mine = path.read_bytes(), path.stat().st_ino
        monkeypatch.setattr(rival, "_look", lambda: judged)
        rival._take_away(judged)
        assert path.stat().st_ino == mine[1]
        time.sleep(0.4)
        assert not lock.lost
    assert not path.exists()


def test_a_full_disk_does_not_cost_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Lock(path, beat_every=0.05) as lock:
        monkeypatch.setattr(os, "pwrite", fail)
        time.sleep(0.3)
        assert not lock.lost
    with pytest.raises(StoreWriteError, match="the disk is full"), Lock(path):
        pass
    assert not path.exists()


RIVAL = """
import os, pathlib, sys, time
from sweep.store.lock import Lock, LockedError
folder, deadline, n_held = pathlib.Path(sys.argv[1]), time.monotonic() + 30, 0
while time.monotonic() < deadline:
    try:
        with Lock(folder / "lock.json"):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            n_held += 1
            time.sleep(0.01)
            os.remove(folder / "inside")
            if n_held == 3:
                os._exit(n_held)
    except LockedError:
        time.sleep(0.001)
"""


def test_rivals_over_a_dead_lock_never_hold_it_together(path: Path) -> None:
    """Six race for it; each releases it twice and dies holding it the third time. A second one inside would fail."""
    leave_lock(path, pid=ended_pid())
    command = [sys.executable, "-c", RIVAL, str(path.parent)]
    rivals = [subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) for _ in range(6)]
    errors = [rival.communicate(timeout=60)[1].decode() for rival in rivals]
    assert not any(errors)
    assert [rival.returncode for rival in rivals] == [3] * 6
