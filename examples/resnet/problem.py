"""torchvision's ResNet-18 for 3x32x32 images, two heads: which digit, and which colour it is printed in.

The images are scikit-learn's 8x8 digits, enlarged four times and tinted: nothing is downloaded. For CIFAR-10 replace
`_images` alone.

Why pruning does not break the residual connections: GrOWL suppresses *input units* of a layer, here input channels of a
block's second convolution. Those are the channels between conv1 and conv2 of that one block; nothing else reads them. A
channel whose row of conv2 is zero can be cut out together with the filter of conv1 that makes it and its entry in bn1,
and the block computes the same as before. What the shortcut adds, the block's input and conv2's output, keeps its width.
Rows of conv1 or of a shortcut would be channels of the residual stream, which every later block reads too: a zero row
there removes nothing. The first convolution reads the image, and the heads read the last features: they stay as well.

Batch norm's running statistics are buffers of the network: every trial has its own, they are kept with the best epoch,
and they are in the trial's weights file.
"""

from collections.abc import Mapping
from math import log
from typing import Annotated, Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from trainer.api import Problem, ProblemFacts, Split, classification
from trainer.settings import Range
from trainer.torchvision_import import import_torchvision

TASKS = {"digit": tuple("0123456789"), "colour": ("red", "green", "blue")}


class ResNet18(nn.Module):
    """ResNet-18 as it is used on CIFAR: a 3x3 first convolution with stride 1, and no pooling after it."""

    def __init__(self) -> None:
        super().__init__()
        net = import_torchvision().models.resnet18(weights=None)
        net.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        net.maxpool, net.fc = nn.Identity(), nn.Identity()
        self.backbone = net
        self.heads = nn.ModuleList([nn.Linear(512, len(classes)) for classes in TASKS.values()])
        self.growl_layers = tuple(f"backbone.layer{stage}.{block}.conv2" for stage in (1, 2, 3, 4) for block in (0, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Shape (n, 3, 32, 32) to one output of shape (n, n_classes) a task."""
        features = self.backbone(images)
        return [head(features) for head in self.heads]


def resnet(
    n_train: Annotated[int, Range(ge=2)] = 4000,
    n_validation: Annotated[int, Range(ge=2)] = 1000,
    n_test: Annotated[int, Range(ge=2)] = 1000,
    data_seed: int = 0,
) -> Problem:
    """The factory that grid.yaml names; its parameters are options there."""
    rng = np.random.default_rng(data_seed)
    return Problem(
        name="resnet",
        tasks=tuple(classification(task, len(classes), classes) for task, classes in TASKS.items()),
        networks={"resnet18": ResNet18},
        # Each of the 1,797 digits is in one part only.
        train=_images(rng, (0, 1200), n_train),
        validation=_images(rng, (1200, 1500), n_validation),
        test=_images(rng, (1500, 1797), n_test),
        pictures=lambda inputs: inputs * 0.3 + 0.2,  # for `sweep data show problem:resnet`
    )


def _images(rng: np.random.Generator, among: tuple[int, int], n_images: int) -> Split:
    """Tinted digits, drawn with replacement: inputs (n, 3, 32, 32) around 0, targets (n, 2): digit and colour."""
    digits = load_digits()
    chosen, colours = rng.integers(*among, n_images), rng.integers(3, size=n_images)
    gray = np.kron(digits.images[chosen] / 16, np.ones((4, 4)))
    tint = np.where(np.arange(3) == colours[:, None], 1.0, 0.5)
    inputs = (gray[:, None] * tint[:, :, None, None] - 0.2) / 0.3
    return Split(torch.from_numpy(inputs).float(), torch.from_numpy(np.stack([digits.target[chosen], colours], axis=1)))


def _facts(options: Mapping[str, Any]) -> ProblemFacts:
    """With this, planning need not build the problem (here: make a ResNet)."""
    return ProblemFacts(
        tasks=tuple(TASKS),
        metrics=dict.fromkeys(TASKS, "accuracy"),
        guess_losses=tuple(log(len(classes)) for classes in TASKS.values()),
        loss_units=("nats",) * len(TASKS),
        n_train=options["n_train"],
        models=("resnet18",),
    )


resnet.facts = _facts  # type: ignore[attr-defined]
