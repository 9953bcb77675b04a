"""The common base of the locks of a results folder: a holder, a heartbeat, and rules to tell a dead holder from a live one."""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sweep.store.errors import StoreError
from sweep.store.records import is_count, is_line
from sweep.store.remote.path import StorePath

_MAX_PID = 2**31


class LockedError(StoreError):
    """Another run holds the folder and appears to be alive."""

    @classmethod
    def held_by(cls, holder: "Holder", path: StorePath) -> Self:
        """Return the error for a run that finds the folder in use."""
        hint = f"wait for it to end, or stop it: press Ctrl-C where it runs, or `kill -INT {holder.pid}` on {holder.host}"
        return cls(f"another run works here: pid {holder.pid} on host {holder.host}, since {holder.started}", path, hint)


class Clock(Protocol):
    """The clock that a lock uses while it watches another holder; the module `time` satisfies this protocol."""

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary fixed moment."""

    def sleep(self, seconds: float, /) -> None:
        """Wait for this many seconds."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    `heartbeat` is a counter, not a time, because the clocks of two hosts differ and their times are never compared.
    """

    host: str
    pid: int
    process_start: int | None  # clock ticks after boot, from /proc; distinguishes the process from a later one with the same pid
    machine: str | None  # boot id and pid namespace; processes that share both agree on what a pid means
    started: str
    heartbeat: int
    nonce: str
    alive_at: str | None = None  # time of the last heartbeat by the holder's clock; only shown, never compared

    @classmethod
    def myself(cls) -> Self:
        """Return a holder for this process, with a new nonce."""
        now = _now()
        return cls(socket.gethostname(), os.getpid(), _process_start(os.getpid()), _machine(), now, 0, secrets.token_hex(16), now)

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """Parse the holder in a lock file; None if the file is truncated or was not written by a run."""
        try:
            content = json.loads(data)
            holder = cls(**{item.name: content.get(item.name) for item in fields(cls)})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        optional_texts = (text for text in (holder.machine, holder.alive_at) if text is not None)
        texts = (holder.host, holder.started, holder.nonce, *optional_texts)
        numbers = (holder.pid, holder.heartbeat, *([] if holder.process_start is None else [holder.process_start]))
        return holder if all(map(is_line, texts)) and all(map(is_count, numbers)) and 0 < holder.pid < _MAX_PID else None

    def is_here(self) -> bool:
        """Return whether the holder runs or ran on this machine, so that its pid is meaningful here."""
        same_machine = self.machine is None or _machine() is None or self.machine == _machine()
        return self.host == socket.gethostname() and same_machine

    def is_known_dead(self) -> bool:
        """Return whether the holder ran on this machine and has ended. A holder elsewhere can only be watched by its heartbeats."""
        return self.is_here() and self._has_ended()

    def _has_ended(self) -> bool:
        process = _process_fields(self.pid)
        if process is None:
            return not _pid_exists(self.pid)
        is_zombie = process[0] in ("Z", "X")
        return is_zombie or self.process_start not in (None, int(process[19]))


class FolderLock(ABC):
    """The exclusive right to plan, to write the manifest and plans, and to compact tables in one results folder.

    It is a context manager, and the right is held inside its `with` block.

    Args:
        path: path of the lock inside the results folder, which must exist.
        patience: seconds without a heartbeat after which a holder on another host counts as dead; it should span several heartbeats.
        beat_every: seconds between heartbeats.
        clock: measures `patience`.

    Raises:
        LockedError: another run is alive; raised on entering the `with` block.
        StoreError: the lock cannot be read or written; raised on entering the `with` block.
    """

    def __init__(self, path: StorePath, *, patience: float = 30.0, beat_every: float = 5.0, clock: Clock = time) -> None:
        self.path = path
        self.patience = patience
        self.beat_every = beat_every
        self._clock = clock
        self._holder = Holder.myself()
        self._n_beats = 0
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether this lock was replaced by another run or deleted; this is noticed at the next heartbeat."""
        return self._lost.is_set()

    @abstractmethod
    def current_holder(self, *, include_dead: bool = True) -> Holder | None:
        """Return the holder of the folder according to the stored lock; None if there is none.

        Args:
            include_dead: whether to include a holder that ran on this machine and has ended.
        """

    def __enter__(self) -> Self:
        self._acquire()
        self._heart = threading.Thread(target=self._keep_beating, name="lock-heartbeat", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        # A lock that cannot be removed (read-only disk, unreachable store) counts as dead as soon as this process has ended.
        with contextlib.suppress(OSError, StoreError):
            self._release()

    def beat(self) -> None:
        """Write a heartbeat, or record that the lock was replaced."""
        try:
            if self._is_replaced():
                self._lost.set()
                return
            self._n_beats += 1
            self._write_heartbeat(replace(self._holder, heartbeat=self._n_beats, alive_at=_now()))
        except (OSError, StoreError):
            return  # a full disk or a network interruption; the next heartbeat checks for a successor again

    def _keep_beating(self) -> None:
        while not self.lost and not self._ended.wait(self.beat_every):
            self.beat()

    @abstractmethod
    def _acquire(self) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def _is_replaced(self) -> bool: ...

    @abstractmethod
    def _write_heartbeat(self, holder: Holder) -> None: ...


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _process_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat after the name; field 0 is the state, 19 the start in clock ticks after boot."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # the process has ended or is hidden, or the system has no /proc


def _process_start(pid: int) -> int | None:
    process = _process_fields(pid)
    return None if process is None else int(process[19])


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
