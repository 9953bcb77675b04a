"""Cifar10Mnist: a digit blended onto a colour image, with one label for each.

The i-th MNIST digit, resized to 32x32, lies on the i-th CIFAR-10 image: where the digit is brighter than 0, the pixel is
the mean of both. Pairs are divided into training and validation; test pairs come from the test images.
In each epoch every training image is rotated at random by up to 20 degrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from trainer.problems.images.cifar10 import CLASSES
from trainer.problems.images.sources import Contents, Labelled, Original
from trainer.problems.images.two_labels import Construction, Pairs, TwoLabelOptions, divided
from trainer.settings import Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trainer.models.family import Layers

TASKS = ("cifar", "mnist")
_SIZE = 32
_CHUNK = 4096  # images blended at once
_ROTATION = 20.0  # degrees
_MEAN, _DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class Cifar10MnistOptions(TwoLabelOptions):
    """Options of digits that are blended onto images."""

    tasks: ClassVar[tuple[str, ...]] = TASKS
    n_train: Annotated[int, Range(ge=1)] = 40_000
    """Training pairs."""


def blend(pictures: "NDArray[np.uint8]", digits: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Blend half-transparent digits onto pictures.

    Args:
        pictures: shape (n, 3, 32, 32).
        digits: shape (n, 28, 28).

    Returns:
        Shape (n, 3, 32, 32): the mean of both, halves rounded up, where the resized digit is not 0, and the picture elsewhere.

    Source: the resize is bicubic, as in the authors' code (Pillow's default there).
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    large = F.interpolate(torch.tensor(digits)[:, None], size=(_SIZE, _SIZE), mode="bicubic", antialias=True).numpy()
    mean = (pictures.astype(np.uint16) + large + 1) // 2
    return np.where(large > 0, mean, pictures).astype(np.uint8)


def _pairs(contents: Sequence[Contents], options: TwoLabelOptions) -> Pairs:
    import numpy as np

    pictures, digits = contents
    n_pairs, n_test = min(len(pictures.train), len(digits.train)), min(len(pictures.test), len(digits.test))
    numbers = divided(n_pairs, options.n_train, options.n_validation, (options.data_seed, 0))
    pairs = {split: _blended(pictures.train, digits.train, chosen) for split, chosen in numbers.items()}
    chosen = np.random.default_rng([options.data_seed, 1]).permutation(n_test)[: options.n_test]
    return pairs | {"test": _blended(pictures.test, digits.test, chosen)}


def _blended(pictures: Labelled, digits: Labelled, chosen: "NDArray[np.int64]") -> tuple["NDArray[np.uint8]", "NDArray[np.uint8]"]:
    import numpy as np

    images = np.empty((len(chosen), _SIZE, _SIZE, 3), np.uint8)
    for start in range(0, len(chosen), _CHUNK):
        part = chosen[start : start + _CHUNK]
        images[start : start + _CHUNK] = blend(pictures.images[part], digits.images[part]).transpose(0, 2, 3, 1)
    return images, np.stack([pictures.labels[chosen], digits.labels[chosen]], axis=1)


def _find(root: Path) -> Sequence[Original]:
    from trainer.problems.images.cifar10 import cifar10
    from trainer.problems.images.idx import mnist

    return (cifar10(root), mnist(root))


def _layers() -> "Layers":
    from trainer.models.published import CIFAR10MNIST

    return CIFAR10MNIST


_CONSTRUCTION = Construction("cifar10mnist", 2, TASKS, _find, _pairs, _MEAN, _DEVIATION, _layers, (CLASSES, ()), _ROTATION)
build, fingerprint = _CONSTRUCTION.build, _CONSTRUCTION.fingerprint
