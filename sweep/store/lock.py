"""One run at a time: `lock.json` says who works on a results folder, and is taken over when its holder is dead.

The file is created exclusively, and its holder keeps it open: heartbeats go through that descriptor. A holder that
was asleep while another run took over therefore writes to a file that nobody looks at, never to its successor's.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sweep.store.files import HINT, NotPlainError, StoreError, UnreadableError, open_plain, read_error, temporary_beside, write_error
from sweep.store.manifest import is_count, is_line
from sweep.store.remote.path import StorePath

_FILE_BYTES = 1024  # padded with spaces, so that a heartbeat overwrites every byte of the one before
_MAX_PID = 2**31
_MAX_BYTES = 64 * 1024
_SETTLE_S = 0.1  # a rival that judged the former holder has noticed its mistake by then
_TORN_PATIENCE_S = 3.0  # creating and filling the file are two steps of one moment


class LockedError(StoreError):
    """Another run, alive as far as can be told, holds the folder."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock. `heartbeat` only counts: clocks of two hosts differ, so nobody compares times."""

    host: str
    pid: int
    process_start: int | None  # clock ticks after boot, from /proc; tells a process from a later one with its pid
    machine: str | None  # boot and pid namespace: within it a pid means the same to both
    started: str
    heartbeat: int
    nonce: str
    alive_at: str | None = None  # the last heartbeat by the holder's clock: for people, never for judging

    @classmethod
    def myself(cls) -> Self:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), _process_start(os.getpid()), _machine(), now, 0, secrets.token_hex(16), now)

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """None when torn, or written by no run."""
        try:
            found = json.loads(data)
            holder = cls(**{item.name: found.get(item.name) for item in fields(cls)})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        given = (text for text in (holder.machine, holder.alive_at) if text is not None)
        texts = (holder.host, holder.started, holder.nonce, *given)
        numbers = (holder.pid, holder.heartbeat, *([] if holder.process_start is None else [holder.process_start]))
        return holder if all(map(is_line, texts)) and all(map(is_count, numbers)) and 0 < holder.pid < _MAX_PID else None

    def is_here(self) -> bool:
        """Does its pid mean the same process to us?"""
        same_machine = self.machine is None or _machine() is None or self.machine == _machine()
        return self.host == socket.gethostname() and same_machine

    def is_dead(self) -> bool:
        """Certainly dead: only to be asked of a holder that is here."""
        fields = _process_fields(self.pid)
        if fields is None:
            return not _pid_exists(self.pid)
        gone = fields[0] in ("Z", "X")  # only waits to be reaped
        return gone or self.process_start not in (None, int(fields[19]))


@dataclass(frozen=True)
class _Seen:
    """What was in lock.json at one moment."""

    inode: int
    data: bytes

    @property
    def holder(self) -> Holder | None:
        return Holder.parse(self.data)

    def is_same_lock(self, other: "_Seen | None") -> bool:
        """The same lock, heartbeats aside."""
        if other is None or self.inode != other.inode:
            return False
        mine, theirs = self.holder, other.holder
        return mine.nonce == theirs.nonce if mine and theirs else self.data == other.data


