"""Where the log of an attempt is written, and where it is kept.

Ray and the driver append to the log while they run, which only a local disk allows. If the results are in an object store, the log
is written to the user's cache folder, and copied to the results when the attempt ends.
"""

import hashlib
import os
import posixpath
from pathlib import Path

from sweep.store.files import is_there, read_whole, write_whole, writing
from sweep.store.remote.path import RemotePath, StorePath


def written_log(kept: StorePath) -> Path:
    """Return the log file that is written while the attempt runs, and create its folder.

    Args:
        kept: where the log is kept after the attempt.

    Raises:
        StoreWriteError: the folder cannot be created.
    """
    if isinstance(kept, RemotePath):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        log = cache / "pareto-sweep" / "logs" / hashlib.sha256(str(kept.parent).encode()).hexdigest()[:12] / kept.name
    else:
        log = kept
    with writing(log.parent):
        log.parent.mkdir(parents=True, exist_ok=True)
    return log


def keep_log(log: Path, kept: StorePath) -> None:
    """Copy the log of an attempt that has ended to the place where it is kept.

    Args:
        log: the result of `written_log`.
        kept: where the log is kept after the attempt.

    Raises:
        StoreError: the object store cannot be written to; the log stays where it was written.
    """
    if isinstance(kept, RemotePath) and is_there(log):
        write_whole(kept, read_whole(log))


def relative_log(kept: StorePath, root: StorePath) -> str:
    """Return the path of the log relative to a results folder, or its full address if the two are in different stores."""
    if isinstance(kept, RemotePath) and isinstance(root, RemotePath) and kept.address.base() == root.address.base():
        return posixpath.relpath(kept.address.key, root.address.key or ".")
    if isinstance(kept, RemotePath) or isinstance(root, RemotePath):
        return str(kept)
    return Path(os.path.relpath(kept, root)).as_posix()
