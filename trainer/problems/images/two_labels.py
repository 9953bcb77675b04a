"""The common part of problems with two labels of ten classes for each image, built from original data sets."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from trainer.problems.facts import ProblemFacts
from trainer.problems.images.cache import cache_folder, cached
from trainer.problems.images.sources import Contents, DataError, Original, Summary
from trainer.settings import Checked, Range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from trainer.models.family import Layers
    from trainer.problems.images.rotation import RandomRotation
    from trainer.problems.problem import Problem, Split

N_CLASSES = 10
_SPLITS = ("train", "validation", "test")
_CHUNK = 4096  # images that become float32 at once


@dataclass(frozen=True)
class TwoLabelOptions(Checked):
    """The number of pairs, the seed of the images, and the folders of files."""

    tasks: ClassVar[tuple[str, ...]]
    """The names of the two labels."""

    root: str = "~/data"
    """Folder with the original files, in torchvision's or another layout (docs/data.md), and of downloads."""
    n_train: Annotated[int, Range(ge=1)] = 50_000
    """Training pairs."""
    n_validation: Annotated[int, Range(ge=1)] = 10_000
    """Validation pairs; their images come from the original training images too."""
    n_test: Annotated[int, Range(ge=1)] = 10_000
    """Test pairs, of the original test images."""
    data_seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the division of the images and of the pairing; the same for every trial of a sweep."""
    cache: str | None = None
    """Folder of the built file; default: `pareto-sweep` in `$XDG_CACHE_HOME` or `~/.cache`."""

    def facts(self) -> ProblemFacts:
        """Return facts with two tasks of ten classes."""
        return ProblemFacts(
            tasks=self.tasks,
            metrics=dict.fromkeys(self.tasks, "accuracy"),
            guess_losses=(math.log(N_CLASSES),) * len(self.tasks),
            loss_units=("nats",) * len(self.tasks),
            n_train=self.n_train,
        )


Pairs = Mapping[str, tuple["NDArray[np.uint8]", "NDArray[np.uint8]"]]
"""Split -> images of shape (n, height, width, channels) and labels of shape (n, n_tasks)."""


@dataclass(frozen=True)
class Construction:
    """The construction of one problem's images from original data sets."""

    name: str
    """The problem's name in the catalog."""
    version: int
    """Increases when the same options would result in other tensors or another augmentation; part of the fingerprint."""
    tasks: tuple[str, ...]
    """The tasks in the order of the labels."""
    find: Callable[[Path], Sequence[Original]]
    """(root) -> the original data sets. Raises DataError."""
    make: Callable[[Sequence[Contents], TwoLabelOptions], Pairs]
    """(contents of the data sets, options) -> images and labels."""
    mean: tuple[float, ...]
    """The mean of each channel, in units of the full range; inputs are (pixel / 255 - mean) / deviation."""
    deviation: tuple[float, ...]
    """The standard deviation of each channel, in units of the full range."""
    layers: Callable[[], "Layers"]
    """Returns the building blocks of the networks; a function, so that this module imports no torch."""
    classes: tuple[tuple[str, ...], ...] = ((), ())
    """The names of each task's classes; empty if the classes are called by their numbers."""
    rotation: float = 0
    """Largest angle, in degrees, of the random rotation of training images, with black outside the image; 0 for no rotation."""

    def fingerprint(self, options: TwoLabelOptions) -> str:
        """Return the SHA-256 of the original images and labels, the construction and the options, but not of the location of files.

        Raises:
            DataError: data is missing, damaged, or too small for the options.
        """
        return self._identity(options, self._summaries(options, self._originals(options)))

    def build(self, options: TwoLabelOptions) -> "Problem":
        """Build the problem from its cached file, or from the original files.

        Returns:
            A problem with inputs of shape (n, channels, height, width), float32, normalised, in channels-last order; targets of shape
            (n, n_tasks), int64 in [0, 9].

        Raises:
            DataError: data is missing, damaged, or too small for the options.
        """
        from trainer.problems.problem import Problem, Split, classification

        originals = self._originals(options)
        summaries = self._summaries(options, originals)
        path = cache_folder(options.cache) / f"{self.name}-{self._identity(options, summaries)[:32]}.safetensors"
        tensors = cached(path, lambda: self._tensors(options, originals, summaries))

        def split(name: str) -> "Split":
            return Split(normalised(tensors[f"{name}.images"], self.mean, self.deviation), tensors[f"{name}.labels"].long())

        return Problem(
            name=self.name,
            tasks=tuple(classification(task, N_CLASSES, names) for task, names in zip(self.tasks, self.classes, strict=True)),
            networks=self.layers().networks([N_CLASSES] * len(self.tasks)),
            train=split("train"),
            validation=split("validation"),
            test=split("test"),
            augment=self._augment(),
            pictures=self._pictures,
        )

    def _augment(self) -> "RandomRotation | None":
        import torch

        from trainer.problems.images.rotation import RandomRotation

        if not self.rotation:
            return None
        black = normalised(torch.zeros(1, 1, 1, len(self.mean), dtype=torch.uint8), self.mean, self.deviation)
        return RandomRotation(self.rotation, tuple(black.flatten().tolist()))

    def _pictures(self, inputs: "Tensor") -> "Tensor":
        """Invert the normalisation of inputs."""
        import torch

        mean, deviation = (torch.tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        return inputs * deviation + mean

    def _originals(self, options: TwoLabelOptions) -> Sequence[Original]:
        originals = self.find(Path(os.path.expanduser(options.root)))
        for number, original in enumerate(originals):
            same = next((other for other in originals[:number] if set(other.files) & set(original.files)), None)
            if same is not None:
                where = f"{original.files[0].parent}: one data set, found for {same.name} and for {original.name}"
                raise DataError(f"{where}\n  hint: give each a folder of its own (docs/data.md)")
        return originals

    def _summaries(self, options: TwoLabelOptions, originals: Sequence[Original]) -> list[Summary]:
        summaries = [original.summary(cache_folder(options.cache)) for original in originals]
        for original, summary in zip(originals, summaries, strict=True):
            for rule, n_needed, n_available in (
                ("n_train + n_validation", options.n_train + options.n_validation, summary.n_train),
                ("n_test", options.n_test, summary.n_test),
            ):
                if n_needed > n_available:
                    images = f"the {'test' if rule == 'n_test' else 'training'} images of {original.name} in {original.files[0].parent}"
                    raise DataError(f"{rule} <= {n_available:,} expected, {images}, found {n_needed:,}")
        return summaries

    def _identity(self, options: TwoLabelOptions, summaries: Sequence[Summary]) -> str:
        sizes = [options.n_train, options.n_validation, options.n_test, options.data_seed]
        return hashlib.sha256(json.dumps([self.name, self.version, sizes, [summary.digest for summary in summaries]]).encode()).hexdigest()

    def _tensors(self, options: TwoLabelOptions, originals: Sequence[Original], summaries: Sequence[Summary]) -> "dict[str, Tensor]":
        import torch

        folder = cache_folder(options.cache)
        contents = [original.read(folder, summary) for original, summary in zip(originals, summaries, strict=True)]
        pairs = self.make(contents, options)
        kinds = {f"{name}.{kind}": array for name in _SPLITS for kind, array in zip(("images", "labels"), pairs[name], strict=True)}
        return {name: torch.from_numpy(array) for name, array in kinds.items()}


def normalised(images: "Tensor", mean: Sequence[float], deviation: Sequence[float]) -> "Tensor":
    """Compute (pixel / 255 - mean) / deviation.

    Args:
        images: shape (n, height, width, channels), uint8. Not modified.
        mean, deviation: values of each channel, in units of the full range.

    Returns:
        Shape (n, channels, height, width), float32, channels-last in memory (the trainer's layout, so that it makes no copy).
    """
    import torch

    result = torch.empty(images.shape, dtype=torch.float32)
    for start in range(0, len(images), _CHUNK):
        part = result[start : start + _CHUNK]
        part.copy_(images[start : start + _CHUNK])
        part.div_(255).sub_(torch.tensor(mean)).div_(torch.tensor(deviation))
    return result.permute(0, 3, 1, 2)


def divided(n_images: int, n_train: int, n_validation: int, seed: Sequence[int]) -> "dict[str, NDArray[np.int64]]":
    """Draw disjoint images for training and validation.

    Validation images do not depend on `n_train`, and a larger `n_train` keeps the images of a smaller one.
    """
    import numpy as np

    order = np.random.default_rng(list(seed)).permutation(n_images)
    return {"train": order[:n_train], "validation": order[n_images - n_validation :]}