class Lock:
    """The right to plan, compact and write plans in one results folder, while inside `with`.

    Args:
        path: `lock.json`; its folder exists.
        patience: seconds without a heartbeat after which a holder on another host counts as dead; several heartbeats.
        beat_every: seconds between heartbeats.
    """

    def __init__(self, path: Path, *, patience: float = 30.0, beat_every: float = 5.0) -> None:
        self.path = path
        self.patience = patience
        self.beat_every = beat_every
        self._holder: Holder | None = None
        self._descriptor = -1
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Has someone taken it over, or deleted it? Known one heartbeat later at the latest."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        try:
            self._acquire()
        except OSError as error:
            raise write_error(self.path, error) from error
        self._heart = threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        with contextlib.suppress(
            OSError, StoreError
        ):  # on a disk that has turned read-only it stays, and counts no more when this process has ended
            self._release()

    def _release(self) -> None:
        seen = self._look()
        is_mine = self._is_mine(seen)
        os.close(self._descriptor)  # first: NFS keeps a file that is deleted while open under another name
        if seen is not None and is_mine:
            self._take_away(seen)

    def _acquire(self) -> None:
        while not self._create():
            seen = self._look()
            if seen is not None:
                self._wait_until_dead(seen)
                self._take_away(seen)

    def _create(self) -> bool:
        """Try to become the holder; False when there is one."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        self._descriptor, self._holder = descriptor, Holder.myself()
        try:
            self._write(self._holder)
        except OSError:
            self._release()
            raise
        time.sleep(_SETTLE_S)
        if self._is_mine(self._look()):
            return True
        os.close(descriptor)
        return False

    def _wait_until_dead(self, first: _Seen) -> None:
        """Return once the holder counts as dead.

        Raises:
            LockedError: it is alive.
        """
        holder = first.holder
        if holder is not None and holder.is_here():
            if holder.is_dead():
                return
            raise locked(self.path, holder)
        deadline = time.monotonic() + (self.patience if holder is not None else min(self.patience, _TORN_PATIENCE_S))
        while time.monotonic() < deadline:
            time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
            now = self._look()
            if now is None or not first.is_same_lock(now):
                return  # released, taken over or completed: `_take_away` leaves it, and the next round judges it
            if holder is not None and now.holder is not None and now.holder.heartbeat != holder.heartbeat:
                raise locked(self.path, now.holder)

    def _take_away(self, judged: _Seen) -> None:
        """Remove the lock that was judged, and no other.

        A rename has one winner, but a rival may have replaced the lock since it was judged. So look again just before,
        and look at what was taken: a lock that is not the judged one is put back, the very file that its holder keeps
        open. Whoever created one in that gap sees in `_create` that it was replaced.
        """
        if not judged.is_same_lock(self._look()):
            return
        taken = temporary_beside(self.path)
        try:
            os.rename(self.path, taken)
        except FileNotFoundError:
            return
        if judged.is_same_lock(_look_at(taken)):
            taken.unlink(missing_ok=True)
        else:
            os.rename(taken, self.path)

    def _beat(self) -> None:
        holder = self._holder
        n_beats = 0
        while holder is not None and not self._ended.wait(self.beat_every):
            try:
                if not self._is_mine(self._look()) and not self._is_mine(self._look_later()):
                    self._lost.set()
                    return
                n_beats += 1
                now = datetime.now(UTC).isoformat(timespec="seconds")
                self._write(Holder(**{**asdict(holder), "heartbeat": n_beats, "alive_at": now}))
            except (OSError, StoreError):
                continue  # a full disk or a network pause: whoever takes over is seen at the next look

    def _look_later(self) -> _Seen | None:
        """A rival's mistaken take-away is put back at once: one miss is no loss."""
        time.sleep(_SETTLE_S)
        return self._look()

    def _look(self) -> _Seen | None:
        return _look_at(self.path)

    def _is_mine(self, seen: _Seen | None) -> bool:
        if seen is None or self._holder is None or seen.inode != os.fstat(self._descriptor).st_ino:
            return False
        return seen.holder is None or seen.holder.nonce == self._holder.nonce  # torn: read in the middle of a heartbeat

    def _write(self, holder: Holder) -> None:
        data = json.dumps(asdict(holder), indent=2).encode()
        if os.pwrite(self._descriptor, data.ljust(_FILE_BYTES - 1) + b"\n", 0) != _FILE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._descriptor)


def holder_of(path: Path, *, certainly_dead: bool = True) -> dict[str, Any] | None:
    """Who holds the lock, as far as the file says; None when nobody does or the file is torn.

    With `certainly_dead` off, None too when the holder was on this machine and is gone.
    """
    seen = _look_at(path)
    holder = None if seen is None else seen.holder
    if holder is None or (not certainly_dead and holder.is_here() and holder.is_dead()):
        return None
    return asdict(holder)


def locked(path: StorePath, holder: Holder) -> LockedError:
    """The message for whoever came second."""
    hint = f"wait for it to end, or stop it: press Ctrl-C where it runs, or `kill -INT {holder.pid}` on {holder.host}"
    return LockedError(f"another run works here: pid {holder.pid} on host {holder.host}, since {holder.started}", path, hint)


def _look_at(path: Path) -> _Seen | None:
    try:
        with open_plain(path) as file:  # opening makes NFS ask the server; a plain stat may be a minute old
            return _Seen(os.fstat(file.fileno()).st_ino, file.read(_MAX_BYTES))
    except NotPlainError as error:
        raise UnreadableError(str(error), path, HINT) from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise read_error(path, error) from error


def _process_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat behind the name: 0 is the state, 19 the start in clock ticks after boot."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # gone, another user's and hidden, or a system without /proc


def _process_start(pid: int) -> int | None:
    fields = _process_fields(pid)
    return None if fields is None else int(fields[19])


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str | None:
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None
