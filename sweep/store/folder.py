"""A results folder as a set of files: their names, how the folder is made, and what to do about each kind of file."""

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
LATER = ("latency",)
"""Folders that are made when something is first put there, by another command than a run."""
COMPACTED = {"rows": "trials.parquet", "epochs": "epochs.parquet"}
SUFFIX = {"rows": "parquet", "epochs": "parquet", "checkpoints": "safetensors"}

_FILES = ("manifest.json", "lock.json", "control.json", "pause.json", "report.html", *COMPACTED.values())
_REMOTE = ("locks", "logs")  # beside them in object stores, where they are there before the manifest
_VERSIONED = re.compile(rf"({NAME_PATTERN})\.(0|[1-9]\d{{0,8}})-(0|[1-9]\d{{0,8}})\.([a-z]+)")
_PLAN = re.compile(r"[1-9]\d{0,8}\.json")
_STALE_S = 3600.0  # age at which a temporary file is no one's


class Version(NamedTuple):
    """A file named `<id>.<attempt>-<retry>.<suffix>`."""

    id: str
    attempt: int
    retry: int
    path: StorePath

    @property
    def order(self) -> tuple[int, int]:
        return self.attempt, self.retry


class Finding(NamedTuple):
    """One thing wrong in a results folder."""

    path: StorePath
    problem: str
    hint: str


class Folder:
    """Lists a results folder. Missing folders are empty ones: a published sweep has no loose files."""

    def __init__(self, root: StorePath) -> None:
        self.root = root

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store, where every look is a request."""
        return isinstance(self.root, RemotePath)

    def names(self, folder: str) -> list[str]:
        """The names of its files, in order; hidden files are not ours, or still being written."""
        if isinstance(self.root, RemotePath):
            return [path.name for path in self._objects(folder) if not path.name.startswith(".")]
        return [name for name in self._listed(folder) if not name.startswith(".")]

    def _listed(self, folder: str) -> list[str]:
        """All names in a folder on a disk, in order; `.` is the results folder itself."""
        assert isinstance(self.root, Path)
        _refuse_link(self.root / folder)
        try:
            with reading(self.root / folder, "listed"):
                return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def paths(self, folder: str, suffix: str = "") -> list[StorePath]:
        if isinstance(self.root, RemotePath):  # as listed: what was said of each need not be asked again
            return [path for path in self._objects(folder) if path.name.endswith(suffix) and not path.name.startswith(".")]
        return [self.root / folder / name for name in self.names(folder) if name.endswith(suffix)]

    def _objects(self, folder: str) -> list[RemotePath]:
        assert isinstance(self.root, RemotePath)
        return (self.root if folder == "." else self.root / folder).list()

    def versions(self, folder: str) -> list[Version]:
        """All versions, sorted by id, attempt and retry."""
        return sorted(version for path in self.paths(folder) if (version := _version(path, SUFFIX[folder])))

    def misnamed(self, folder: str) -> list[StorePath]:
        """Files in a folder of versions whose names are not those of versions."""
        return [path for path in self.paths(folder) if _version(path, SUFFIX[folder]) is None]

    def plans(self) -> dict[int, StorePath]:
        """The plan of each run by its number."""
        return {int(path.stem): path for path in self.paths("plans", ".json") if _PLAN.fullmatch(path.name)}

    def temporaries(self) -> list[StorePath]:
        """Files whose writing has not ended. In an object store only compaction makes them, except in Azure's, where every write does."""
        if isinstance(self.root, RemotePath):
            places = (".", *FOLDERS, *LATER, *_REMOTE) if self.root.writes_aside else (".",)
            return [path for folder in places for path in self._objects(folder) if is_temporary(path.name)]
        folders = (".", *FOLDERS, *LATER)
        return [self.root / folder / name for folder in folders for name in self._listed(folder) if is_temporary(name)]

    def remove_temporaries(self) -> None:
        """Remove what crashes left: everything in the subfolders where only a run writes, elsewhere what is an hour old.

        A writer that was cut off and comes back finds its file gone and ends; its work was planned again. (In `locks` rivals write.)
        """
        remove(path for path in self.temporaries() if _is_no_ones(path, self.root))

    def is_new(self) -> bool:
        """Whether it has neither manifest nor results, as before the first run."""
        return not (is_there(self.root / "manifest.json") or is_there(self.root / COMPACTED["rows"]) or self.names("rows"))

    def check_ours(self) -> None:
        """Refuse a folder that was made for something else.

        Raises:
            StoreError: there is no manifest, but a file that no sweep writes.
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
        """Make every folder that a run writes into, and test that it takes files; an object store has none to make."""
        if isinstance(self.root, RemotePath):
            return
        for folder in (*FOLDERS, *LATER, "logs"):
            _refuse_link(self.root / folder)
        for folder in FOLDERS:
            make_writable(self.root / folder)

    def make_later(self, folder: str) -> None:
        """Make one of `LATER` where it is not there yet.

        Raises:
            StoreError: a link is there. StoreWriteError: it cannot be made.
        """
        if isinstance(self.root, RemotePath):
            return
        _refuse_link(self.root / folder)
        with writing(self.root / folder):
            (self.root / folder).mkdir(exist_ok=True)


def make_writable(folder: StorePath) -> None:
    """Make a folder, and test that it takes files.

    Raises:
        StoreWriteError: it does not.
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
    """Refuse a link inside a results folder, which would lead outside of it. The results folder itself may be a link."""
    if folder.name in (*FOLDERS, *LATER, "logs") and _is_link(folder):
        raise StoreError("a link where a folder is expected", folder, "put the folder itself here, or mount it here")


