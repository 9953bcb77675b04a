"""178 Italian wines from scikit-learn: which of three growers, how much alcohol, how deep the colour. Nothing is downloaded."""

from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import Tensor, nn

from trainer.api import Problem, Split, classification, regression
from trainer.settings import Range

ALCOHOL, COLOUR = 0, 9  # columns of scikit-learn's table: two of our tasks, so the network must not read them
N_TRAIN, N_VALIDATION = 106, 36


class SharedTrunk(nn.Module):
    """One trunk that all tasks read, one head a task."""

    # Rows of a layer are the units before it, so these two prune the trunk's first and second layer of units.
    # The layer that reads the input and the heads stay as they are.
    growl_layers = ("trunk.2", "trunk.4")

    def __init__(self, n_features: int, width: int) -> None:
        super().__init__()
        widths = (n_features, width, width, width)
        self.trunk = nn.Sequential(*(layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())))
        self.heads = nn.ModuleList([nn.Linear(width, 3), nn.Linear(width, 1), nn.Linear(width, 1)])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Shape (n, n_features) to one output a task: (n, 3), (n, 1), (n, 1)."""
        shared = self.trunk(inputs)
        return [head(shared) for head in self.heads]


def wine(width: Annotated[int, Range(ge=4)] = 32, data_seed: int = 0) -> Problem:
    """The factory that grid.yaml names; its parameters are options there."""
    table, growers = load_wine(return_X_y=True)
    order = np.random.default_rng(data_seed).permutation(len(table))
    table, growers = table[order], growers[order]
    scaled = (table - table[:N_TRAIN].mean(axis=0)) / table[:N_TRAIN].std(axis=0)
    inputs = torch.from_numpy(np.delete(scaled, [ALCOHOL, COLOUR], axis=1)).float()
    targets = torch.from_numpy(np.stack([growers, scaled[:, ALCOHOL], scaled[:, COLOUR]], axis=1)).float()

    def split(start: int, stop: int | None) -> Split:
        return Split(inputs[start:stop], targets[start:stop])

    return Problem(
        name="wine",
        tasks=(
            classification("grower", n_classes=3),
            # Targets have variance 1, so a constant guess costs 1; the metric is in percent by volume.
            regression("alcohol", guess_loss=1.0, scale=float(table[:N_TRAIN, ALCOHOL].std())),
            regression("colour", guess_loss=1.0, scale=float(table[:N_TRAIN, COLOUR].std())),
        ),
        networks={"mlp": lambda: SharedTrunk(inputs.shape[1], width)},
        train=split(0, N_TRAIN),
        validation=split(N_TRAIN, N_TRAIN + N_VALIDATION),
        test=split(N_TRAIN + N_VALIDATION, None),
    )
