"""Reading plain files without following links or pipes, and writing files as a whole."""

import contextlib
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from analysis.results.file_errors import writing

_MAX_JSON_BYTES = 256 * 2**20


class NotPlainError(ValueError):
    """There is something other than a plain file where one is expected; the text says what."""


def check_plain(path: Path, max_bytes: int | None = None) -> int:
    """Check that a path is a plain file and return its size in bytes.

    Args:
        path: the path to check.
        max_bytes: the largest size allowed; None for any size.

    Raises:
        FileNotFoundError, OSError: there is no file, or it cannot be inspected.
        NotPlainError: it is a link (which could lead out of the folder), a pipe or a folder, or larger than `max_bytes`.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise NotPlainError("a link, a folder, a pipe or a device where a plain file is expected")
    if max_bytes is not None and status.st_size > max_bytes:
        raise NotPlainError(f"{status.st_size} bytes, at most {max_bytes} expected")
    return status.st_size


def read_json(path: Path, max_bytes: int = _MAX_JSON_BYTES) -> Any:
    """Read a JSON file of at most `max_bytes` bytes.

    Args:
        path: the file to read.
        max_bytes: the largest size allowed.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a plain file, or not JSON.
    """
    check_plain(path, max_bytes)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_whole(target: Path, data: bytes) -> None:
    """Write a file as a whole: write a temporary file, sync it and rename it; an existing link is replaced, not followed.

    Args:
        target: the file to write.
        data: the whole content.

    Raises:
        WriteError: the file cannot be written; an existing one is unchanged, and no temporary file is left.
    """
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    with writing(target):
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, target)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)  # a partial file would keep a full disk full
            raise
