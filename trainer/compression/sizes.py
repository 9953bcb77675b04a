"""The size that a trained network would have as a compressed file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trainer.compression.compress import TOLERANCE, NotTraceableError, compressed, largest_difference, macs_of_program, trace
from trainer.compression.program import Program
from trainer.compression.trace import fold
from trainer.problems.problem import Problem

N_COMPARED = 128
"""Number of validation samples on which the compressed network is compared with the trained one; a wrong unit shows on any of them."""


@dataclass(frozen=True)
class NetworkSizes:
    """The size of a trained network, and what compression removes from it."""

    n_macs: int
    """Multiply-adds of one sample in the network as it was trained."""
    removable_params: int
    """Parameters that compression removes; tied rows are kept once."""
    removable_macs: int
    """Multiply-adds of one sample that compression removes."""
    compact_bytes: int
    """Bytes of the compressed network as a file."""


class Sizes:
    """Measures the sizes of the networks of one model; the model is traced once, for the first network.

    Args:
        problem: the problem; the small networks of analytic problems have no sizes.
        make: builds a new network as the method trains it, which may differ from the problem's (COSMOS also reads a preference).
            Values that are neither parameters nor buffers, such as a tensor in a plain attribute, must equal the trained network's.
    """

    def __init__(self, problem: Problem, make: Callable[[], nn.Module]) -> None:
        self._problem = problem
        self._make = make
        self._traced: tuple[nn.Module, Program] | None = None
        self._untraceable: str | None = None
        self.note: str | None = None
        """Why the last network has no sizes, as a sentence for the reader; None if it has sizes."""

    def measure(self, state: Mapping[str, Tensor]) -> NetworkSizes | None:
        """Measure one trained network.

        Args:
            state: parameters and buffers of a trained network, finite. Not modified.

        Returns:
            The sizes. None if they are unknown, with the reason in `note`: sizes are trusted only if the compressed and the trained network
                agree on the first validation samples.
        """
        self.note = None
        try:
            return None if self._problem.is_small else self._measured(state)
        except (ValueError, RuntimeError) as error:  # not traceable, not finite, or an operator that cannot run
            self.note = f"the size of the compressed network is unknown: {error}"
            return None

    def _measured(self, state: Mapping[str, Tensor]) -> NetworkSizes | None:
        network, program = self._network_and_program()
        # Plain attributes, and tensors that `forward` creates, belong to the program but to no state.
        own = {name: state[name].detach().cpu() if name in state else tensor for name, tensor in program.tensors.items()}
        whole = fold(replace(program, tensors=own))
        small = compressed(whole)
        with torch.no_grad():
            for name, tensor in (*network.named_parameters(), *network.named_buffers()):
                tensor.copy_(state[name])
        difference = largest_difference(network, small.network.eval(), [self._problem.validation.first(N_COMPARED)[0].cpu()])
        if not difference <= TOLERANCE:
            self.note = (
                f"the size of the compressed network is unknown: its outputs differ from the trained network's by {difference:.2g} "
                f"on validation data, more than {TOLERANCE:g}"
            )
            return None
        n_macs = macs_of_program(whole)
        return NetworkSizes(
            n_macs=n_macs,
            removable_params=whole.n_parameters - small.n_params,
            removable_macs=n_macs - small.macs,
            compact_bytes=len(small.to_bytes({})),
        )

    def _network_and_program(self) -> tuple[nn.Module, Program]:
        """Return the network into which trained values are copied, and its traced program."""
        if self._untraceable is not None:
            raise NotTraceableError(self._untraceable)
        if self._traced is None:
            try:
                with torch.random.fork_rng(devices=[]):
                    network = self._make()
                # The program gets copies of its constants, because the network's are overwritten by trained values.
                program = trace(network, self._problem.validation.first(2)[0].cpu())
                program = replace(program, tensors={name: tensor.clone() for name, tensor in program.tensors.items()})
                self._traced = network.eval(), program
            except NotTraceableError as error:
                self._untraceable = str(error)
                raise
        return self._traced
