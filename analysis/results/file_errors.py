"""Messages for file system errors: the path, whether it was read or written, why it failed, and what to do."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from analysis.errors import ReadError, WriteError

_OWNER = "check its owner and permissions, and those of the folders above it"
_READ_HINTS: dict[int | None, str] = {
    errno.EACCES: _OWNER,
    errno.EPERM: _OWNER,
    errno.ESTALE: "the network file system has lost it: try again, or mount it again",
    errno.ENOTDIR: "a file stands where a folder is expected: check the path",
    errno.EISDIR: "a folder stands where a file is expected: check the path",
    errno.ELOOP: "links lead in a circle: name the folder itself",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "close other programs, or raise the limit of open files (`ulimit -n`), then try again",
    errno.ENFILE: "close other programs, or raise this machine's limit of open files, then try again",
}
_READ_HINT = "check the disk and who owns the file, then run again"
_ROOM = "free some space and run again; everything published so far is kept"
_WRITE_RULES: dict[int | None, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EROFS: ("the file system is read-only", "choose another place, or mount it writable"),
    errno.EACCES: ("no permission to write", "check who owns the folder, or choose another place"),
    errno.EPERM: ("no permission to write", "check who owns the folder, or choose another place"),
    errno.ENOENT: ("its folder is missing", "make the folder first, or choose another place (a run makes the folders that it needs)"),
    errno.ENOTDIR: ("a file stands where a folder is needed", "move that file away, or choose another place"),
    errno.EEXIST: ("a file stands where a folder is needed", "move that file away, or choose another place"),
    errno.EISDIR: ("a folder stands where the file is to be", "move that folder away, or choose another place"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}


def read_problem(error: OSError, verb: str = "read") -> tuple[str, str]:
    """Explain why a file or folder could not be read, and return the problem and a hint.

    Args:
        error: the operating system's error.
        verb: what was attempted: `read`, `listed` or `looked at`.
    """
    return f"cannot be {verb}: {error.strerror or error}", _READ_HINTS.get(error.errno, _READ_HINT)


def write_problem(error: OSError) -> tuple[str, str]:
    """Explain why a file or folder could not be written, and return the problem and a hint."""
    system = error.strerror or str(error)
    if error.errno not in _WRITE_RULES:
        return f"cannot write: {system}", "check the disk, then run again"
    rule, hint = _WRITE_RULES[error.errno]
    return f"cannot write: {rule} ({system})", hint


@contextlib.contextmanager
def reading(path: object, verb: str = "read") -> Iterator[None]:
    """Report errors inside the block as errors in reading this path; arguments as for `read_problem`.

    Raises:
        FileNotFoundError: unchanged, because only the caller knows whether it matters.
        ReadError: any other OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        problem, hint = read_problem(error, verb)
        raise ReadError(problem, path, hint) from error


@contextlib.contextmanager
def writing(path: object) -> Iterator[None]:
    """Report errors inside the block as errors in writing this path.

    Raises:
        WriteError: any OSError.
    """
    try:
        yield
    except OSError as error:
        problem, hint = write_problem(error)
        raise WriteError(problem, path, hint) from error


def mode_of(path: Path, *, follow: bool = True) -> int | None:
    """Return the `st_mode` of a path, or None if nothing is there. (`Path.exists` cannot tell a refusal from an absence.)

    Args:
        path: the path to inspect.
        follow: False inspects a link itself.

    Raises:
        ReadError: the system refuses to tell.
    """
    try:
        with reading(path, "looked at"):
            return os.stat(path, follow_symlinks=follow).st_mode
    except FileNotFoundError:
        return None


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder or a link to one; errors as for `mode_of`."""
    mode = mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_link(path: Path) -> bool:
    """Return whether a path is a link; errors as for `mode_of`."""
    mode = mode_of(path, follow=False)
    return mode is not None and stat.S_ISLNK(mode)


def names_in(folder: Path) -> list[str]:
    """List the names in a folder in order; empty if there is no folder.

    Raises:
        ReadError: the folder cannot be listed.
    """
    try:
        with reading(folder, "listed"):
            return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
