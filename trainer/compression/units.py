"""Units of a value: the channels or features along its second dimension, of which some are constant and some not needed."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Units:
    """What is known of a value of shape (n, n_units, ...) whatever the input is."""

    is_constant: Tensor
    """Shape (n_units,), bool: the same number for every sample and place."""
    constant: Tensor
    """Shape (n_units,), float64: that number; 0 elsewhere."""
    shape: tuple[int, ...]
    """Without the batch: (n_units, ...)."""

    @staticmethod
    def free(shape: tuple[int, ...]) -> "Units":
        """None of them constant."""
        n = shape[0]
        return Units(torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.float64), shape)

    @staticmethod
    def of(is_constant: Tensor, constant: Tensor, shape: tuple[int, ...]) -> "Units":
        """Numbers of units that are not constant are left out."""
        return Units(is_constant, torch.where(is_constant, constant.double(), 0.0), shape)

    @property
    def n_places(self) -> int:
        """Numbers of one unit: 1 for features, height x width for channels."""
        return math.prod(self.shape[1:])

    def as_sample(self) -> Tensor:
        """The constants as a batch of one with one place a unit, float64: shape (1, n_units, 1, ...)."""
        return self.constant.reshape(1, -1, *[1] * (len(self.shape) - 1))
