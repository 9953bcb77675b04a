"""A results folder as a set of files: their names, the creation of the folder, and advice on each kind of file."""

import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from sweep.store.files import (
    NAME_PATTERN,
    StoreError,
    StoreWriteError,
    UnreadableError,
    delete,
    is_temporary,
    is_there,
    reading,
    temporary_beside,
    write_whole,
    writing,
)
from sweep.store.remote.path import RemotePath, StorePath, concurrently

FOLDERS = ("plans", "rows", "epochs", "blobs", "live", "checkpoints")
LATER = ("latency", "placements")
"""Folders that are created when a file is first written there."""
COMPACTED = {"rows": "trials.parquet", "epochs": "epochs.parquet"}
SUFFIX = {"rows": "parquet", "epochs": "parquet", "checkpoints": "safetensors"}

_FILES = ("manifest.json", "lock.json", "control.json", "pause.json", "report.html", *COMPACTED.values())
_REMOTE = ("locks", "logs")  # additional folders in object stores, which exist before the manifest
_VERSIONED = re.compile(rf"({NAME_PATTERN})\.(0|[1-9]\d{{0,8}})-(0|[1-9]\d{{0,8}})\.([a-z]+)")
_PLAN = re.compile(r"[1-9]\d{0,8}\.json")
_STALE_S = 3600.0  # age from which a temporary file counts as abandoned


class Version(NamedTuple):
    """A file named `<id>.<attempt>-<retry>.<suffix>`."""

    id: str
    attempt: int
    retry: int
    path: StorePath

    @property
    def order(self) -> tuple[int, int]:
        """The attempt and retry, by which the versions of one id are ordered."""
        return self.attempt, self.retry


class Finding(NamedTuple):
    """One problem in a results folder."""

    path: StorePath
    problem: str
    hint: str


