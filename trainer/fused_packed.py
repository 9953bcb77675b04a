"""The packed backend with convolution, pooling and relu in one Triton kernel."""

import copy
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from trainer.kernels.conv_pool import conv_pool_relu, fuse
from trainer.packed import RULES, PackedPack, PackedTensor
from trainer.place import BackendMissingError


def why_missing(device: torch.device) -> str | None:
    """Why there is no Triton kernel for a device, None where there is one. Triton's interpreter (for tests) takes CPUs too."""
    if find_spec("triton") is None:
        return "Triton is not installed"
    from triton.runtime.interpreter import InterpretedFunction

    from trainer.kernels import gpu_conv_pool

    is_interpreted = isinstance(gpu_conv_pool._forward, InterpretedFunction)
    return None if is_interpreted or device.type == "cuda" else f"Triton is for GPUs, found device = {device}"


class FusedPackedPack(PackedPack):
    """A packed pack whose convolutions do the pooling and relu behind them.

    Raises:
        BackendMissingError: there is no Triton for this device.
    """

    backend = "packed+kernel"

    def _prepared(self, network: nn.Module) -> nn.Module:
        missing = why_missing(self._device)
        if missing is not None:
            raise BackendMissingError(f"backend packed+kernel is not available: {missing}; backend: auto takes what is there")
        self._plain = copy.deepcopy(network)
        if not fuse(network):
            self.backend = "packed"  # nothing in this network that it could do
        return network

    def alone(self, index: int) -> nn.Module:
        """The network with its own layers, since the kernel takes whole packs only."""
        return self._plain


def _conv_pool(inputs: Tensor, weight: Any, bias: Any, relu: bool) -> Tensor:
    from trainer.kernels.gpu_conv_pool import PackedConvPool

    stacked = inputs.stacked if isinstance(inputs, PackedTensor) else inputs
    zero = weight.stacked.new_zeros(weight.stacked.shape[:2]) if bias is None else bias.stacked
    found: Tensor = PackedConvPool.apply(stacked, weight.stacked, zero, relu)
    return found


RULES[conv_pool_relu] = _conv_pool
