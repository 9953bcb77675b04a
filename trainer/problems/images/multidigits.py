"""MultiDigits: pairs of the 8x8 digits that scikit-learn ships, on a 12x12 canvas. Nothing is downloaded.

The left digit is at [0:8, 0:8], the right one at [4:12, 4:12]; where they overlap, the brighter pixel is used. The 1,797
images are divided before they are paired (1,200 / 300 / 297), so that no test digit occurs in training.
"""

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from trainer.problems.facts import ProblemFacts
from trainer.settings import Checked, Range

if TYPE_CHECKING:
    from torch import nn

    from trainer.models.mtan import Attention
    from trainer.problems.problem import Problem, Task

ALL_TASKS: dict[str, tuple[str, str, float, int]] = {
    "left": ("accuracy", "nats", math.log(10), 10),
    "right": ("accuracy", "nats", math.log(10), 10),
    "sum": ("absolute error", "(4 digits)^2", 16.5 / 16, 1),
    "larger": ("accuracy", "nats", math.log(2), 2),
    "parity": ("accuracy", "nats", math.log(2), 2),
}
"""Task -> metric, unit of the loss, loss of a constant guess, number of outputs. `sum` is a regression on a quarter of left + right,
`larger` is whether left > right, and `parity` whether left + right is odd."""
_IMAGES = {"train": (0, 1200), "validation": (1200, 1500), "test": (1500, 1797)}
_CONSTRUCTION = "multidigits/1"
_CANVAS, _SHIFT, _SIZE = 12, 4, 8


TaskName = Literal["left", "right", "sum", "larger", "parity"]


@dataclass(frozen=True)
class MultiDigitsOptions(Checked):
    """The number of pairs, and their tasks."""

    n_train: Annotated[int, Range(ge=1)] = 3000
    """Training pairs."""
    n_validation: Annotated[int, Range(ge=1)] = 1000
    """Validation pairs."""
    n_test: Annotated[int, Range(ge=1)] = 1000
    """Test pairs."""
    tasks: tuple[TaskName, ...] = ("left", "right")
    """The tasks: the left digit, the right digit, their sum (a regression), whether the left one is larger, whether the sum is odd."""
    data_seed: Annotated[int, Range(ge=0)] = 0
    """Seed of the division of the images and of the pairing; the same for every trial of a sweep."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"different tasks expected, at least one of {', '.join(ALL_TASKS)}")

    def facts(self) -> ProblemFacts:
        """Return facts with the chosen tasks."""
        chosen = [ALL_TASKS[task] for task in self.tasks]
        return ProblemFacts(
            tasks=self.tasks,
            metrics={task: ALL_TASKS[task][0] for task in self.tasks},
            guess_losses=tuple(guess for _, _, guess, _ in chosen),
            loss_units=tuple(unit for _, unit, _, _ in chosen),
            n_train=self.n_train,
        )


def fingerprint(options: MultiDigitsOptions) -> str:
    """Return the SHA-256 of scikit-learn's file of digits, the construction and the options. Imports neither torch nor scikit-learn."""
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
    """Build the problem.

    Returns:
        A problem with inputs of shape (n, 1, 12, 12), float32 in [0, 1], and targets of shape (n, n_tasks): int64, or
        float32 with the task `sum`.

    Source: after MultiMNIST (Sener and Koltun 2018), on the digits of the UCI repository.
    """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    from trainer.problems.problem import Problem, Split

    digits = load_digits()
    rng = np.random.default_rng(options.data_seed)
    order = rng.permutation(len(digits.target))
    images = digits.images[order].astype(np.float32) / 16
    labels = digits.target[order]
    splits = {}
    for split, n_pairs in (("train", options.n_train), ("validation", options.n_validation), ("test", options.n_test)):
        left, right = (rng.integers(*_IMAGES[split], n_pairs) for _ in range(2))
        canvas = np.zeros((n_pairs, 1, _CANVAS, _CANVAS), np.float32)
        canvas[:, 0, :_SIZE, :_SIZE] = images[left]
        corner = canvas[:, 0, _SHIFT:, _SHIFT:]
        np.maximum(corner, images[right], out=corner)
        first, second = labels[left], labels[right]
        columns = {"left": first, "right": second, "sum": (first + second) / 4, "larger": first > second, "parity": (first + second) % 2}
        targets = np.stack([columns[task] for task in options.tasks], axis=1).astype(np.float32 if "sum" in options.tasks else np.int64)
        splits[split] = Split(torch.from_numpy(canvas), torch.from_numpy(targets))
    return Problem(
        name="multidigits",
        tasks=tuple(_task(name) for name in options.tasks),
        networks=_networks(options.tasks),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        pictures=lambda inputs: inputs,
    )


def _networks(tasks: Sequence[str]) -> "Mapping[str, Callable[[], nn.Module]]":
    from trainer.models.family import Layers

    return Layers(_trunk, _monitor, _attention, n_features=50).networks([ALL_TASKS[task][3] for task in tasks])


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


def _attention() -> "Attention":
    from torch import nn

    from trainer.models.mtan import Attention

    return Attention(
        nn.Sequential(nn.Conv2d(10, 10, 1), nn.ReLU(), nn.Conv2d(10, 20, 3), nn.Sigmoid()),
        nn.Sequential(nn.Linear(180, 180), nn.ReLU(), nn.Linear(180, 50), nn.Sigmoid()),
    )


def _task(name: str) -> "Task":
    from trainer.problems.problem import classification, regression

    metric, _, guess_loss, n_outputs = ALL_TASKS[name]
    return classification(name, n_outputs) if metric == "accuracy" else regression(name, guess_loss, scale=4.0)
