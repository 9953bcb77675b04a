"""Warm starts: each model of a pack begins with a network of its own."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.pack import Pack


def load_starts(pack: Pack, starts: Sequence[Mapping[str, Tensor] | None]) -> None:
    """Let each model of a pack begin with the parameters and buffers of another network.

    Args:
        pack: its models' parameters and buffers are overwritten.
        starts: for each model name -> tensor, of the shapes of one model (other names are left out), or None to keep what it has.

    Raises:
        ValueError: a tensor is missing or of another shape, or there is not one entry a model.
    """
    if len(starts) != len(pack):
        raise ValueError(f"load_starts expects one network or None for each of {len(pack)} models, found {len(starts)}")
    with torch.no_grad():
        for own in (pack.parameters, pack.buffers):
            for name, leaf in own.items():
                for model, start in enumerate(starts):
                    if start is None:
                        continue
                    if name not in start or start[name].shape != leaf.shape[1:]:
                        found = tuple(start[name].shape) if name in start else None
                        raise ValueError(f"{name}: shape {tuple(leaf.shape[1:])} expected of the network to start from, found {found}")
                    leaf.detach()[model] = start[name].to(leaf)
