"""Layer-sequential unit-variance initialisation, and a memory of values that a process computes once for each problem."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainer.pack.loop import widest_range
from trainer.problems.problem import Problem
from trainer.settings import LsuvSettings

_N_REMEMBERED = 8  # values
_remembered: list[tuple["weakref.ref[Problem]", Hashable, Any]] = []
Value = TypeVar("Value")


def computed_once(problem: Problem, key: Hashable, compute: Callable[[], Value]) -> Value:
    """Compute a value that depends on a problem and a key only, and return the same value when it is needed again in this process.

    On a GPU, several trainings of one problem start one after the other, for the measurements of `trainer/training/autotune.py` and for
    the packs of a halved one, while other processes wait for the device.

    Args:
        problem: the problem; two objects with equal values count as different problems.
        key: everything else that the value depends on.
        compute: computes the value.

    Returns:
        The value. It is shared, so callers must not modify it.
    """
    for known, its_key, value in _remembered:
        if known() is problem and its_key == key:
            found: Value = value
            return found
    computed = compute()
    _remembered[:] = [entry for entry in _remembered if entry[0]() is not None][1 - _N_REMEMBERED :]
    _remembered.append((weakref.ref(problem), key, computed))
    return computed


@torch.no_grad()
def initialise_lsuv(model: nn.Module, inputs: Tensor, settings: LsuvSettings, seed: int) -> None:
    """Initialise weights orthonormally and biases to zero, then scale each layer until its output has standard deviation 1.

    Args:
        model: its Linear and Conv2d layers are initialised, in the order of `model.modules()`. Modified in place.
        inputs: shape (n_samples, ...); the standard deviation is measured on the first `settings.n_samples` of them.
        settings: tolerance and number of tries.
        seed: the seed of the orthonormal matrices; the global random state does not change.

    Source: Mishkin and Matas, ICLR 2016.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        nn.init.orthogonal_(layer.weight, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    was_training = model.training
    model.eval()
    sample = inputs[: settings.n_samples]
    for layer in layers:
        for _ in range(settings.max_tries):
            deviation = _output_deviation(model, layer, sample)
            # A layer whose output is constant up to rounding (because its inputs are constant) cannot be scaled to deviation 1.
            if deviation == 0 or not abs(deviation - 1) >= settings.tolerance:
                break
            layer.weight /= deviation
    model.train(was_training)


def _output_deviation(model: nn.Module, layer: nn.Module, sample: Tensor) -> float:
    seen: list[float] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(_deviation(output)))
    try:
        model(sample)
    finally:
        handle.remove()
    return seen[0] if seen else 0.0


def _deviation(output: Tensor) -> float:
    """Return the standard deviation of all numbers of an output; 0 if they are equal up to rounding."""
    if not output.numel():
        return 0.0
    least, largest = output.aminmax()
    return float(output.std()) if float(widest_range(least[None], largest[None])) else 0.0
