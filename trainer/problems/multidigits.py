"""MultiDigits: pairs of the 8x8 digits that scikit-learn ships, on a 12x12 canvas. Nothing is downloaded.

The left digit lies at [0:8, 0:8], the right one at [4:12, 4:12]; where they overlap the brighter pixel wins. The 1,797
images are divided before they are paired (1,200 / 300 / 297), so no test digit was ever seen in training.
"""

import hashlib
import importlib.util
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from trainer.facts import ProblemFacts
from trainer.settings import Checked, Range

if TYPE_CHECKING:
    from torch import nn

    from trainer.problem import Problem

TASKS = ("left", "right")
_IMAGES = {"train": (0, 1200), "validation": (1200, 1500), "test": (1500, 1797)}
_CONSTRUCTION = "multidigits/1"
_CANVAS, _SHIFT, _SIZE = 12, 4, 8


@dataclass(frozen=True)
class MultiDigitsOptions(Checked):
    """How many pairs are drawn."""

    n_train: Annotated[int, Range(ge=1)] = 3000
    """Training pairs."""
    n_validation: Annotated[int, Range(ge=1)] = 1000
    """Validation pairs."""
    n_test: Annotated[int, Range(ge=1)] = 1000
    """Test pairs."""
    data_seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the division of the images and of the pairing; the same for every trial of a sweep."""

    def facts(self) -> ProblemFacts:
        """Two tasks of ten classes."""
        return ProblemFacts(
            tasks=TASKS,
            metrics=dict.fromkeys(TASKS, "accuracy"),
            guess_losses=(math.log(10),) * len(TASKS),
            loss_units=("nats",) * len(TASKS),
            n_train=self.n_train,
        )


def fingerprint(options: MultiDigitsOptions) -> str:
    """SHA-256 over scikit-learn's file of digits, how the pairs are made, and the options. Imports neither torch nor scikit-learn."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "problem multidigits needs scikit-learn, which ships the digits; install it with `pip install scikit-learn`"
        )
    digits = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    digest = hashlib.sha256(digits.read_bytes())
    digest.update(json.dumps([_CONSTRUCTION, asdict(options)], sort_keys=True).encode())
    return digest.hexdigest()


def build(options: MultiDigitsOptions) -> "Problem":
    """Make the pairs.

    Returns:
        A problem with inputs of shape (n, 1, 12, 12), float32 in [0, 1], and targets of shape (n, 2), int64 in [0, 9].

    Source: after MultiMNIST (Sener and Koltun 2018), on the digits of the UCI repository.
    """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    from trainer.problem import Problem, Split, classification

    digits = load_digits()
    rng = np.random.default_rng(options.data_seed)
    order = rng.permutation(len(digits.target))
    images = digits.images[order].astype(np.float32) / 16
    labels = digits.target[order]
    splits = {}
    for split, n_pairs in (("train", options.n_train), ("validation", options.n_validation), ("test", options.n_test)):
        left, right = (rng.integers(*_IMAGES[split], n_pairs) for _ in TASKS)
        canvas = np.zeros((n_pairs, 1, _CANVAS, _CANVAS), np.float32)
        canvas[:, 0, :_SIZE, :_SIZE] = images[left]
        corner = canvas[:, 0, _SHIFT:, _SHIFT:]
        np.maximum(corner, images[right], out=corner)
        targets = np.stack([labels[left], labels[right]], axis=1).astype(np.int64)
        splits[split] = Split(torch.from_numpy(canvas), torch.from_numpy(targets))
    return Problem(
        name="multidigits",
        tasks=tuple(classification(name, n_classes=10) for name in TASKS),
        networks={"mdmtn": _mdmtn, "hps": _hps},
        **splits,
    )


def _trunk() -> "nn.Sequential":
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(1, 10, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(10, 20, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(180, 50), nn.ReLU()),
    )


def _monitor() -> "nn.Sequential":
    from torch import nn

    return nn.Sequential(nn.Conv2d(1, 20, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(500, 50), nn.ReLU())


def _heads() -> "list[nn.Module]":
    from torch import nn

    return [nn.Linear(50, 10) for _ in TASKS]


def _hps() -> "nn.Module":
    from trainer.models.hps import HPS

    return HPS(_trunk(), _heads())


def _mdmtn() -> "nn.Module":
    from trainer.models.mdmtn import MDMTN

    return MDMTN(_trunk(), [_monitor() for _ in TASKS], _heads())
