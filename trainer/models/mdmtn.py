"""MDMTN, the monitored deep multi-task network: hard parameter sharing with one small monitor for each task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainer.models.layers import behind_the_input


class MDMTN(nn.Module):
    """A shared trunk S and one monitor M_t for each task; head t reads alpha[t, 0] S(x) + alpha[t, 1] M_t(x).

    alpha is learned, starts at (1, 0), and counts neither as a weight nor as rows.

    Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, section III-E and figure 1.
    """

    def __init__(self, trunk: nn.Sequential, monitors: Sequence[nn.Sequential], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.monitors = nn.ModuleList(monitors)
        self.heads = nn.ModuleList(heads)
        self.mixing_parameters = ("alpha",)
        self.alpha = nn.Parameter(torch.tensor([[1.0, 0.0]] * len(heads)))
        self.growl_layers = behind_the_input("trunk", trunk) + tuple(
            name for t, monitor in enumerate(monitors) for name in behind_the_input(f"monitors.{t}", monitor)
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Map inputs of shape (n, channels, height, width) to one output of shape (n, n_classes) for each task."""
        shared = self.trunk(inputs)
        return [
            head(alpha[0] * shared + alpha[1] * monitor(inputs))
            for head, monitor, alpha in zip(self.heads, self.monitors, self.alpha.unbind(), strict=True)
        ]
