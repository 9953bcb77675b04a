"""MNIST and Fashion-MNIST in their original form: four idx files, with or without gzip compression."""

import gzip
import hashlib
import math
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.problems.images.sources import Contents, DataError, Labelled, Original, first_complete, obtain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FASHION_CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SYSTEM_FOLDERS = {"FashionMNIST": (Path("/usr/share/datasets/fashion-mnist"),)}
"""Folders of data sets that packages of the operating system install (Debian: dataset-fashion-mnist)."""

_FOLDERS = {
    "MNIST": ("MNIST/raw", "MNIST", "mnist/raw", "mnist", "."),
    "FashionMNIST": ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "fashion_mnist", "fashionmnist", "."),
}
_PARTS = {"train": 60_000, "t10k": 10_000}
_IMAGES, _LABELS = (28, 28), ()
# MD5 of the complete, uncompressed files in the order of `_files`. They distinguish the two data sets, which have equal names and
# sizes, and detect damaged files. The files are those of torchvision's mirror for MNIST, and Debian's for Fashion-MNIST.
_MD5 = {
    "MNIST": (
        *("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        *("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    ),
    "FashionMNIST": (
        *("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
        *("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
    ),
}


def mnist(root: Path) -> Original:
    """Find MNIST below `root`, or download it.

    Raises:
        DataError: the data set is missing or incomplete, and cannot be downloaded.
    """
    return _obtain("MNIST", root)


def fashion_mnist(root: Path) -> Original:
    """Find Fashion-MNIST below `root` or where Debian installs it, or download it.

    Raises:
        DataError: the data set is missing or incomplete, and cannot be downloaded.
    """
    return _obtain("FashionMNIST", root)


def read_idx(path: Path, shape: tuple[int, ...], n_max: int, name: str, md5: str) -> "NDArray[np.uint8]":
    """Read an idx file of unsigned bytes.

    Args:
        path: the file, compressed if its name ends in `.gz`.
        shape: the shape of one item: (28, 28) for images, () for labels.
        n_max: number of items in the complete file; fewer are accepted.
        name: name of the data set, for messages.
        md5: MD5 of the complete, uncompressed file.

    Returns:
        Shape (n, *shape).

    Raises:
        DataError: unreadable, truncated, longer than it says, of another kind, or of full size with other contents.

    Source: http://yann.lecun.com/exdb/mnist (the format).
    """
    import numpy as np

    n_header, length = 4 * (2 + len(shape)), math.prod(shape)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(n_header)
            fields = np.frombuffer(header[: len(header) // 4 * 4], ">u4").tolist()
            _check_header(path, fields, shape, n_max)
            count = fields[1]
            body = stream.read(count * length + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: a whole, readable file expected, found: {error}\n  hint: fetch it again") from error
    if len(body) != count * length:
        found = f"{len(body):,}" if len(body) < count * length else "more"
        raise DataError(
            f"{path}: {count * length:,} bytes expected after its header of {count:,} items, found {found}\n  hint: fetch it again"
        )
    if count == n_max and hashlib.md5(header + body, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{path}: {name}'s original {count:,} items expected, found others: damaged, or of another data set")
    return np.frombuffer(body, np.uint8).reshape(count, *shape)


def _check_header(path: Path, fields: list[int], shape: tuple[int, ...], n_max: int) -> None:
    magic = 0x0800 | (1 + len(shape))
    kind = "labels" if shape == _LABELS else "images of 28 x 28"
    if not fields or fields[0] != magic:
        found = f"0x{fields[0]:08x}" if fields else "an empty file"
        raise DataError(f"{path}: an idx file of {kind} expected (it begins with 0x{magic:08x}), found {found}")
    if len(fields) != 2 + len(shape) or tuple(fields[2:]) != shape:
        raise DataError(f"{path}: {kind} expected, found a header of {fields[1:]}")
    if not 1 <= fields[1] <= n_max:
        raise DataError(f"{path}: 1 to {n_max:,} items expected, found {fields[1]:,}")


def _obtain(name: str, root: Path) -> Original:
    folders = [*((root / folder) for folder in _FOLDERS[name]), *SYSTEM_FOLDERS.get(name, ())]
    expected = ", ".join(names[0] for names in _files()) + ", each as it is or as .gz"
    return obtain(name, root, partial(_look, name, folders), folders, expected)


def _look(name: str, folders: list[Path]) -> Original | None:
    files = first_complete(folders, _files())
    return None if files is None else Original(name, files, partial(_load, name, files))


def _files() -> list[tuple[str, ...]]:
    kinds = (("images", 3), ("labels", 1))
    stems = [(f"{part}-{kind}-idx{n}-ubyte", f"{part}-{kind}.idx{n}-ubyte") for part in _PARTS for kind, n in kinds]
    return [(dash, f"{dash}.gz", dot, f"{dot}.gz") for dash, dot in stems]


def _load(name: str, files: tuple[Path, ...]) -> Contents:
    parts = []
    for part, n_max in enumerate(_PARTS.values()):
        (image_file, label_file), (image_md5, label_md5) = files[2 * part : 2 * part + 2], _MD5[name][2 * part : 2 * part + 2]
        images = read_idx(image_file, _IMAGES, n_max, name, image_md5)
        labels = read_idx(label_file, _LABELS, n_max, name, label_md5)
        if len(images) != len(labels):
            raise DataError(
                f"{label_file}: {len(images):,} labels expected, as many as {image_file.name} has images, found {len(labels):,}"
            )
        if labels.max() > 9:
            raise DataError(f"{label_file}: labels from 0 to 9 expected, found {labels.max()}")
        parts.append(Labelled(images, labels))
    return Contents(*parts)
