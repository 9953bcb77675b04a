"""Reads a text file written by a person, and explains why it cannot be read."""

import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from sweep.grid.source.mistakes import ConfigError, Mistake, Position, did_you_mean, shown

MAX_BYTES = 1_000_000


STDIN = Path("-")
"""The name that stands for standard input where a file is expected."""
_DESCRIPTOR = re.compile(r"/dev/(stdin|fd/\d+)|/proc/(self|thread-self|\d+)(/task/\d+)?/fd/\d+")


@dataclass(frozen=True)
class TextFile:
    """A text that is read only once, and its origin."""

    name: str
    """The file's name in messages."""
    text: str
    folder: str
    """The absolute folder to which paths in the text are relative: the file's, or the working directory for standard input and pipes."""
    stem: str
    """The file's name without its suffix; empty for standard input and pipes."""
    is_stream: bool
    """Whether the text came from standard input, a pipe or a device, which can be read only once and cannot be replaced."""
    has_bom: bool
    """Whether the text began with a byte order mark."""


@dataclass(frozen=True)
class GridText:
    """The text of a grid file, and of the file merged over it (`--override`), as the plan of a run stores them."""

    grid: str
    override: str | None = None


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file. It raises the same errors as `read_file`."""
    return read_file(path, max_bytes=max_bytes).text


def read_file(path: Path, *, max_bytes: int = MAX_BYTES) -> TextFile:
    """Read a UTF-8 file, or standard input for `-`, once.

    Raises:
        ConfigError: the file is missing (the message suggests the nearest name in its folder), a folder, unreadable, too large, or not
            UTF-8.
    """
    file = "<stdin>" if path == STDIN else str(path)
    raw = _read_bytes(path, file, max_bytes)
    is_stream = path == STDIN or _is_stream(path)
    folder = os.getcwd() if is_stream else os.path.abspath(os.path.dirname(file))
    text = _decoded(raw, file)
    return TextFile(file, text, folder, "" if is_stream else path.stem, is_stream, raw.startswith(b"\xef\xbb\xbf"))


def _is_stream(path: Path) -> bool:
    """Return whether this is a pipe, a device, or an open file of the process, such as `/dev/stdin` or `<(...)` in a shell."""
    return _DESCRIPTOR.fullmatch(os.path.abspath(path)) is not None or not stat.S_ISREG(path.stat().st_mode)


def _read_bytes(path: Path, file: str, max_bytes: int) -> bytes:
    try:
        if path == STDIN:
            if sys.stdin is None:
                raise OSError("it is closed")
            return _limited(sys.stdin.buffer.read(max_bytes + 1), 0, file, max_bytes)
        if path.is_dir():
            inside = _siblings(path, ".yaml")
            raise ConfigError(
                [Mistake((), "a file expected, but this is a folder", hint=_listing(inside) or "name the file in it", file=file)]
            )
        if path.is_symlink() and not path.exists():
            raise ConfigError([Mistake((), "a link that leads to no file", hint="`ls -l` shows where it leads", file=file)])
        if not path.exists():
            raise ConfigError([Mistake((), "no such file", hint=_nearest_file(path), file=file)])
        with path.open("rb") as stream:
            raw = stream.read(max_bytes + 1)  # a device or a pipe has no size and may be endless
            return _limited(raw, os.fstat(stream.fileno()).st_size, file, max_bytes)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            [Mistake((), f"cannot be read: {reason}", hint="check the path and its permissions", file=shown(file).strip('"'))]
        ) from None


def _limited(raw: bytes, size: int, file: str, max_bytes: int) -> bytes:
    """Return the bytes that were read, if they are the whole file.

    Raises:
        ConfigError: the file is larger than `max_bytes`.
    """
    if len(raw) <= max_bytes:
        return raw
    hint = "long lists of preferences belong in a CSV file: `preferences: {file: k.csv}`"
    raise ConfigError([Mistake((), f"at most {max_bytes} bytes expected", f"{max(size, len(raw))} bytes", hint, file=file)])


def _decoded(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        position = position_of(file, before, len(before))
        hint = "save the file as UTF-8"
        raise ConfigError([Mistake((), "UTF-8 text expected", f"byte 0x{raw[error.start]:02x}", hint, position)]) from None


def _siblings(folder: Path, suffix: str) -> list[str]:
    """Return the sorted names of the files in `folder` that have the same suffix as this one."""
    suffixes = (".yaml", ".yml") if suffix in ("", ".yaml", ".yml") else (suffix,)
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in suffixes)
    except OSError:
        return []


def _listing(names: list[str]) -> str | None:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"files in it: {', '.join(names[:5])}{more}" if names else None


def _nearest_file(path: Path) -> str:
    names = _siblings(path.parent, path.suffix)
    near = did_you_mean(path.name, names)
    start = f"did you mean `{path.parent / near}`?" if near else _listing(names)
    if path.suffix not in ("", ".yaml", ".yml"):
        return start or f"the folder searched is {path.parent}"
    return f"{start} (`sweep init` writes a starter grid file)" if start else "`sweep init` writes a starter grid file"


def position_of(file: str, text: str, index: int) -> Position:
    """Return the position of `text[index]` in its file."""
    before = text[:index]
    return Position(file, before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1)
