"""The layers of the two published networks: trunk, monitor and gates for 28x28 grey images and for 32x32 colour images.

Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, section IV; the layers follow their code.
"""

from torch import nn

from trainer.models.family import Layers
from trainer.models.mtan import Attention


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


def _multimnist_attention() -> Attention:
    """Gates for shapes (n, 20, 4, 4) and (n, 50)."""
    return Attention(
        nn.Sequential(nn.Conv2d(10, 10, 1), nn.ReLU(), nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.Sigmoid()),
        nn.Sequential(nn.Linear(320, 320), nn.ReLU(), nn.Linear(320, 50), nn.Sigmoid()),
    )


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


def _cifar10mnist_attention() -> Attention:
    """Gates for shapes (n, 32, 6, 6) and (n, 32)."""
    return Attention(
        nn.Sequential(
            *(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.Sigmoid()),
        ),
        nn.Sequential(nn.Linear(1152, 1152), nn.ReLU(), nn.Linear(1152, 32), nn.Sigmoid()),
    )


MULTIMNIST = Layers(_multimnist_trunk, _multimnist_monitor, _multimnist_attention, n_features=50)
CIFAR10MNIST = Layers(_cifar10mnist_trunk, _cifar10mnist_monitor, _cifar10mnist_attention, n_features=32)
