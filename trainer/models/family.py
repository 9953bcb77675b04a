"""The architectures, built from the layers for one data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from trainer.models.hps import HPS
from trainer.models.kdmtl import KDMTL
from trainer.models.mdmtn import MDMTN
from trainer.models.mtan import MTAN, Attention
from trainer.models.stl import STL


@dataclass(frozen=True)
class Layers:
    """The building blocks for one data set. Each call creates a new block."""

    trunk: Callable[[], nn.Sequential]
    """Creates a trunk: images -> shape (n, n_features), in three blocks, each of which begins with a Conv2d or Linear layer."""
    monitor: Callable[[], nn.Sequential]
    """Creates a monitor: images -> shape (n, n_features)."""
    attention: Callable[[], Attention]
    """Creates the gates of one task in MTAN."""
    n_features: int

    def heads(self, n_outputs: Sequence[int]) -> list[nn.Module]:
        """Create one linear layer for each task, which maps (n, n_features) to (n, n_outputs[t])."""
        return [nn.Linear(self.n_features, n) for n in n_outputs]

    def networks(self, n_outputs: Sequence[int]) -> Mapping[str, Callable[[], nn.Module]]:
        """Return the architectures by their names in the catalog, each as a function that creates a network.

        Args:
            n_outputs: for each task, its number of classes, or 1 for a regression.
        """
        each = range(len(n_outputs))
        return {
            "mdmtn": lambda: MDMTN(self.trunk(), [self.monitor() for _ in each], self.heads(n_outputs)),
            "hps": lambda: HPS(self.trunk(), self.heads(n_outputs)),
            "mtan": lambda: MTAN(self.trunk(), [self.attention() for _ in each], self.heads(n_outputs)),
            "stl": lambda: STL([self.trunk() for _ in each], self.heads(n_outputs)),
            "kdmtl": lambda: KDMTL(self.trunk(), self.heads(n_outputs), [self._adaptor() for _ in each]),
        }

    def _adaptor(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(self.n_features, self.n_features), nn.ReLU())
