"""The lock of an object store: who may claim it, who may not, and that two never hold it."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import sweep.store.claims
from sweep.store.claims import Claims, claim_holder, read_claims
from sweep.store.lock import Holder, LockedError
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store

REPOSITORY = Path(sweep.store.claims.__file__).parents[2]


@pytest.fixture
def folder(s3_address: str) -> RemotePath:
    return RemotePath(s3_address) / "locks"


def leave_claim(folder: RemotePath, **changes: Any) -> dict[str, Any]:
    """A claim as a run of this process would have left it, with some fields changed."""
    claim = {**asdict(Holder.myself()), "is_held": True, "taken_over": [], **changes}
    (folder / f"{claim['nonce']}.json").write_bytes(json.dumps(claim).encode())
    return claim


def ended_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@contextmanager
def beating(folder: RemotePath, claim: Mapping[str, Any], every: float) -> Iterator[None]:
    """Another host's heartbeat."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(every):
            count += 1
            (folder / f"{claim['nonce']}.json").write_bytes(json.dumps({**claim, "heartbeat": count}).encode())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def wait_until(condition: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def test_the_claim_says_who_holds_it_and_goes_with_the_holder(s3_address: str, folder: RemotePath) -> None:
    store = Store(s3_address)
    with store.lock() as lock:
        holder = store.lock_holder()
        assert holder is not None
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
        assert not lock.lost
    assert store.lock_holder() is None
    assert folder.list() == []


def test_a_second_run_is_refused_and_told_who_is_first(folder: RemotePath) -> None:
    with Claims(folder) as first:
        with pytest.raises(LockedError) as refused, Claims(folder):
            pass
        for part in (str(os.getpid()), socket.gethostname(), str(folder), "hint: wait", "Ctrl-C"):
            assert part in str(refused.value)
        assert not first.lost
        assert len(read_claims(folder)) == 1
    with Claims(folder):
        pass


def test_an_exception_releases_the_lock(folder: RemotePath) -> None:
    with pytest.raises(KeyError), Claims(folder):
        raise KeyError
    assert folder.list() == []


@pytest.mark.parametrize("is_held", [True, False])
def test_a_dead_holder_on_this_host_is_replaced(folder: RemotePath, is_held: bool) -> None:
    dead = leave_claim(folder, pid=ended_pid(), is_held=is_held)
    assert claim_holder(folder, certainly_dead=False) is None
    with Claims(folder, patience=600):
        (name,) = [path.name for path in folder.list()]
        assert name != f"{dead['nonce']}.json"


def test_a_silent_holder_elsewhere_is_replaced_after_patience(folder: RemotePath) -> None:
    leave_claim(folder, host="another-host")
    start = time.monotonic()
    with Claims(folder, patience=0.8):
        assert time.monotonic() - start >= 0.8


def test_a_beating_holder_elsewhere_is_alive(folder: RemotePath) -> None:
    claim = leave_claim(folder, host="another-host", started="1970-01-01T00:00:00+00:00")
    with beating(folder, claim, every=0.2), pytest.raises(LockedError, match="another-host"), Claims(folder, patience=60):
        pass


def test_what_is_no_claim_is_nobodys(folder: RemotePath) -> None:
    for name, data in (("a.json", b"{"), ("b.json", b'{"host": "h"}'), ("c.json", json.dumps(asdict(Holder.myself())).encode())):
        (folder / name).write_bytes(data)
    assert claim_holder(folder) is None
    with Claims(folder, patience=600):
        pass


def test_heartbeats_count(folder: RemotePath) -> None:
    with Claims(folder, beat_every=0.05) as lock:
        lock._claim = replace(lock._claim, holder=replace(lock._claim.holder, alive_at="2026-01-31T12:00:00+00:00"))
        assert wait_until(lambda: (claim_holder(folder) or {}).get("heartbeat", 0) >= 3)
        holder = claim_holder(folder) or {}
        assert holder["alive_at"] >= holder["started"], "each says when it was"


def test_a_holder_learns_that_it_was_taken_over(folder: RemotePath) -> None:
    """It slept, another host judged it dead: it ends, whether or not its late heartbeat came after its claim was removed."""
    with Claims(folder, beat_every=0.1) as lock:
        mine = lock._claim
        leave_claim(folder, host="another-host", nonce="successor", taken_over=[mine.holder.nonce])
        assert wait_until(lambda: lock.lost)
        lock._put(mine)  # the late heartbeat
        assert set(read_claims(folder)) == {"successor"}
    assert [path.name for path in folder.list()] == ["successor.json"]


def test_a_holder_learns_that_its_claim_is_gone(folder: RemotePath) -> None:
    with Claims(folder, beat_every=0.1) as lock:
        (path,) = folder.list()
        # Again and again: a heartbeat between its look and its put brings it back.
        assert wait_until(lambda: path.unlink(missing_ok=True) or lock.lost)


RIVAL = """
import sys, time
from sweep.store.claims import Claims
from sweep.store.lock import LockedError
from sweep.store.remote.path import RemotePath
root, deadline, n_held = RemotePath(sys.argv[1]), time.monotonic() + 60, 0
while time.monotonic() < deadline and n_held < 2:
    try:
        with Claims(root / "locks"):
            assert not (root / "inside").list()
            mine = root / "inside" / sys.argv[2]
            mine.write_bytes(b"x")
            time.sleep(0.05)
            assert [path.name for path in (root / "inside").list()] == [sys.argv[2]]
            mine.unlink()
            n_held += 1
    except LockedError:
        time.sleep(0.02)
sys.exit(n_held)
"""


def test_rivals_over_a_dead_claim_never_hold_it_together(s3_address: str, folder: RemotePath) -> None:
    """Three processes race for it, twice each; a second one inside would fail."""
    leave_claim(folder, pid=ended_pid())
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", RIVAL, s3_address]
    rivals = [subprocess.Popen([*command, str(number)], env=environment, stderr=subprocess.PIPE) for number in range(3)]
    errors = [rival.communicate(timeout=120)[1].decode() for rival in rivals]
    assert not any(errors)
    assert [rival.returncode for rival in rivals] == [2] * 3
    assert folder.list() == []
