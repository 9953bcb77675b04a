"""Data sets in their original files: finding them, reading them, and the messages if they are missing."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import TrainerError
from trainer.problems.images.cache import publish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SUMMARY = "summary/1"


class DataError(TrainerError, ValueError):
    """Data that is missing, damaged or too small; the message names the file, the rule and what to do, in one or more lines."""

    kind = "node"


@dataclass(frozen=True)
class Labelled:
    """Images and their classes, as in the original files."""

    images: "NDArray[np.uint8]"
    """Shape (n, 28, 28), or (n, 3, 32, 32)."""
    labels: "NDArray[np.uint8]"
    """Shape (n,), in [0, 9]."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Contents:
    """A whole data set in memory."""

    train: Labelled
    test: Labelled


@dataclass(frozen=True)
class Summary:
    """The facts about a data set that planning needs."""

    digest: str
    """SHA-256 of images and labels, independent of compression and of the form of the data set."""
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Original:
    """A data set whose files exist, but have not been read yet."""

    name: str
    files: tuple[Path, ...]
    load: Callable[[], Contents] = field(repr=False, compare=False)
    """Reads and checks the whole data set. Raises DataError."""

    def summary(self, cache: Path) -> Summary:
        """Return digest and sizes, which are computed once and then stored in `cache` under the files' paths, sizes and times.

        Raises:
            DataError: a file is damaged, or belongs to another data set.
        """
        path = self._kept_at(cache)
        return _stored_summary(path) or self._summarise(self.load(), path)

    def read(self, cache: Path, expected: Summary) -> Contents:
        """Read the contents.

        Raises:
            DataError: a file is damaged, belongs to another data set, or does not agree with `expected` any more.
        """
        contents = self.load()
        if self._summarise(contents, self._kept_at(cache)) != expected:
            raise DataError(f"{self.name} in {self.files[0].parent} changed while it was being used\n  hint: run again")
        return contents

    def _summarise(self, contents: Contents, path: Path) -> Summary:
        digest = hashlib.sha256()
        for part in (contents.train, contents.test):
            for array in (part.images, part.labels):
                digest.update(str(array.shape).encode())
                digest.update(array.data)
        summary = Summary(digest.hexdigest(), len(contents.train), len(contents.test))
        publish(path, lambda temporary: temporary.write_text(json.dumps(asdict(summary))))
        return summary

    def _kept_at(self, cache: Path) -> Path:
        states = [(str(file.resolve()), (state := file.stat()).st_size, state.st_mtime_ns) for file in self.files]
        key = hashlib.sha256(json.dumps([_SUMMARY, self.name, states]).encode()).hexdigest()
        return cache / "sources" / f"{key[:32]}.json"


def first_complete(folders: Sequence[Path], files: Sequence[Sequence[str]]) -> tuple[Path, ...] | None:
    """Return the files of the first folder that contains all of them; None if no folder contains any.

    Args:
        folders: the folders that are searched, in this order.
        files: for each file its possible names, the preferred one first.

    Raises:
        DataError: no folder contains all files, but one contains some of them.
    """
    partial: tuple[Path, list[str]] | None = None
    for folder in folders:
        paths = [next((folder / name for name in names if (folder / name).is_file()), None) for names in files]
        existing = [path for path in paths if path is not None]
        if len(existing) == len(files):
            return tuple(existing)
        if existing and partial is None:
            partial = folder, [names[0] for names, path in zip(files, paths, strict=True) if path is None]
    if partial:
        folder, missing = partial
        raise DataError(
            f"{folder}: {len(files)} files expected, not there: {', '.join(missing)}\n  hint: add what is missing (docs/data.md)"
        )
    return None


def obtain(name: str, root: Path, look: Callable[[], Original | None], folders: Sequence[Path], expected: str) -> Original:
    """Return the data set that `look` finds, if necessary after a download into `root`.

    Raises:
        DataError: there are no files, and they cannot be downloaded; or `look` finds damaged or too few files.
    """
    original = look()
    if original is not None:
        return original
    from trainer.problems.images.downloads import download

    failure = download(name, root)
    original = look()
    if original is not None:
        return original
    raise DataError("\n".join(_missing(name, root, folders, expected, failure or "it ended without the expected files")))


def _missing(name: str, root: Path, folders: Sequence[Path], expected: str, failure: str) -> Iterator[str]:
    yield f"{name} is missing, and could not be downloaded"
    yield f"  expected: {expected}"
    yield f"  looked in: {', '.join(map(str, folders))}"
    yield f"  download: {failure}"
    yield f"  hint: put the files into one of these folders, or set `root` (now {root}) to where they are; docs/data.md says more"


def _stored_summary(path: Path) -> Summary | None:
    try:
        return Summary(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
