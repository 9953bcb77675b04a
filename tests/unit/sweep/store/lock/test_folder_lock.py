"""One run at a time, on a disk and in an object store: who may take the lock, who may not, and that two never hold it."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import pytest
from waiting import until

import sweep
from sweep.store.errors import StoreError, UnreachableError
from sweep.store.lock import Claims, FolderLock, Lock, LockedError
from sweep.store.lock.folder_lock import Holder
from sweep.store.remote.path import RemotePath, StorePath

NEVER = 3600.0


class FakeClock:
    """Time that passes only in `sleep`; what happens meanwhile is called then."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self._meanwhile = meanwhile

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds
        self._meanwhile()


class Place(Protocol):
    """A results folder, and what other hosts and a faulty disk or network do to its lock."""

    root: StorePath
    n_rivals: int
    n_turns: int
    write_problem: str

    def lock(self, **options: Any) -> FolderLock: ...

    def leave(self, **changes: Any) -> Holder:
        """A lock as a run of this process would have left it, with some fields changed."""

    def beat(self, holder: Holder, count: int) -> None:
        """Another host's heartbeat."""

    def remove(self, holder: Holder) -> None: ...

    def replace(self, holder: Holder) -> None:
        """Another host judges the holder dead and takes its place, with the nonce `successor`."""

    def names(self) -> list[str]:
        """Everything that is there."""

    def refuse_writes(self, monkeypatch: pytest.MonkeyPatch) -> None: ...

    def refuse_removals(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


class Disk:
    n_rivals, n_turns = 6, 3
    write_problem = "the disk is full"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "lock.json"

    def lock(self, **options: Any) -> FolderLock:
        return Lock(self.path, **options)

    def leave(self, **changes: Any) -> Holder:
        holder = Holder(**{**asdict(Holder.myself()), **changes})
        self.path.write_text(json.dumps(asdict(holder)))
        return holder

    def beat(self, holder: Holder, count: int) -> None:
        with self.path.open("r+") as file:
            file.write(json.dumps({**asdict(holder), "heartbeat": count}))

    def remove(self, holder: Holder) -> None:
        self.path.unlink()

    def replace(self, holder: Holder) -> None:
        self.path.rename(self.path.with_name("stale"))
        self.leave(nonce="successor")

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())

    def refuse_writes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "pwrite", _raises(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))

    def refuse_removals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "rename", _raises(OSError(errno.EROFS, os.strerror(errno.EROFS))))


class Bucket:
    n_rivals, n_turns = 3, 2
    write_problem = "no answer"

    def __init__(self, address: str) -> None:
        self.root = RemotePath(address)
        self.path = self.root / "locks"

    def lock(self, **options: Any) -> FolderLock:
        return Claims(self.path, **options)

    def leave(self, **changes: Any) -> Holder:
        claim = {**asdict(Holder.myself()), "is_held": True, "taken_over": [], **changes}
        self._path_of(claim["nonce"]).write_bytes(json.dumps(claim).encode())
        return Holder(**{name: claim[name] for name in asdict(Holder.myself())})

    def beat(self, holder: Holder, count: int) -> None:
        self.leave(**{**asdict(holder), "heartbeat": count})

    def remove(self, holder: Holder) -> None:
        self._path_of(holder.nonce).unlink()

    def replace(self, holder: Holder) -> None:
        self.leave(host="another-host", nonce="successor", taken_over=[holder.nonce])

    def names(self) -> list[str]:
        return [path.name for path in self.path.list()]

    def refuse_writes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RemotePath, "write_bytes", _raises(UnreachableError("no answer", self.path)))

    def refuse_removals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RemotePath, "unlink", _raises(UnreachableError("no answer", self.path)))

    def _path_of(self, nonce: str) -> RemotePath:
        return self.path / f"{nonce}.json"


def _raises(error: Exception) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