class Folder:
    """The files of a results folder. A missing subfolder counts as empty, because a published sweep may have no loose files."""

    def __init__(self, root: StorePath) -> None:
        self.root = root

    @property
    def is_remote(self) -> bool:
        """Whether the folder is in an object store, where every access is a request."""
        return isinstance(self.root, RemotePath)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a subfolder, except hidden files, which are not ours or are still being written."""
        if isinstance(self.root, RemotePath):
            return [path.name for path in self._objects(folder) if not path.name.startswith(".")]
        return [name for name in self._listed(folder) if not name.startswith(".")]

    def _listed(self, folder: str) -> list[str]:
        """Return all names in a subfolder on a disk, sorted; `.` is the results folder itself."""
        assert isinstance(self.root, Path)
        _refuse_link(self.root / folder)
        try:
            with reading(self.root / folder, "listed"):
                return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def paths(self, folder: str, suffix: str = "") -> list[StorePath]:
        """Return the sorted paths of the files in a subfolder whose names end with `suffix`, except hidden files."""
        if isinstance(self.root, RemotePath):  # the listed paths keep their status, which saves further requests
            return [path for path in self._objects(folder) if path.name.endswith(suffix) and not path.name.startswith(".")]
        return [self.root / folder / name for name in self.names(folder) if name.endswith(suffix)]

    def _objects(self, folder: str) -> list[RemotePath]:
        assert isinstance(self.root, RemotePath)
        return (self.root if folder == "." else self.root / folder).list()

    def versions(self, folder: str) -> list[Version]:
        """Return all versioned files of a subfolder, sorted by id, attempt and retry."""
        return sorted(version for path in self.paths(folder) if (version := _version(path, SUFFIX[folder])))

    def misnamed(self, folder: str) -> list[StorePath]:
        """Return the files in a subfolder of versioned files whose names are not of that form."""
        return [path for path in self.paths(folder) if _version(path, SUFFIX[folder]) is None]

    def plans(self) -> dict[int, StorePath]:
        """Return a mapping from the number of each attempt to the path of its plan."""
        return {int(path.stem): path for path in self.paths("plans", ".json") if _PLAN.fullmatch(path.name)}

    def temporaries(self) -> list[StorePath]:
        """Return the temporary files of unfinished writes. In object stores only compaction creates them; on Azure every write does."""
        if isinstance(self.root, RemotePath):
            places = (".", *FOLDERS, *LATER, *_REMOTE) if self.root.writes_aside else (".",)
            return [path for folder in places for path in self._objects(folder) if is_temporary(path.name)]
        folders = (".", *FOLDERS, *LATER)
        return [self.root / folder / name for folder in folders for name in self._listed(folder) if is_temporary(name)]

    def remove_temporaries(self) -> None:
        """Remove temporary files that crashes left behind.

        In subfolders where only a run writes, all of them are removed; elsewhere (including `locks`, where competing runs write) only
        those that are an hour old. A writer that was cut off and resumes finds its file missing and ends; its work has already been
        planned again.
        """
        remove(path for path in self.temporaries() if _is_no_ones(path, self.root))

    def is_new(self) -> bool:
        """Return whether the folder has neither a manifest nor results, as before the first run."""
        return not (is_there(self.root / "manifest.json") or is_there(self.root / COMPACTED["rows"]) or self.names("rows"))

    def check_ours(self) -> None:
        """Refuse a folder that was created for another purpose.

        Raises:
            StoreError: the folder has no manifest, but contains a file that no sweep writes.
        """
        ours = (*FOLDERS, *LATER, *_FILES, *(_REMOTE if isinstance(self.root, RemotePath) else ()))
        if isinstance(self.root, RemotePath):
            found = [] if is_there(self.root / "manifest.json") else sorted(self.root.first_names())
        else:
            found = self.names(".")
        foreign = [name for name in found if name not in ours and not name.startswith(".")]
        if foreign and not is_there(self.root / "manifest.json"):
            named = ", ".join(foreign[:5]) + (" ..." if len(foreign) > 5 else "")
            raise StoreError(f"this folder holds other things ({named}) and no manifest.json", self.root, "choose a new or empty `output`")

    def make(self) -> None:
        """Create every subfolder that a run writes into, and test that it is writable. Object stores need no folders.

        Raises:
            StoreError: a subfolder is a link.
            StoreWriteError: a subfolder cannot be created or written to.
        """
        if isinstance(self.root, RemotePath):
            return
        for folder in (*FOLDERS, *LATER, "logs"):
            _refuse_link(self.root / folder)
        for folder in FOLDERS:
            make_writable(self.root / folder)

    def make_later(self, folder: str) -> None:
        """Create one of the folders in `LATER` if it does not exist yet.

        Raises:
            StoreError: the folder is a link.
            StoreWriteError: the folder cannot be created.
        """
        if isinstance(self.root, RemotePath):
            return
        _refuse_link(self.root / folder)
        with writing(self.root / folder):
            (self.root / folder).mkdir(exist_ok=True)


def make_writable(folder: StorePath) -> None:
    """Create a folder if it does not exist, and test that files can be written into it.

    Raises:
        StoreWriteError: the folder cannot be created or written to.
    """
    if isinstance(folder, RemotePath):
        folder.check_reachable()
        remote_probe = temporary_beside(folder / "probe")
        remote_probe.write_bytes(b"")
        remote_probe.unlink(missing_ok=True)
        return
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    probe = temporary_beside(folder / "probe")
    try:
        write_whole(probe, b"", durable=False)
        delete(probe)
    except StoreWriteError as error:
        raise StoreWriteError(error.problem, folder, error.hint) from error


def _refuse_link(folder: Path) -> None:
    """Refuse a subfolder that is a link and so leads out of the results folder. The results folder itself may be a link."""
    if folder.name in (*FOLDERS, *LATER, "logs") and _is_link(folder):
        raise StoreError("a link where a folder is expected", folder, "put the folder itself here, or mount it here")


def _is_link(path: Path) -> bool:
    try:
        with reading(path, "looked at"):
            return stat.S_ISLNK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def remove(paths: Iterable[StorePath]) -> None:
    """Remove files; some of them may no longer exist."""
    given = list(paths)
    concurrently(delete, given, is_remote=any(isinstance(path, RemotePath) for path in given))


def _version(path: StorePath, suffix: str) -> Version | None:
    match = _VERSIONED.fullmatch(path.name)
    return Version(match[1], int(match[2]), int(match[3]), path) if match and match[4] == suffix else None


def _is_no_ones(temporary: StorePath, root: StorePath) -> bool:
    """Return whether a temporary file is abandoned. Writers without the lock use the top folder, `LATER` and `locks` too."""
    if isinstance(temporary, RemotePath):
        is_shared = temporary.parent.name in ("locks", *LATER)
        return not is_shared or time.time() - temporary.stat().st_mtime_ns / 1e9 > _STALE_S
    return temporary.parent not in [root, *(root / folder for folder in LATER)] or _age(temporary) > _STALE_S


def _age(path: Path) -> float:
    """Return the seconds since a file was last written."""
    try:
        with reading(path, "looked at"):
            return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # it has just been renamed to its final name


def what_to_do(path: StorePath) -> str:
    """Return a hint for the user if this file is unreadable."""
    kind = path.parent.name if path.parent.name in (*FOLDERS, *LATER) else path.name
    return {
        "rows": "delete it: the next run trains this trial again",
        "epochs": "delete it: only the curves of this trial are lost",
        "checkpoints": "delete it: its trials start from an older checkpoint, or from scratch",
        "blobs": "restore it from a copy, or delete it and remove its trial with `sweep rm`; the next run trains it again",
        "plans": "delete it: the results do not need it",
        "live": "delete it: the next epoch writes it again",
        "latency": "delete it: `sweep measure` measures its trial again",
        "placements": "restore it from a copy, or delete it: the next run places this round again from the results of the rounds before it",
        "trials.parquet": "restore it from a copy, or move it away, and the next run trains its trials again",
        "epochs.parquet": "restore it from a copy, or move it away: only curves are lost",
    }.get(kind, "delete it when no run is on")


def problems_of(path: StorePath, load: Callable[[], object]) -> list[Finding]:
    """Return the problems that occur when a file is read. A file that has just been removed is not a problem."""
    try:
        load()
    except StoreError as error:
        # A file that the system does not let us read may be undamaged, and deleting it would lose a result.
        is_damaged = isinstance(error, UnreadableError) or error.hint is None
        return [Finding(path, error.problem, what_to_do(path) if is_damaged else str(error.hint))]
    except FileNotFoundError:
        return []
    return []
