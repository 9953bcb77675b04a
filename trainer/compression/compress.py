"""Compress a trained network: physically remove what training made zero or equal, and show that nothing else changed.

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
"""Largest difference, as `largest_difference` counts it, of a network that counts as the same: 84 roundings of float32.

A smaller layer adds up fewer numbers, and processors with and without AVX-512 add in another order; each such sum is off by
a few roundings (1.2e-7) of its largest term. A mistake in what is removed changes outputs by the size of a weight.
"""


@dataclass(frozen=True)
class Compressed:
    """A network made smaller."""

    program: Program
    n_params: int
    """Floating-point numbers that it keeps."""
    macs: int
    """Multiply-adds of its Linear layers, convolutions and matrix products, a sample."""
    notes: tuple[str, ...]
    """What could not be removed, and why."""

    @property
    def network(self) -> CompactNetwork:
        """It as a module."""
        return CompactNetwork(self.program)

    def to_bytes(self, card: Mapping[str, Any]) -> bytes:
        """It as a safetensors file; `card` is a JSON object that says what it is."""
        return to_bytes(self.program, card)


def compress(network: nn.Module, sample: Tensor, *, ties: bool = True) -> Compressed:
    """Remove what a network's zero and equal weights make superfluous.

    Units whose rows are zero in every layer that reads them go, with the neurons or channels that feed only them; what is
    the same for every input goes into the next bias; of rows that are equal one is kept, and what they read is summed.

    Args:
        network: in evaluation mode or not; its weights are finite. It is not changed.
        sample: shape (n, *input_shape), n >= 2: inputs to trace it with.
        ties: keep equal rows once.

    Raises:
        NotTraceableError: its steps cannot be listed.
        ValueError: a weight is not finite.
    """
    return compressed(trace(network, sample), ties=ties)


def compressed(traced: Program, *, ties: bool = True) -> Compressed:
    """`compress` of a network that is traced already."""
    found = shrink(traced, ties)
    return Compressed(found.program, found.program.n_parameters, macs_of_program(found.program), found.notes)


def load_compressed(data: bytes) -> tuple[CompactNetwork, dict[str, Any]]:
    """The network and card of a file that `Compressed.to_bytes` made.

    Raises:
        ProgramError: the file is torn, or holds something else.
    """
    program, card = from_bytes(data)
    return CompactNetwork(program).eval(), card


@torch.no_grad()
def largest_difference(network: nn.Module, other: nn.Module, inputs: Iterable[Tensor]) -> float:
    """Largest difference in any output of any sample; infinite where one is not finite or has another shape.

    It is relative to the largest number of that output where this is above 1: each task is compared by its own scale.

    Args:
        network, other: each returns one output a task.
        inputs: batches of shape (n, *input_shape). A network that writes into its inputs gets a copy.
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
    """`macs_of` of a traced network."""
    return macs_of(CompactNetwork(program), program.input_shape)


@torch.no_grad()
def macs_of(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Multiply-adds a sample, as torch.utils.flop_counter counts Linear layers, convolutions and matrix products."""
    sample = next((tensor for tensor in network.state_dict().values() if tensor.is_floating_point()), torch.zeros(()))
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, *input_shape, dtype=sample.dtype, device=sample.device))
    network.train(was_training)
    return int(counter.get_total_flops()) // 4
