"""The layers of the two published networks: trunk and monitor for 28x28 gray images, and for 32x32 colour images.

Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, section IV; the layers as their code has them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from trainer.models.hps import HPS
from trainer.models.mdmtn import MDMTN


@dataclass(frozen=True)
class Layers:
    """One data set's building blocks. Each call makes a fresh one."""

    trunk: Callable[[], nn.Sequential]
    """Images -> shape (n, n_features)."""
    monitor: Callable[[], nn.Sequential]
    """Images -> shape (n, n_features)."""
    n_features: int

    def heads(self, n_tasks: int, n_classes: int = 10) -> list[nn.Module]:
        """One linear layer a task: shape (n, n_features) -> (n, n_classes)."""
        return [nn.Linear(self.n_features, n_classes) for _ in range(n_tasks)]

    def networks(self, n_tasks: int) -> Mapping[str, Callable[[], nn.Module]]:
        """The catalog's names of the architectures, and what makes each."""
        return {
            "mdmtn": lambda: MDMTN(self.trunk(), [self.monitor() for _ in range(n_tasks)], self.heads(n_tasks)),
            "hps": lambda: HPS(self.trunk(), self.heads(n_tasks)),
        }


def _multimnist_trunk() -> nn.Sequential:
    """Shape (n, 1, 28, 28) -> (n, 50)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(320, 50), nn.ReLU()),
    )


def _multimnist_monitor() -> nn.Sequential:
    """Shape (n, 1, 28, 28) -> (n, 50)."""
    return nn.Sequential(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2880, 50), nn.ReLU())


def _cifar10mnist_trunk() -> nn.Sequential:
    """Shape (n, 3, 32, 32) -> (n, 32)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.MaxPool2d(2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(1152, 32), nn.ReLU()),
    )


def _cifar10mnist_monitor() -> nn.Sequential:
    """Shape (n, 3, 32, 32) -> (n, 32)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(7200, 32), nn.ReLU()),
    )


MULTIMNIST = Layers(_multimnist_trunk, _multimnist_monitor, n_features=50)
CIFAR10MNIST = Layers(_cifar10mnist_trunk, _cifar10mnist_monitor, n_features=32)
