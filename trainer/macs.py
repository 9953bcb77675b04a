"""Multiply-adds of a network's forward pass on one sample, and how many of them zero rows save."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn


@torch.no_grad()
def layer_macs(network: nn.Module, inputs: Tensor) -> dict[str, int]:
    """Multiply-adds of each Linear and Conv2d on one sample, name of its weight -> number; a layer that is used twice counts twice.

    Args:
        network: left as it is.
        inputs: shape (n, ...), n >= 1 samples to try it on.
    """
    found: dict[str, int] = {}

    def count(name: str, layer: nn.Linear | nn.Conv2d, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        # Each output number is a sum over one weight of every input unit: a Conv2d's weight is (out, in / groups, height, width).
        found[name] = found.get(name, 0) + output.numel() // len(inputs) * layer.weight[0].numel()

    layers = {f"{name}.weight": layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    hooks = [layer.register_forward_hook(partial(count, name)) for name, layer in layers.items()]
    was_training = network.training
    network.eval()
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(was_training)
    return found


def removable_macs(macs: Mapping[str, int], layers: Mapping[str, float]) -> int:
    """Multiply-adds in zero rows: a row's inputs contribute nothing wherever the layer is used.

    Args:
        macs: `layer_macs`.
        layers: share of zero rows of each weight tensor.
    """
    return round(sum(n * layers.get(name, 0.0) for name, n in macs.items()))
