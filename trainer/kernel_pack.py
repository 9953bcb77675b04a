"""The loop over the models, with convolution, pooling and relu in one kernel: the CPU's default where there is a compiler."""

from torch import nn

from trainer.kernels.conv_pool import fuse
from trainer.kernels.library import why_missing
from trainer.pack import Pack
from trainer.place import BackendMissingError


class KernelPack(Pack):
    """A pack whose networks use the CPU's fused kernel where their layers fit it.

    Raises:
        BackendMissingError: this machine has no kernel, or the device is no CPU.
    """

    backend = "loop+kernel"
    evaluation_batch = 256  # what lies between the layers stays in the processor's cache

    def _prepared(self, network: nn.Module) -> nn.Module:
        if self._device.type != "cpu":
            raise BackendMissingError(f"backend loop+kernel is for CPUs, found device = {self._device}; backend: auto takes what fits")
        missing = why_missing()
        if missing is not None:
            raise BackendMissingError(f"backend loop+kernel is not available: {missing}; backend: auto takes what is there")
        if not fuse(network):
            self.backend = "loop"  # nothing in this network that it could do
        return network
