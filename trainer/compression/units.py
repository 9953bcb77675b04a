"""The units of a value: the channels or features along its second dimension, some of which are constant or not needed."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """What is known about a value of shape (n, n_units, ...) for any input of the network."""

    is_constant: Tensor
    """Shape (n_units,), bool: whether the unit is the same number for every sample and position."""
    constant: Tensor
    """Shape (n_units,), float64: that number; 0 for other units."""
    shape: tuple[int, ...]
    """The shape without the batch, (n_units, ...)."""

    @staticmethod
    def free(shape: tuple[int, ...]) -> "Units":
        """Create units of which none is constant."""
        n = shape[0]
        return Units(torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.float64), shape)

    @staticmethod
    def of(is_constant: Tensor, constant: Tensor, shape: tuple[int, ...]) -> "Units":
        """Create units; the values of units that are not constant are ignored."""
        return Units(is_constant, torch.where(is_constant, constant.double(), 0.0), shape)

    @property
    def n_places(self) -> int:
        """The number of positions of one unit: 1 for features, height x width for channels."""
        return math.prod(self.shape[1:])

    def as_sample(self) -> Tensor:
        """Return the constants as a batch of one sample with one position per unit, float64, shape (1, n_units, 1, ...)."""
        return self.constant.reshape(1, -1, *[1] * (len(self.shape) - 1))
