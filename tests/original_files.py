"""Small data sets in the original formats, for the tests of the problems that read them."""

import gzip
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

N_TRAIN, N_TEST = 60, 20
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
Pair = tuple[np.ndarray, np.ndarray]


def small_images(seed: int, n: int, shape: tuple[int, ...] = (28, 28)) -> Pair:
    """Images that are all different (the first pixel numbers them), with labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    images.reshape(n, -1)[:, 0] = np.arange(n)
    return images, rng.integers(0, 10, n).astype(np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, seed: int = 0, packed: bool = False, n_train: int = N_TRAIN, n_test: int = N_TEST) -> dict[str, Pair]:
    """The four files of MNIST or Fashion-MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"train": small_images(seed, n_train), "t10k": small_images(seed + 1000, n_test)}
    for part, (images, labels) in made.items():
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return made


def cifar_batches(seed: int = 0, n: int = 12) -> dict[str, Pair]:
    return {name: small_images(seed + number, n, (3, 32, 32)) for number, name in enumerate(BATCHES)}


def write_cifar_binary(root: Path, seed: int = 0, n: int = 12) -> dict[str, Pair]:
    folder, batches = root / "cifar-10-batches-bin", cifar_batches(seed, n)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches.items():
        (folder / f"{name}.bin").write_bytes(np.hstack([labels[:, None], images.reshape(n, -1)]).tobytes())
    return batches


class Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2's `str`, as the original files of CIFAR-10 have them."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def _save_str(self, value: Any) -> None:
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"T" + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = _save_str


def write_cifar_python(root: Path, seed: int = 0, n: int = 12, python2: bool = True) -> dict[str, Pair]:
    folder, batches = root / "cifar-10-batches-py", cifar_batches(seed, n)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in batches.items():
        content = {"data": images.reshape(n, -1), "labels": labels.tolist(), "batch_label": name, "filenames": ["a.png"] * n}
        with (folder / name).open("wb") as stream:
            (Python2Pickler(stream, 2) if python2 else pickle.Pickler(stream)).dump(content)
    return batches


def pack_cifar(root: Path, folder: str, archive: str) -> None:
    """Replace a folder of batches by the archive of it."""
    with tarfile.open(root / archive, "w:gz") as stream:
        stream.add(root / folder, folder)
    for path in (root / folder).iterdir():
        path.unlink()
    (root / folder).rmdir()
