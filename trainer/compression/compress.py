"""Compress a trained network: remove its zero rows and merge its equal rows, and verify that the outputs do not change.

from trainer.compression.compress import compress, largest_difference

small = compress(network, problem.test.inputs[:2])
assert largest_difference(network, small.network, [problem.test.inputs]) < 1e-5
print(small.n_params, small.macs, len(small.to_bytes({})))
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.compression.file import from_bytes, to_bytes
from trainer.compression.program import CompactNetwork, Program, ProgramError
from trainer.compression.shrink import shrink
from trainer.compression.trace import NotTraceableError, trace

__all__ = [
    "TOLERANCE",
    "CompactNetwork",
    "Compressed",
    "NotTraceableError",
    "ProgramError",
    "compress",
    "largest_difference",
    "load_compressed",
    "macs_of",
    "macs_of_program",
    "trace",
]


TOLERANCE = 1e-5
"""The largest value of `largest_difference` with which two networks count as equal: 84 rounding units of float32.

A smaller layer sums fewer numbers, and processors with and without AVX-512 sum in a different order; the error of each sum is
a few rounding units (1.2e-7) of its largest term. An incorrectly removed row changes outputs by the size of a weight.
"""


@dataclass(frozen=True)
class Compressed:
    """A compressed network."""

    program: Program
    n_params: int
    """The number of floating-point numbers in it."""
    macs: int
    """Multiply-adds of its Linear layers, convolutions and matrix products for one sample."""
    notes: tuple[str, ...]
    """Sentences on what could not be removed, and why."""

    @property
    def network(self) -> CompactNetwork:
        """The compressed network as a module."""
        return CompactNetwork(self.program)

    def to_bytes(self, card: Mapping[str, Any]) -> bytes:
        """Serialise it as a safetensors file; `card` is a JSON object that describes the network."""
        return to_bytes(self.program, card)


def compress(network: nn.Module, sample: Tensor, *, ties: bool = True) -> Compressed:
    """Remove the parts of a network that its zero and equal weights make superfluous.

    Units whose rows are zero in every layer that reads them are removed, together with neurons or channels that nothing else needs. Units
    that are the same for every input are folded into the next bias. Of several equal rows one is kept, and their inputs are summed.

    Args:
        network: a network in training or evaluation mode, with finite weights. Not modified.
        sample: inputs for the tracing, shape (n, *input_shape), n >= 2.
        ties: whether to merge equal rows into one.

    Raises:
        NotTraceableError: the steps of the network cannot be listed.
        ValueError: a weight is not finite.
    """
    return compressed(trace(network, sample), ties=ties)


def compressed(traced: Program, *, ties: bool = True) -> Compressed:
    """Compress a network that is already traced; see `compress`."""
    shrunk = shrink(traced, ties)
    return Compressed(shrunk.program, shrunk.program.n_parameters, macs_of_program(shrunk.program), shrunk.notes)


def load_compressed(data: bytes) -> tuple[CompactNetwork, dict[str, Any]]:
    """Read the network and the card from the contents of a file that `Compressed.to_bytes` wrote.

    Raises:
        ProgramError: the file is damaged, or contains something else.
    """
    program, card = from_bytes(data)
    return CompactNetwork(program).eval(), card


@torch.no_grad()
def largest_difference(network: nn.Module, other: nn.Module, inputs: Iterable[Tensor]) -> float:
    """Compute the largest difference between two networks in any output for any sample.

    It is infinite if an output is not finite or has another shape. The difference is relative to the largest number of the output if that
    exceeds 1, so that each task is compared on its own scale.

    Args:
        network, other: networks that return one output for each task.
        inputs: batches of shape (n, *input_shape). Not modified: the networks get copies.
    """
    was_training = network.training
    network.eval()
    largest: dict[int, float] = {}
    scale: dict[int, float] = {}
    try:
        for batch in inputs:
            for i, (a, b) in enumerate(zip(network(batch.clone()), other(batch.clone()), strict=True)):
                if a.shape != b.shape or not bool((a - b).isfinite().all()):
                    return float("inf")
                if a.numel():
                    largest[i] = max(largest.get(i, 0.0), float((a - b).abs().max()))
                    scale[i] = max(scale.get(i, 1.0), float(a.abs().max()))
    finally:
        network.train(was_training)
    return max((largest[i] / scale[i] for i in largest), default=0.0)


def macs_of_program(program: Program) -> int:
    """Count the multiply-adds of a traced network; see `macs_of`."""
    return macs_of(CompactNetwork(program), program.input_shape)


@torch.no_grad()
def macs_of(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Count the multiply-adds for one sample in Linear layers, convolutions and matrix products, using torch.utils.flop_counter.

    Args:
        network: a network that takes one tensor.
        input_shape: the shape of one sample.
    """
    sample = next((tensor for tensor in network.state_dict().values() if tensor.is_floating_point()), torch.zeros(()))
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, *input_shape, dtype=sample.dtype, device=sample.device))
    network.train(was_training)
    return int(counter.get_total_flops()) // 4
