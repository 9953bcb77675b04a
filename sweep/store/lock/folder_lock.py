"""What every lock of a results folder has: a holder, a heartbeat, and rules for telling a dead holder from a living one."""

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
    """Another run holds the folder and is alive, as far as can be told."""

    @classmethod
    def held_by(cls, holder: "Holder", path: StorePath) -> Self:
        """The error for a run that finds the folder in use."""
        hint = f"wait for it to end, or stop it: press Ctrl-C where it runs, or `kill -INT {holder.pid}` on {holder.host}"
        return cls(f"another run works here: pid {holder.pid} on host {holder.host}, since {holder.started}", path, hint)


class Clock(Protocol):
    """Time as a lock measures it while it watches another holder; the module `time` is one."""

    def monotonic(self) -> float:
        """Seconds since any fixed moment."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    `heartbeat` is a count, not a time: the clocks of two hosts differ, so times are never compared.
    """

    host: str
    pid: int
    process_start: int | None  # clock ticks after boot, from /proc; tells a process from a later one with its pid
    machine: str | None  # boot and pid namespace: processes that share both agree on what a pid means
    started: str
    heartbeat: int
    nonce: str
    alive_at: str | None = None  # time of the last heartbeat by the holder's clock; shown to people, never compared

    @classmethod
    def myself(cls) -> Self:
        """This process, with a fresh nonce."""
        now = _now()
        return cls(socket.gethostname(), os.getpid(), _process_start(os.getpid()), _machine(), now, 0, secrets.token_hex(16), now)

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """The holder that a lock file names; None where the file is torn or was not written by a run."""
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
        """Whether it runs, or ran, on this machine, so that its pid means the same process to us."""
        same_machine = self.machine is None or _machine() is None or self.machine == _machine()
        return self.host == socket.gethostname() and same_machine

    def is_known_dead(self) -> bool:
        """Whether it ran on this machine and has ended. The death of a holder elsewhere shows only in its heartbeats."""
        return self.is_here() and self._has_ended()

    def _has_ended(self) -> bool:
        process = _process_fields(self.pid)
        if process is None:
            return not _pid_exists(self.pid)
        is_zombie = process[0] in ("Z", "X")
        return is_zombie or self.process_start not in (None, int(process[19]))


class FolderLock(ABC):
    """The right to plan, compact and write plans in one results folder, while inside `with`.

    Args:
        path: where the lock is kept, inside the results folder; that folder exists.
        patience: seconds without a heartbeat after which a holder on another host counts as dead; several heartbeats long.
        beat_every: seconds between heartbeats.
        clock: measures `patience`.

    Raises:
        LockedError: on entering, when another run is alive.
        StoreError: on entering, when the lock cannot be read or written.
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
        """Whether another run has replaced this lock, or somebody has deleted it; known one heartbeat later at the latest."""
        return self._lost.is_set()

    @abstractmethod
    def current_holder(self, *, include_dead: bool = True) -> Holder | None:
        """Who holds the folder according to what is stored; None for nobody.

        Args:
            include_dead: name also a holder that ran on this machine and has ended.
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
        # A lock that cannot be removed (read-only disk, unreachable store) is a dead run's as soon as this process has ended.
        with contextlib.suppress(OSError, StoreError):
            self._release()

    def beat(self) -> None:
        """Show that this holder is alive, or find out that its lock was replaced."""
        try:
            if self._is_replaced():
                self._lost.set()
                return
            self._n_beats += 1
            self._write_heartbeat(replace(self._holder, heartbeat=self._n_beats, alive_at=_now()))
        except (OSError, StoreError):
            return  # a full disk or a network pause; the next heartbeat looks for a successor again

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
    """The fields of /proc/<pid>/stat behind the name: 0 is the state, 19 the start in clock ticks after boot."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # gone, another user's and hidden, or a system without /proc


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