@pytest.fixture(params=["disk", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Disk(tmp_path) if request.param == "disk" else Bucket(request.getfixturevalue("s3_address"))


def holder_of(place: Place, **options: bool) -> Holder:
    holder = place.lock().current_holder(**options)
    assert holder is not None
    return holder


def ended_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def environment() -> dict[str, str]:
    """Of a process that imports `sweep` and may use the object store."""
    return {**os.environ, "PYTHONPATH": str(Path(sweep.__file__).parents[1])}


def test_the_lock_says_who_holds_it_and_goes_with_the_holder(place: Place) -> None:
    with place.lock() as lock:
        holder = holder_of(place)
        assert (holder.host, holder.pid, holder.heartbeat) == (socket.gethostname(), os.getpid(), 0)
        assert holder_of(place, include_dead=False) == holder
        assert not lock.lost
    assert place.lock().current_holder() is None
    assert place.names() == []


def test_a_second_run_is_refused_and_told_who_is_first(place: Place) -> None:
    with place.lock() as first:
        names = place.names()
        with pytest.raises(LockedError) as refused, place.lock():
            pass
        for part in (str(os.getpid()), socket.gethostname(), holder_of(place).started, str(first.path), "hint: wait", "Ctrl-C"):
            assert part in str(refused.value)
        first.beat()
        assert not first.lost
        assert place.names() == names
    with place.lock():
        pass


def test_an_exception_releases_the_lock(place: Place) -> None:
    with pytest.raises(KeyError), place.lock():
        raise KeyError
    assert place.names() == []


def test_a_lock_that_cannot_be_removed_does_not_hide_what_ended_the_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended_by(error: Exception) -> None:
        with place.lock():
            place.refuse_removals(monkeypatch)
            raise error

    with pytest.raises(KeyError):
        ended_by(KeyError())
    assert len(place.names()) == 1


def test_a_dead_holder_on_this_host_is_replaced_at_once(place: Place) -> None:
    dead = place.leave(pid=ended_pid())
    assert holder_of(place) == dead
    assert place.lock().current_holder(include_dead=False) is None
    clock = FakeClock()
    with place.lock(patience=60, clock=clock):
        assert clock.now == 0
        assert holder_of(place).pid == os.getpid()
        assert len(place.names()) == 1


def test_a_pid_that_now_belongs_to_a_later_process_is_dead(place: Place) -> None:
    place.leave(process_start=1)
    clock = FakeClock()
    with place.lock(patience=60, clock=clock):
        assert clock.now == 0


def test_a_zombie_is_dead(place: Place) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        place.leave(pid=child.pid, process_start=None)
        with pytest.raises(LockedError), place.lock():
            pass
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has collected its exit status
        with place.lock(patience=60, clock=FakeClock()):
            pass
    finally:
        child.kill()
        child.communicate()


HOLD = """
import sys, time
from sweep.store.store import Store
with Store(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_run_leaves_a_lock_that_the_next_one_replaces(place: Place) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(place.root)], env=environment(), stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"pid {child.pid} "), place.lock():
            pass
    finally:
        child.kill()
        child.communicate()
    with place.lock(clock=FakeClock()):
        pass


@pytest.mark.parametrize("elsewhere", [{"host": "another-host"}, {"machine": "another boot/another container"}])
def test_a_silent_holder_elsewhere_is_replaced_after_patience(place: Place, elsewhere: dict[str, str]) -> None:
    silent = place.leave(**elsewhere)
    watched = []
    clock = FakeClock(lambda: watched.append(holder_of(place)))
    with place.lock(patience=30, clock=clock):
        assert clock.now >= 30
        assert set(watched) == {silent}
        assert holder_of(place).pid == os.getpid()


def test_a_beating_holder_elsewhere_is_alive_whatever_its_clock_says(place: Place) -> None:
    holder = place.leave(host="another-host", started="1970-01-01T00:00:00+00:00")
    clock = FakeClock(lambda: place.beat(holder, 1) if clock.now > 10 else None)
    with pytest.raises(LockedError, match="another-host"), place.lock(patience=30, clock=clock):
        pass
    assert 10 < clock.now < 30
    assert holder_of(place).heartbeat == 1


def test_a_holder_elsewhere_that_ends_while_we_watch_is_followed(place: Place) -> None:
    holder = place.leave(host="another-host")
    clock = FakeClock(lambda: place.remove(holder))
    with place.lock(patience=30, clock=clock):
        assert 0 < clock.now < 30, "it was seen at the first look"


def test_heartbeats_count(place: Place) -> None:
    with place.lock(beat_every=NEVER) as lock:
        for count in (1, 2, 3):
            lock.beat()
            holder = holder_of(place)
            assert holder.heartbeat == count
            assert holder.alive_at is not None
            assert holder.alive_at >= holder.started, "each heartbeat says when it was"


def test_the_heart_beats_by_itself(place: Place) -> None:
    with place.lock(beat_every=0.05):
        until(lambda: holder_of(place).heartbeat >= 2, "second heartbeat")


def test_a_holder_learns_that_it_was_replaced_and_leaves_the_successor_alone(place: Place) -> None:
    with place.lock(beat_every=NEVER) as lock:
        place.replace(holder_of(place))
        lock.beat()
        assert lock.lost
    assert holder_of(place).nonce == "successor"


def test_a_holder_learns_that_its_lock_was_deleted(place: Place) -> None:
    with place.lock(beat_every=NEVER) as lock:
        place.remove(holder_of(place))
        lock.beat()
        assert lock.lost


def test_failing_writes_do_not_cost_the_lock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.lock(beat_every=NEVER) as lock:
        place.refuse_writes(monkeypatch)
        lock.beat()
        lock.beat()
        assert not lock.lost
    with pytest.raises(StoreError, match=place.write_problem), place.lock():
        pass
    assert place.names() == []


RIVAL = """
import os, sys, time
from sweep.store.files import delete, write_whole
from sweep.store.folder import Folder
from sweep.store.lock import Claims, Lock, LockedError
from sweep.store.remote.path import RemotePath, store_path

root, name, n_turns = store_path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
folder, deadline, n_held = Folder(root), time.monotonic() + 60, 0
while time.monotonic() < deadline:
    try:
        with Claims(root / "locks") if isinstance(root, RemotePath) else Lock(root / "lock.json"):
            assert folder.names("inside") == []
            write_whole(root / "inside" / name, b"x", durable=False)
            time.sleep(0.02)
            assert folder.names("inside") == [name]
            delete(root / "inside" / name)
            n_held += 1
            if n_held == n_turns:
                os._exit(n_held)
    except LockedError:
        time.sleep(0.001)
"""


def test_rivals_over_a_dead_lock_never_hold_it_together(place: Place) -> None:
    """Several processes race for it. Each releases it some times and dies holding it the last time; a second one inside would fail."""
    place.leave(pid=ended_pid())
    if isinstance(place.root, Path):
        (place.root / "inside").mkdir()
    command = [sys.executable, "-c", RIVAL, str(place.root)]
    rivals = [
        subprocess.Popen([*command, str(number), str(place.n_turns)], env=environment(), stderr=subprocess.PIPE)
        for number in range(place.n_rivals)
    ]
    errors = [rival.communicate(timeout=120)[1].decode() for rival in rivals]
    assert not any(errors)
    assert [rival.returncode for rival in rivals] == [place.n_turns] * place.n_rivals
