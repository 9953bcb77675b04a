"""What a problem is to the trainer: data, one loss and metric per task, a network for each model name."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.problems.data import Part, Split, Stream
from trainer.settings import GrowlSettings

__all__ = ["Part", "Problem", "Split", "Stream", "Task", "classification", "regression"]


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
    classes: tuple[str, ...] = ()
    """Names of the classes, for people; empty where a class is called by its number."""


@dataclass(frozen=True)
class Problem:
    """Data, tasks and networks. `networks[name]()` makes a module whose forward returns one output a task.

    A network names the layers that GrOWL may prune in its attribute `growl_layers` (module names, for example
    `("trunk.3", "trunk.6")`): neither layers that read the input nor the tasks' heads. It may name parameters that are
    no weights in `mixing_parameters`; they are left out of `n_params`. It may keep parameters in a box by its attribute
    `bounds` (parameter name -> (least, largest)): after every step they are moved back to it.
    """

    name: str
    tasks: tuple[Task, ...]
    networks: Mapping[str, Callable[[], nn.Module]]
    train: Part
    validation: Part
    test: Part
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    """(inputs of a minibatch, the epoch's generator, on the CPU) -> inputs to train on, of the same shape. Not used for
    evaluation. All that is random comes from the generator, so that every pack and every resumed run sees the same."""
    pictures: Callable[[Tensor], Tensor] | None = None
    """Inputs -> the images they stand for, shape (n, channels, height, width), in [0, 1]; None where inputs are no images."""
    is_small: bool = False
    """Whether a network is so small that a step of a whole pack should be one vectorised call (no batch norm then)."""
    optimum: Callable[[Sequence[float], GrowlSettings], float] | None = None
    """(k of shape (1 + n_tasks,), GrOWL's settings) -> the exact least max_i k_i L_i, where it is known."""


def classification(name: str, n_classes: int, classes: tuple[str, ...] = ()) -> Task:
    """A task with cross-entropy (nats) as its loss and accuracy (a fraction) as its metric; `classes`: their names, if any."""
    return Task(name, _cross_entropy, _is_right, "accuracy", math.log(n_classes), classes)


def regression(name: str, guess_loss: float, scale: float = 1.0) -> Task:
    """A task with one output whose loss is the mean squared error, and whose metric is the absolute error.

    Args:
        name: of the task.
        guess_loss: mean squared error of the best constant: the variance of the targets.
        scale: of the metric: absolute errors are reported times it, in the unit that people know.
    """

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output.flatten(), target)

    def metric(output: Tensor, target: Tensor) -> Tensor:
        return (output.flatten() - target).abs() * scale

    return Task(name, loss, metric, "absolute error", guess_loss)


def uses_cross_entropy(task: Task) -> bool:
    """Whether `classification` made it: its loss is in nats, its targets are classes."""
    return task.loss is _cross_entropy


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target.long())


def _is_right(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(dim=1) == target).float()
