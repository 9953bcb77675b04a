"""CIFAR-10 in its original forms: the binary and the Python version, each as a folder or as a compressed archive."""

import io
import tarfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from trainer.problems.images.plain_pickle import NotPlainError, load_plain
from trainer.problems.images.sources import Contents, DataError, Labelled, Original, first_complete, obtain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
_PLACES = (".", "CIFAR10", "cifar10", "cifar-10")
_PIXELS, _RECORD, _BATCH = 3 * 32 * 32, 1 + 3 * 32 * 32, 10_000
_FILE_LIMIT = 2 * _RECORD * _BATCH  # bytes; the original files hold 31 million


def cifar10(root: Path) -> Original:
    """Find CIFAR-10 below `root`, or download it.

    Raises:
        DataError: the data set is missing or incomplete, and cannot be downloaded.
    """
    places = [root / place for place in _PLACES]
    expected = (
        "the folder cifar-10-batches-bin (data_batch_1.bin .. data_batch_5.bin, test_batch.bin) or cifar-10-batches-py "
        "(the same names without .bin), or cifar-10-binary.tar.gz or cifar-10-python.tar.gz"
    )
    return obtain("CIFAR10", root, partial(_look, places), places, expected)


def _look(places: list[Path]) -> Original | None:
    for suffix, form, archive, read in (
        (".bin", "cifar-10-batches-bin", "cifar-10-binary.tar.gz", _read_binary),
        ("", "cifar-10-batches-py", "cifar-10-python.tar.gz", _read_python),
    ):
        names = [batch + suffix for batch in _BATCHES]
        folders = [folder for place in places for folder in (place / form, place)]
        if files := first_complete(folders, [(name,) for name in names]):
            return Original("CIFAR10", files, partial(_load_files, files, read))
        packed = next((place / archive for place in places if (place / archive).is_file()), None)
        if packed is not None:
            return Original("CIFAR10", (packed,), partial(_load_archive, packed, names, read))
    return None


_Reader = Callable[[str, bytes], Labelled]


def _load_files(files: tuple[Path, ...], read: _Reader) -> Contents:
    batches = []
    for path in files:
        try:
            with path.open("rb") as stream:
                batches.append(read(str(path), stream.read(_FILE_LIMIT)))
        except OSError as error:
            raise DataError(f"{path}: a readable file expected, found: {error}") from error
    return _joined(str(files[0].parent), batches)


def _load_archive(path: Path, names: list[str], read: _Reader) -> Contents:
    batches: dict[str, Labelled] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and member.isfile() and (stream := archive.extractfile(member)):
                    batches[name] = read(f"{path}: {member.name}", stream.read(_FILE_LIMIT))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path}: a whole, readable archive expected, found: {error}\n  hint: fetch it again") from error
    if missing := [name for name in names if name not in batches]:
        raise DataError(f"{path}: {', '.join(names)} expected in it, not there: {', '.join(missing)}\n  hint: fetch it again")
    return _joined(str(path), [batches[name] for name in names])


def _read_binary(where: str, content: bytes) -> Labelled:
    """Read records of one label byte and 3,072 pixel bytes."""
    import numpy as np

    if not content or len(content) % _RECORD:
        raise DataError(f"{where}: records of {_RECORD:,} bytes expected, found {len(content):,} bytes\n  hint: fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return _checked(where, records[:, 1:], records[:, 0])


def _read_python(where: str, content: bytes) -> Labelled:
    """Read a pickled dictionary with `data`, uint8 of shape (n, 3072), and `labels`, a list of n numbers."""
    import numpy as np

    try:
        batch = load_plain(io.BytesIO(content))
    except NotPlainError as error:
        raise DataError(f"{where}: a CIFAR-10 batch expected, nothing but arrays, lists and strings, found: {error}") from error
    images, labels = (batch.get("data"), batch.get("labels")) if isinstance(batch, Mapping) else (None, None)
    is_array = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 2
    is_list = isinstance(labels, list) and all(type(label) is int and 0 <= label <= 255 for label in labels)
    if images is None or not is_array or not is_list:
        raise DataError(f"{where}: a dictionary with `data` (uint8, two dimensions) and `labels` (a list of whole numbers) expected")
    return _checked(where, images, np.array(labels, np.uint8))


def _checked(where: str, images: "NDArray[np.uint8]", labels: "NDArray[np.uint8]") -> Labelled:
    n_images = len(images)
    if images.shape[1] != _PIXELS or not 1 <= n_images <= _BATCH or n_images != len(labels):
        raise DataError(
            f"{where}: 1 to {_BATCH:,} images of {_PIXELS:,} bytes, each with a label, expected, found {images.shape}, {len(labels)} labels"
        )
    if labels.max() > 9:
        raise DataError(f"{where}: labels from 0 to 9 expected, found {labels.max()}")
    return Labelled(images.reshape(n_images, 3, 32, 32), labels)


def _joined(where: str, batches: list[Labelled]) -> Contents:
    import numpy as np

    *train, test = batches
    joined = Labelled(np.concatenate([batch.images for batch in train]), np.concatenate([batch.labels for batch in train]))
    # The original has equally many images of each class; a batch that occurs under two names is detected here.
    for part, full in ((joined, 5 * _BATCH), (test, _BATCH)):
        counts = np.bincount(part.labels, minlength=10)
        if len(part) == full and counts.min() != counts.max():
            raise DataError(f"{where}: CIFAR-10's {full // 10:,} images of each class expected, found {counts.tolist()}")
    return Contents(joined, Labelled(np.ascontiguousarray(test.images), np.ascontiguousarray(test.labels)))