def _is_link(path: Path) -> bool:
    try:
        with reading(path, "looked at"):
            return stat.S_ISLNK(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def remove(paths: Iterable[StorePath]) -> None:
    """Remove files, some of which may already be gone."""
    given = list(paths)
    concurrently(delete, given, is_remote=any(isinstance(path, RemotePath) for path in given))


def _version(path: StorePath, suffix: str) -> Version | None:
    match = _VERSIONED.fullmatch(path.name)
    return Version(match[1], int(match[2]), int(match[3]), path) if match and match[4] == suffix else None


def _is_no_ones(temporary: StorePath, root: StorePath) -> bool:
    """Whether nobody writes it any more. At the top, in `LATER` and in `locks` others than the holder of the lock write too."""
    if isinstance(temporary, RemotePath):
        is_shared = temporary.parent.name in ("locks", *LATER)
        return not is_shared or time.time() - temporary.stat().st_mtime_ns / 1e9 > _STALE_S
    return temporary.parent not in [root, *(root / folder for folder in LATER)] or _age(temporary) > _STALE_S


def _age(path: Path) -> float:
    """Seconds since a file was last written."""
    try:
        with reading(path, "looked at"):
            return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # it has just become a result


def what_to_do(path: StorePath) -> str:
    """A hint for the user who finds this file unreadable."""
    kind = path.parent.name if path.parent.name in (*FOLDERS, *LATER) else path.name
    return {
        "rows": "delete it: the next run trains this trial again",
        "epochs": "delete it: only the curves of this trial are lost",
        "checkpoints": "delete it: its trials start from an older checkpoint, or from scratch",
        "blobs": "restore it from a copy, or delete it and remove its trial with `sweep rm`; the next run trains it again",
        "plans": "delete it: the results do not need it",
        "live": "delete it: the next epoch writes it again",
        "latency": "delete it: `sweep measure` measures its trial again",
        "trials.parquet": "restore it from a copy, or move it away, and the next run trains its trials again",
        "epochs.parquet": "restore it from a copy, or move it away: only curves are lost",
    }.get(kind, "delete it when no run is on")


def problems_of(path: StorePath, load: Callable[[], object]) -> list[Finding]:
    """What is wrong with a file, found by reading it; a file that has just been removed is no problem."""
    try:
        load()
    except StoreError as error:
        # A file that the system does not let us read may be whole: deleting it would lose a result.
        is_damaged = isinstance(error, UnreadableError) or error.hint is None
        return [Finding(path, error.problem, what_to_do(path) if is_damaged else str(error.hint))]
    except FileNotFoundError:
        return []
    return []
