"""MultiMNIST, Multi-Fashion and Multi-Fashion+MNIST: two overlapping images, with one label for each.

The first image is at [0:28, 0:28] of a 36x36 canvas, the second at [6:34, 6:34]; where they overlap, the brighter pixel
is used, and the canvas is resized to 28x28. Images are divided into training, validation and test before they are paired, so that no
test image occurs in training. Each image of a split is the first of one pair; its partner is drawn at random,
with replacement, from the same split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from trainer.problems.images.idx import FASHION_CLASSES
from trainer.problems.images.sources import Contents, Labelled, Original
from trainer.problems.images.two_labels import Construction, Pairs, TwoLabelOptions, divided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trainer.models.family import Layers

TASKS = ("left", "right")
_CANVAS, _SHIFT, _SIZE = 36, 6, 28
_NORM = (0.1307,), (0.3081,)  # mean and deviation
_CHUNK = 8192  # canvases in memory at once


@dataclass(frozen=True)
class OverlapOptions(TwoLabelOptions):
    """Options of pairs of overlapping images."""

    tasks: ClassVar[tuple[str, ...]] = TASKS


def overlap(first: "NDArray[np.uint8]", second: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    """Overlay two images.

    Args:
        first: shape (n, 28, 28); placed at the upper left.
        second: shape (n, 28, 28); placed at [6:34, 6:34].

    Returns:
        Shape (n, 28, 28): the 36x36 canvas, resized bilinearly with anti-aliasing (in whole numbers, for equal results on every machine).

    Source: Sener and Koltun, NeurIPS 2018 (MultiMNIST, after Sabour et al. 2017).
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    canvas = np.zeros((len(first), _CANVAS, _CANVAS), np.uint8)
    canvas[:, :_SIZE, :_SIZE] = first
    corner = canvas[:, _SHIFT : _SHIFT + _SIZE, _SHIFT : _SHIFT + _SIZE]
    np.maximum(corner, second, out=corner)
    small = F.interpolate(torch.from_numpy(canvas)[:, None], size=(_SIZE, _SIZE), mode="bilinear", antialias=True)
    resized: NDArray[np.uint8] = small[:, 0].numpy()
    return resized


def _pairs(contents: Sequence[Contents], options: TwoLabelOptions) -> Pairs:
    """Return the pairs of every split. With a single data set, both images come from it."""
    import numpy as np

    first, second = contents[0], contents[-1]
    numbers = [
        divided(len(one.train), options.n_train, options.n_validation, (options.data_seed, 0, which))
        | {"test": np.random.default_rng([options.data_seed, 1, which]).permutation(len(one.test))[: options.n_test]}
        for which, one in enumerate(contents)
    ]
    pairs = {}
    for stream, split in enumerate(("train", "validation", "test")):
        left, pool = numbers[0][split], numbers[-1][split]
        right = np.random.default_rng([options.data_seed, 2, stream]).choice(pool, len(left))
        from_first, from_second = (one.test if split == "test" else one.train for one in (first, second))
        pairs[split] = _overlaid(from_first, left, from_second, right)
    return pairs


def _overlaid(
    first: Labelled, left: "NDArray[np.int64]", second: Labelled, right: "NDArray[np.int64]"
) -> tuple["NDArray[np.uint8]", "NDArray[np.uint8]"]:
    import numpy as np

    images = np.empty((len(left), _SIZE, _SIZE, 1), np.uint8)
    for start in range(0, len(left), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part, :, :, 0] = overlap(first.images[left[part]], second.images[right[part]])
    return images, np.stack([first.labels[left], second.labels[right]], axis=1)


def _layers() -> "Layers":
    from trainer.models.published import MULTIMNIST

    return MULTIMNIST


def _find_mnist(root: Path) -> Sequence[Original]:
    from trainer.problems.images.idx import mnist

    return (mnist(root),)


def _find_fashion(root: Path) -> Sequence[Original]:
    from trainer.problems.images.idx import fashion_mnist

    return (fashion_mnist(root),)


def _find_fashion_and_mnist(root: Path) -> Sequence[Original]:
    from trainer.problems.images.idx import fashion_mnist, mnist

    return (fashion_mnist(root), mnist(root))


_MULTIMNIST = Construction("multimnist", 1, TASKS, _find_mnist, _pairs, *_NORM, _layers)
_MULTIFASHION = Construction("multifashion", 1, TASKS, _find_fashion, _pairs, *_NORM, _layers, (FASHION_CLASSES, FASHION_CLASSES))
_MULTIFASHION_MNIST = Construction("multifashion_mnist", 1, TASKS, _find_fashion_and_mnist, _pairs, *_NORM, _layers, (FASHION_CLASSES, ()))

build_multimnist, fingerprint_multimnist = _MULTIMNIST.build, _MULTIMNIST.fingerprint
build_multifashion, fingerprint_multifashion = _MULTIFASHION.build, _MULTIFASHION.fingerprint
build_multifashion_mnist, fingerprint_multifashion_mnist = _MULTIFASHION_MNIST.build, _MULTIFASHION_MNIST.fingerprint
