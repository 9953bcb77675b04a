"""Atomic reading and writing of files: written to a temporary file, synced and renamed; read without following links or pipes."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from analysis.results.file_errors import read_problem, write_problem
from sweep.store.errors import StoreError as StoreError
from sweep.store.errors import StoreWriteError as StoreWriteError
from sweep.store.errors import UnreadableError as UnreadableError
from sweep.store.remote.path import RemotePath, StorePath

_MIB = 2**20
_LIMITS = {
    ".json": 256 * _MIB,
    ".parquet": 16_384 * _MIB,
    ".safetensors": 2**60,
}  # checkpoints need no limit, because their header must match their size
_OTHER_LIMIT = 16_384 * _MIB
_SMALL = {"live": _MIB, "latency": _MIB, "rows": 256 * _MIB, "epochs": 256 * _MIB}  # by folder
HINT = "no run wrote it: move it away"
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class NotPlainError(Exception):
    """A path does not lead to a plain file; the text states what was found. The caller decides what follows from it."""


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file for reading. The caller must close it.

    Raises:
        FileNotFoundError, OSError: the file does not exist or cannot be opened.
        NotPlainError: the path is a link, a folder, a pipe or a device, or the file is larger than such a file can be.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise NotPlainError("a link or a socket where a plain file is expected") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotPlainError("a folder, a pipe or a device where a plain file is expected")
        limit = _SMALL.get(path.parent.name, _LIMITS.get(path.suffix, _OTHER_LIMIT))
        if status.st_size > limit:
            raise NotPlainError(f"{status.st_size} bytes, at most {limit} expected")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_plain(path: Path) -> bytes:
    """Return all bytes of a plain file.

    Raises:
        FileNotFoundError, OSError: as for `open_plain`.
        NotPlainError: as for `open_plain`, or the file does not fit into memory.
    """
    with open_plain(path) as file:
        try:
            return file.read()
        except MemoryError as error:
            raise NotPlainError("larger than the memory of this machine") from error


NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

_NAME = re.compile(NAME_PATTERN)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_TORN_PATIENCE_S = 3.0  # the longest plausible time between creating a small file and filling it
_SETTLE_S = 1.0  # after this time, every writer that saw no object has written its own

AnyPath = TypeVar("AnyPath", Path, RemotePath)


def is_name(name: object) -> bool:
    """Return whether a value may be part of a file name, so that the file stays in its folder and is neither hidden nor temporary."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def checked_name(name: object, kind: str) -> str:
    """Return `name` unchanged if it may be part of a file name.

    Args:
        name: the name to check.
        kind: what the name stands for, for the error message.

    Raises:
        StoreError: the name does not consist of 1 to 128 letters, digits, `.`, `_` or `-`, or does not begin with a letter or digit.
    """
    if not isinstance(name, str) or not is_name(name):
        raise StoreError(f"a {kind} is 1 to 128 letters, digits, '.', '_' or '-' and begins with a letter or digit, found {name!r}")
    return name


def is_temporary(name: str) -> bool:
    """Return whether this is the name of a temporary file, whose writing has not ended."""
    return _TEMPORARY.fullmatch(name) is not None


def temporary_beside(path: AnyPath) -> AnyPath:
    """Return a new name for a temporary file in the same folder; it begins with a dot and has a suffix that no result has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_error(path: StorePath, error: OSError) -> StoreWriteError:
    """Return the error, with a message for the user, for a failed write."""
    problem, hint = write_problem(error)
    return StoreWriteError(problem, path, hint)


def read_error(path: StorePath, error: OSError, verb: str = "read") -> StoreError:
    """Return the error, with a message for the user, for a file or folder that could not be `read`, `listed` or `looked at`."""
    problem, hint = read_problem(error, verb)
    return StoreError(problem, path, hint)


@contextlib.contextmanager
def reading(path: StorePath, verb: str = "read") -> Iterator[None]:
    """Turn errors inside the block into errors about reading this path; `verb` is as for `read_error`.

    Raises:
        FileNotFoundError: unchanged, because only the caller knows whether it matters.
        StoreError: for any other OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise read_error(path, error, verb) from error


@contextlib.contextmanager
def writing(path: StorePath) -> Iterator[None]:
    """Turn errors inside the block into errors about writing this path.

    Raises:
        StoreWriteError: for any OSError.
    """
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def is_there(path: StorePath) -> bool:
    """Return whether something exists at this path.

    `Path.exists` is not used, because depending on Python's version it returns False for some permission errors.

    Raises:
        StoreError: the system does not allow the check.
    """
    if isinstance(path, RemotePath):
        return path.exists()
    try:
        with reading(path, "looked at"):
            path.stat()
    except FileNotFoundError:
        return False
    except StoreError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return False
        raise
    return True


