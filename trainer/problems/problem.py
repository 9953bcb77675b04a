"""A problem as the trainer sees it: data, one loss and one metric for each task, and a network for each model name."""

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
    """The name, the loss and the metric of one task."""

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    """(output of shape (n, ...), targets of shape (n,)) -> mean loss, a scalar; lower is better."""
    metric: Callable[[Tensor, Tensor], Tensor]
    """(output, targets) -> metric of each sample, shape (n,); its mean is reported."""
    metric_name: str
    """`accuracy`, or the name of another metric."""
    guess_loss: float
    """The loss of the best constant guess, which is the anchor of `scaling: anchors`."""
    classes: tuple[str, ...] = ()
    """Names of the classes, for display; empty if the classes are called by their numbers."""


@dataclass(frozen=True)
class Problem:
    """Data, tasks and networks. `networks[name]()` creates a module whose forward returns one output for each task.

    A network names the layers that GrOWL may prune in its attribute `growl_layers` (module names, for example
    `("trunk.3", "trunk.6")`), which should include neither layers that read the input nor the heads of the tasks. It may name
    parameters that are not weights in `mixing_parameters`; they do not count in `n_params`. Its attribute `bounds` (parameter name ->
    (smallest, largest)) may bound parameters, which are clipped after every step.
    """

    name: str
    tasks: tuple[Task, ...]
    networks: Mapping[str, Callable[[], nn.Module]]
    train: Part
    validation: Part
    test: Part
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    """(inputs of a minibatch, the epoch's generator, on the CPU) -> inputs for training, of the same shape. Not used for
    evaluation. All random numbers have to come from the generator, so that every pack and every resumed run gets the same inputs."""
    pictures: Callable[[Tensor], Tensor] | None = None
    """Inputs -> images for display, shape (n, channels, height, width), in [0, 1]; None if the inputs are not images."""
    is_small: bool = False
    """Whether the networks are so small that a step of a whole pack should be one vectorised call (without batch norm)."""
    has_data: bool = True
    """Whether the losses depend on data; False if they are functions of the parameters alone, the same on all three parts, so that a search
    from the final point can decide whether a trial has converged (trainer/objectives/certificate.py)."""
    optimum: Callable[[Sequence[float], GrowlSettings], float] | None = None
    """(k of shape (1 + n_tasks,), GrOWL's settings) -> the exact minimum of max_i k_i L_i, if it is known."""


def classification(name: str, n_classes: int, classes: tuple[str, ...] = ()) -> Task:
    """Create a task with cross-entropy (nats) as loss and accuracy (a fraction) as metric.

    Args:
        name: name of the task.
        n_classes: number of classes; the loss of a constant guess is ln(n_classes).
        classes: names of the classes, if they have names.
    """
    return Task(name, _cross_entropy, _is_right, "accuracy", math.log(n_classes), classes)


def regression(name: str, guess_loss: float, scale: float = 1.0) -> Task:
    """Create a task with one output, the mean squared error as loss and the absolute error as metric.

    Args:
        name: name of the task.
        guess_loss: mean squared error of the best constant guess, which is the variance of the targets.
        scale: factor of the metric, which converts absolute errors to a familiar unit.
    """

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output.flatten(), target)

    def metric(output: Tensor, target: Tensor) -> Tensor:
        return (output.flatten() - target).abs() * scale

    return Task(name, loss, metric, "absolute error", guess_loss)


def uses_cross_entropy(task: Task) -> bool:
    """Return whether a task was created by `classification`, so that its loss is in nats and its targets are classes."""
    return task.loss is _cross_entropy


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target.long())


def _is_right(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(dim=1) == target).float()
