"""Whole files: written aside, synced and renamed; read without following links or pipes."""

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
_LIMITS = {".json": 256 * _MIB, ".parquet": 16_384 * _MIB, ".safetensors": 2**60}  # a checkpoint's header must fit its size
_OTHER_LIMIT = 16_384 * _MIB
_SMALL = {"live": _MIB, "latency": _MIB, "rows": 256 * _MIB, "epochs": 256 * _MIB}  # by folder
HINT = "no run wrote it: move it away"
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class NotPlainError(Exception):
    """Something that is not a plain file is where one is expected; the text says what. The caller knows what that means."""


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; the caller closes it.

    Raises:
        FileNotFoundError, OSError: there is none, or it cannot be opened.
        NotPlainError: a link, a folder, a pipe, a device, or larger than such a file ever is.
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
    """All bytes of a file; errors as for `open_plain`, and NotPlainError where the memory is not enough."""
    with open_plain(path) as file:
        try:
            return file.read()
        except MemoryError as error:
            raise NotPlainError("larger than the memory of this machine") from error


NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

_NAME = re.compile(NAME_PATTERN)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_TORN_PATIENCE_S = 3.0  # creating and filling a small file are two steps of one moment
_SETTLE_S = 1.0  # between two writers that both saw no object, one has put its own by then

AnyPath = TypeVar("AnyPath", Path, RemotePath)


def is_name(name: object) -> bool:
    """Whether this may become part of a file name: it cannot leave its folder, hide, or be confused with a temporary file."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def checked_name(name: object, kind: str) -> str:
    """`name` itself, if it may become part of a file name.

    Raises:
        StoreError: it is not 1 to 128 letters, digits, `.`, `_` or `-` that begin with a letter or digit.
    """
    if not isinstance(name, str) or not is_name(name):
        raise StoreError(f"a {kind} is 1 to 128 letters, digits, '.', '_' or '-' and begins with a letter or digit, found {name!r}")
    return name


def is_temporary(name: str) -> bool:
    """Whether this is the name of a file whose writing has not ended."""
    return _TEMPORARY.fullmatch(name) is not None


def temporary_beside(path: AnyPath) -> AnyPath:
    """A fresh name in the same folder; it begins with a dot and does not end like a result."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_error(path: StorePath, error: OSError) -> StoreWriteError:
    """The user's message for a failed write."""
    problem, hint = write_problem(error)
    return StoreWriteError(problem, path, hint)


def read_error(path: StorePath, error: OSError, verb: str = "read") -> StoreError:
    """The user's message for a file or folder that could not be `read`, `listed` or `looked at`."""
    problem, hint = read_problem(error, verb)
    return StoreError(problem, path, hint)


@contextlib.contextmanager
def reading(path: StorePath, verb: str = "read") -> Iterator[None]:
    """Turn errors inside the block into errors about reading this path; `verb` as for `read_error`.

    Raises:
        FileNotFoundError: unchanged, as the caller knows whether it matters.
        StoreError: any other OSError.
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
        StoreWriteError: any OSError.
    """
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def is_there(path: StorePath) -> bool:
    """Whether something is at this path. (`Path.exists` takes some refusals for absence, depending on Python's version.)

    Raises:
        StoreError: the system does not tell.
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
    """Make renames and deletions in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def write_whole(path: StorePath, data: bytes, *, check: Callable[[StorePath], None] | None = None, durable: bool = True) -> None:
    """Put `data` at `path`: a reader sees the old file or all of the new one.

    Args:
        path: replaced if it exists.
        data: the whole content.
        check: called with the synced temporary file before it is renamed; what it raises leaves `path` as it was.
        durable: False skips both syncs, for files that nobody misses after a power cut.

    Raises:
        StoreWriteError: the disk is full, read-only, not ours ...; `path` is as it was, unless only the last sync failed.
        UnreachableError: an object store did not answer; `path` may be as it was, or the new one.
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
            with contextlib.suppress(OSError):  # the first error says what is wrong
                aside.unlink(missing_ok=True)
            raise


def _put(path: RemotePath, data: bytes, check: Callable[[StorePath], None] | None) -> None:
    """With a check, the content goes beside it first: there is no renaming, and what `path` holds is not risked."""
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
    """All bytes of a file.

    Raises:
        FileNotFoundError: there is none; the caller knows whether that matters.
        UnreadableError: no plain file, but a link, a folder, a pipe ..., or one of enormous size.
        StoreError: the disk or its permissions do not let us read it. It is not damaged as far as anybody knows, so it must
            not be taken for a missing result.
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
    return read_plain(path)  # NFS: replaced between our look-up and our read; the second look-up finds the new file


def delete(path: StorePath) -> None:
    """Remove a file that may already be gone."""
    with writing(path):
        path.unlink(missing_ok=True)


def write_json(path: StorePath, value: Any, *, durable: bool = True) -> None:
    """Write an object as JSON that any JSON reader takes (no NaN)."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), durable=durable)


def write_first(path: StorePath, value: Any) -> None:
    """Put a JSON file at `path` unless one is there; of several writers' files one stays, whole, and all read it after this call.

    On a disk the first writer's file stays. An object store has no such request, so there the last one stays of those whose
    writers saw nothing; they wait until each has put its own.

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
    """A JSON object.

    Raises:
        FileNotFoundError: there is none.
        UnreadableError: torn, or not an object.
    """
    try:
        value = json.loads(read_whole(path))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {error}", path) from error
    if not isinstance(value, dict):
        raise UnreadableError(f"a JSON object is expected, found {type(value).__name__}", path)
    return value


def finite(value: Any) -> Any:
    """The same JSON value with null in place of NaN and infinities, which JSON cannot say."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Blobs:
    """Files named by the SHA-256 of their content: `blobs/` of one results folder."""

    def __init__(self, root: StorePath) -> None:
        self._folder = root / "blobs"

    def put(self, data: bytes) -> str:
        """Keep `data` under its SHA-256, which is returned. A damaged blob of the same content is replaced."""
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
        """The bytes with this SHA-256.

        Raises:
            StoreError: there are none, or they are damaged.
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
        """Where the bytes with this SHA-256 are kept.

        Raises:
            StoreError: this is no SHA-256.
        """
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise StoreError(f"a blob's name is a SHA-256, 64 digits 0-9 a-f, found {sha256!r}")
        return self._folder / sha256