def sync_folder(folder: Path) -> None:
    """Make renames and deletions in `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def write_whole(path: StorePath, data: bytes, *, check: Callable[[StorePath], None] | None = None, durable: bool = True) -> None:
    """Write `data` to `path` atomically, so that a reader sees either the old file or the complete new one.

    Args:
        path: the file, which is replaced if it exists.
        data: the whole content.
        check: called with the path of the synced temporary file before it is renamed. If it raises, `path` is unchanged.
        durable: whether to sync the file and its folder; False is for files that are not needed after a power failure.

    Raises:
        StoreWriteError: the disk is full, read-only, not ours or similar; `path` is unchanged unless only the last sync failed.
        UnreachableError: an object store did not answer; `path` is either unchanged or the new file.
    """
    if isinstance(path, RemotePath):
        _put(path, data, check)
        return
    aside = temporary_beside(path)
    with writing(path):
        try:
            _write_new(aside, data, durable)
            if check is not None:
                check(aside)
            os.rename(aside, path)
            if durable:
                sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to report
                aside.unlink(missing_ok=True)
            raise


def _put(path: RemotePath, data: bytes, check: Callable[[StorePath], None] | None) -> None:
    """Write an object. With a check, a temporary object is written and checked first, because object stores cannot rename."""
    if check is None:
        path.write_bytes(data)
        return
    aside = temporary_beside(path)
    try:
        aside.write_bytes(data)
        check(aside)
        path.write_bytes(data)
        check(path)
    finally:
        aside.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)  # NFS and quotas may report a full disk only here


def read_whole(path: StorePath) -> bytes:
    """Return all bytes of a file.

    Raises:
        FileNotFoundError: the file does not exist; only the caller knows whether that matters.
        UnreadableError: the path is not a plain file but a link, a folder, a pipe or similar, or the file is too large.
        StoreError: the disk or its permissions prevent reading. The file may be undamaged, so it must not be treated as a missing
            result.
    """
    try:
        with reading(path):
            return path.read_bytes() if isinstance(path, RemotePath) else _read(path)
    except NotPlainError as error:
        raise UnreadableError(str(error), path, HINT) from error


def _read(path: Path) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return read_plain(path)  # on NFS the file was replaced between opening and reading; opening it again finds the new file


def delete(path: StorePath) -> None:
    """Remove a file that may already be gone."""
    with writing(path):
        path.unlink(missing_ok=True)


def write_json(path: StorePath, value: Any, *, durable: bool = True) -> None:
    """Write a value as JSON that every JSON reader accepts (without NaN); see `write_whole` for errors."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), durable=durable)


def write_first(path: StorePath, value: Any) -> None:
    """Write a JSON file unless one exists. If several writers compete, exactly one complete file remains, and all of them then read it.

    On a disk the file of the first writer remains. An object store offers no exclusive creation, so there the last writer among those
    that saw no file wins, and every writer waits until all of them have written.

    Raises:
        StoreWriteError: as for `write_whole`.
    """
    if isinstance(path, RemotePath):
        if not path.exists():
            write_json(path, value)
            time.sleep(_SETTLE_S)
        return
    try:
        _write_new(path, json.dumps(value, indent=2).encode(), durable=True)
    except FileExistsError:
        if not _becomes_whole(path):  # its writer died in the middle
            write_json(path, value)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise write_error(path, error) from error


def _becomes_whole(path: Path) -> bool:
    deadline = time.monotonic() + _TORN_PATIENCE_S
    while time.monotonic() < deadline:
        try:
            read_json(path)
        except (UnreadableError, FileNotFoundError):
            time.sleep(0.05)
        else:
            return True
    return False


def read_json(path: StorePath) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        FileNotFoundError: the file does not exist.
        UnreadableError: the file is truncated, or does not hold a JSON object.
    """
    try:
        value = json.loads(read_whole(path))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {error}", path) from error
    if not isinstance(value, dict):
        raise UnreadableError(f"a JSON object is expected, found {type(value).__name__}", path)
    return value


def finite(value: Any) -> Any:
    """Return the same value with None in place of NaN and infinities, which JSON cannot represent."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Blobs:
    """The folder `blobs/` of one results folder, whose files are named by the SHA-256 of their content."""

    def __init__(self, root: StorePath) -> None:
        self._folder = root / "blobs"

    def put(self, data: bytes) -> str:
        """Store `data` under its SHA-256, and return the SHA-256. A damaged blob with the same name is replaced."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        try:
            if read_whole(path) == data:
                return sha256
        except FileNotFoundError:
            pass
        write_whole(path, data)
        return sha256

    def get(self, sha256: str) -> bytes:
        """Return the bytes that have this SHA-256.

        Raises:
            StoreError: the blob does not exist, or it is damaged.
        """
        path = self.path(sha256)
        try:
            data = read_whole(path)
        except FileNotFoundError as error:
            raise StoreError("no such blob", path, "restore it from a copy, or `sweep rm` its trial and train it again") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise UnreadableError("damaged: its content is not what its name says", path, "restore it from a copy")
        return data

    def path(self, sha256: str) -> StorePath:
        """Return the path of the blob with this SHA-256.

        Raises:
            StoreError: the text is not a SHA-256.
        """
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise StoreError(f"a blob's name is a SHA-256, 64 digits 0-9 a-f, found {sha256!r}")
        return self._folder / sha256
