"""The lock of a results folder on a disk: `lock.json`, which a later run replaces when its holder is dead.

The file is created exclusively, and its holder keeps it open and writes heartbeats through that descriptor. A holder that was
suspended while another run replaced its lock therefore writes to a deleted file, and never to the lock of its successor.
"""

import errno
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sweep.store.files import HINT, NotPlainError, UnreadableError, open_plain, read_error, temporary_beside, writing
from sweep.store.lock.folder_lock import Clock, FolderLock, Holder, LockedError

_FILE_BYTES = 1024  # padded with spaces, so that each heartbeat overwrites all bytes of the previous one
_MAX_BYTES = 64 * 1024
_SETTLE_S = 0.1  # by then a competing run that removed the new lock in place of the old one has put it back
_TORN_PATIENCE_S = 3.0  # the longest plausible time between creating the file and filling it


@dataclass(frozen=True)
class _Content:
    """The content of lock.json at one moment."""

    inode: int
    data: bytes

    @property
    def holder(self) -> Holder | None:
        return Holder.parse(self.data)

    def is_same_lock(self, other: "_Content | None") -> bool:
        """Return whether both are the same lock, apart from heartbeats."""
        if other is None or self.inode != other.inode:
            return False
        mine, theirs = self.holder, other.holder
        return mine.nonce == theirs.nonce if mine and theirs else self.data == other.data


class Lock(FolderLock):
    """The lock of a results folder on a disk; `path` is its `lock.json`."""

    path: Path

    def __init__(self, path: Path, *, patience: float = 30.0, beat_every: float = 5.0, clock: Clock = time) -> None:
        super().__init__(path, patience=patience, beat_every=beat_every, clock=clock)
        self._descriptor = -1

    def current_holder(self, *, include_dead: bool = True) -> Holder | None:
        """Return the holder of the folder; None if there is none or the file is truncated."""
        content = self._read()
        holder = None if content is None else content.holder
        return None if holder is None or (not include_dead and holder.is_known_dead()) else holder

    def _acquire(self) -> None:
        with writing(self.path):
            while not self._create():
                content = self._read()
                if content is not None:
                    self._wait_until_dead(content)
                    self._remove(content)

    def _release(self) -> None:
        content = self._read()
        is_mine = self._is_mine(content)
        os.close(self._descriptor)  # before the removal, because NFS keeps a deleted file that is still open under another name
        if content is not None and is_mine:
            self._remove(content)

    def _create(self) -> bool:
        """Try to become the holder, and return whether this succeeded."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        self._descriptor, self._holder = descriptor, Holder.myself()
        try:
            self._write_heartbeat(self._holder)
        except OSError:
            self._release()
            raise
        time.sleep(_SETTLE_S)
        if self._is_mine(self._read()):
            return True
        os.close(descriptor)
        return False

    def _wait_until_dead(self, first: _Content) -> None:
        """Return once the holder counts as dead, or the lock has changed.

        Raises:
            LockedError: the holder is alive.
        """
        holder = first.holder
        if holder is not None and holder.is_here():
            if holder.is_known_dead():
                return
            raise LockedError.held_by(holder, self.path)
        deadline = self._clock.monotonic() + (self.patience if holder is not None else min(self.patience, _TORN_PATIENCE_S))
        while self._clock.monotonic() < deadline:
            self._clock.sleep(min(0.5, max(0.0, deadline - self._clock.monotonic())))
            now = self._read()
            if now is None or not first.is_same_lock(now):
                return  # released, replaced or completed; `_remove` leaves it alone, and the next round checks it
            if holder is not None and now.holder is not None and now.holder.heartbeat != holder.heartbeat:
                raise LockedError.held_by(now.holder, self.path)

    def _remove(self, judged: _Content) -> None:
        """Remove the lock that was found dead, and no other.

        Only one run can rename the file, but a competing run may have replaced the lock since it was checked. The lock is therefore
        compared again before the rename, and the moved file afterwards. If it is a different lock, that same file, which its holder
        keeps open, is put back. A run that created a lock in this gap notices in `_create` that it was replaced.
        """
        if not judged.is_same_lock(self._read()):
            return
        moved = temporary_beside(self.path)
        try:
            os.rename(self.path, moved)
        except FileNotFoundError:
            return
        if judged.is_same_lock(_content_of(moved)):
            moved.unlink(missing_ok=True)
        else:
            os.rename(moved, self.path)

    def _is_replaced(self) -> bool:
        if self._is_mine(self._read()):
            return False
        time.sleep(_SETTLE_S)  # a lock that a competing run moved by mistake is put back at once, so check twice
        return not self._is_mine(self._read())

    def _is_mine(self, content: _Content | None) -> bool:
        if content is None or content.inode != os.fstat(self._descriptor).st_ino:
            return False
        return content.holder is None or content.holder.nonce == self._holder.nonce  # without a holder: read in the middle of a heartbeat

    def _read(self) -> _Content | None:
        return _content_of(self.path)

    def _write_heartbeat(self, holder: Holder) -> None:
        data = json.dumps(asdict(holder), indent=2).encode()
        if os.pwrite(self._descriptor, data.ljust(_FILE_BYTES - 1) + b"\n", 0) != _FILE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._descriptor)


def _content_of(path: Path) -> _Content | None:
    try:
        with open_plain(path) as file:  # opening makes NFS query the server; a stat alone may be a minute old
            return _Content(os.fstat(file.fileno()).st_ino, file.read(_MAX_BYTES))
    except NotPlainError as error:
        raise UnreadableError(str(error), path, HINT) from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise read_error(path, error) from error
