"""Layer-sequential unit-variance initialisation."""

import torch
from torch import Tensor, nn

from trainer.pack.loop import widest_range
from trainer.settings import LsuvSettings


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
