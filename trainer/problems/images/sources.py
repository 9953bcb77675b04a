"""Data sets in their original files: what is found, what it holds, and what is said when it is not there."""

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
    """Data that is missing, damaged or too small: which file, which rule, what to do. May have several lines."""

    kind = "node"


@dataclass(frozen=True)
class Labelled:
    """Images and their classes, as the original files hold them."""

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
    """What planning needs to know of a data set."""

    digest: str
    """SHA-256 of images and labels. Whether the files were packed, and in which of its forms the set came, is left out."""
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Original:
    """A data set whose files were found; nothing of them is read yet."""

    name: str
    files: tuple[Path, ...]
    load: Callable[[], Contents] = field(repr=False, compare=False)
    """Reads and checks all of it. Raises DataError."""

    def summary(self, cache: Path) -> Summary:
        """Digest and sizes; read from the files once, then kept in `cache` under their paths, sizes and times.

        Raises:
            DataError: a file is damaged or foreign.
        """
        path = self._kept_at(cache)
        return _stored_summary(path) or self._summarise(self.load(), path)

    def read(self, cache: Path, expected: Summary) -> Contents:
        """The contents.

        Raises:
            DataError: a file is damaged or foreign, or is no longer what `expected` says.
        """
        contents = self.load()
        if self._summarise(contents, self._kept_at(cache)) != expected:
            raise DataError(f"{self.name} in {self.files[0].parent} changed while it was used\n  hint: run again")
        return contents

    def _summarise(self, contents: Contents, path: Path) -> Summary:
        digest = hashlib.sha256()
        for part in (contents.train, contents.test):
            for array in (part.images, part.labels):
                digest.update(str(array.shape).encode())
                digest.update(array.data)
        found = Summary(digest.hexdigest(), len(contents.train), len(contents.test))
        publish(path, lambda aside: aside.write_text(json.dumps(asdict(found))))
        return found

    def _kept_at(self, cache: Path) -> Path:
        states = [(str(file.resolve()), (state := file.stat()).st_size, state.st_mtime_ns) for file in self.files]
        key = hashlib.sha256(json.dumps([_SUMMARY, self.name, states]).encode()).hexdigest()
        return cache / "sources" / f"{key[:32]}.json"


def first_complete(folders: Sequence[Path], files: Sequence[Sequence[str]]) -> tuple[Path, ...] | None:
    """The files of the first folder that holds all of them; None where no folder holds any.

    Args:
        folders: where to look, in this order.
        files: for each file its possible names, best first.

    Raises:
        DataError: no folder holds all of them, but one holds some.
    """
    partial: tuple[Path, list[str]] | None = None
    for folder in folders:
        found = [next((folder / name for name in names if (folder / name).is_file()), None) for names in files]
        there = [path for path in found if path is not None]
        if len(there) == len(files):
            return tuple(there)
        if there and partial is None:
            partial = folder, [names[0] for names, path in zip(files, found, strict=True) if path is None]
    if partial:
        folder, missing = partial
        raise DataError(
            f"{folder}: {len(files)} files expected, not there: {', '.join(missing)}\n  hint: add what is missing (docs/data.md)"
        )
    return None


def obtain(name: str, root: Path, look: Callable[[], Original | None], folders: Sequence[Path], expected: str) -> Original:
    """What `look` finds; if there is nothing, after a download into `root`.

    Raises:
        DataError: nothing is there and nothing could be downloaded; or `look` found damaged or too few files.
    """
    found = look()
    if found is not None:
        return found
    from trainer.problems.images.downloads import download

    failure = download(name, root)
    found = look()
    if found is not None:
        return found
    raise DataError("\n".join(_missing(name, root, folders, expected, failure or "it ended without the expected files")))


def _missing(name: str, root: Path, folders: Sequence[Path], expected: str, failure: str) -> Iterator[str]:
    yield f"{name} is not there, and it could not be downloaded"
    yield f"  expected: {expected}"
    yield f"  looked in: {', '.join(map(str, folders))}"
    yield f"  download: {failure}"
    yield f"  hint: put the files into one of these folders, or set `root` (now {root}) to where they are; docs/data.md says more"


def _stored_summary(path: Path) -> Summary | None:
    try:
        return Summary(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
