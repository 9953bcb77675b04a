"""What a problem is to the trainer: data, one loss and metric per task, a network for each model name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Split:
    """One part of the data, resident in memory."""

    inputs: Tensor
    """Shape (n_samples, ...); what the network reads."""
    targets: Tensor
    """Shape (n_samples, n_tasks); column t is what task t's loss and metric read."""

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Task:
    """One task's name, loss and metric."""

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    """(output of shape (n, ...), targets of shape (n,)) -> mean loss, a scalar; lower is better."""
    metric: Callable[[Tensor, Tensor], Tensor]
    """(output, targets) -> metric of each sample, shape (n,); its mean is reported."""
    metric_name: str
    """`accuracy`, or the name of another metric."""
    guess_loss: float
    """Loss of the best constant guess, the anchor of `scaling: anchors`."""


@dataclass(frozen=True)
class Problem:
    """Data, tasks and networks. `networks[name]()` makes a module whose forward returns one output a task.

    A network names the layers that GrOWL may prune in its attribute `growl_layers` (module names, for example
    `("trunk.3", "trunk.6")`): neither layers that read the input nor the tasks' heads. It may name parameters that are
    no weights in `mixing_parameters`; they are left out of `n_params`.
    """

    name: str
    tasks: tuple[Task, ...]
    networks: Mapping[str, Callable[[], nn.Module]]
    train: Split
    validation: Split
    test: Split


def classification(name: str, n_classes: int) -> Task:
    """A task with cross-entropy (nats) as its loss and accuracy (a fraction) as its metric."""
    return Task(name, F.cross_entropy, _is_right, "accuracy", math.log(n_classes))


def _is_right(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(dim=1) == target).float()
