"""Opens a store's file only where it is a plain file of a fitting size: a folder from elsewhere may hold anything.

A link could lead out of the folder, a pipe would keep a reader waiting for ever, and a file of enormous size would fill the
memory. None of them was written by a run, so each counts as damaged.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_MIB = 2**20
_LIMITS = {".json": 256 * _MIB, ".parquet": 16_384 * _MIB, ".safetensors": 2**60}  # a checkpoint's header must fit its size
_OTHER_LIMIT = 16_384 * _MIB
_SMALL = {"live": _MIB, "latency": _MIB, "rows": 256 * _MIB, "epochs": 256 * _MIB}  # by folder
HINT = "no run wrote it: move it away"
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


class NotPlainError(Exception):
    """Something that no run wrote lies where a file is expected; the text says what. The caller knows what that means to it."""


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
