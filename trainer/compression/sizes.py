"""How large a trained network would be as a file of its own: the columns of its row."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.compression.compress import TOLERANCE, NotTraceableError, compressed, largest_difference, macs_of_program, trace
from trainer.compression.program import Program
from trainer.compression.trace import fold
from trainer.problems.problem import Problem

N_COMPARED = 128
"""Validation samples on which the compressed network is compared with the trained one: a wrong unit shows on any of them."""


class Sizes:
    """Of the networks of one model; traced once, when the first one is asked for.

    Args:
        problem: its small analytic networks have no sizes.
        make: a fresh network as the method trains it, which may be more than the problem's (COSMOS reads a preference too).
            What is no parameter or buffer, such as a tensor in a plain attribute, must be the trained network's.
    """

    def __init__(self, problem: Problem, make: Callable[[], nn.Module]) -> None:
        self._problem = problem
        self._make = make
        self._traced: tuple[nn.Module, Program] | None = None
        self._untraceable: str | None = None
        self.note: str | None = None
        """Why the last network has no sizes, for people."""

    def columns(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        """`n_macs`, `removable_params`, `removable_macs`, `compact_bytes`; nothing, and a note, where they are unknown.

        They are returned only if the compressed network computes what the trained one does on the first validation samples.

        Args:
            state: parameters and buffers of a trained network, finite. It is not changed.
        """
        self.note = None
        try:
            return {} if self._problem.is_small else self._columns(state)
        except (ValueError, RuntimeError) as error:  # not traceable, not finite, or an operator that cannot run
            self.note = f"the size of the compressed network is unknown: {error}"
            return {}

    def _columns(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        network, program = self._network_and_program()
        # A plain attribute and what forward makes are tensors of the program, but of no state.
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
            return {}
        n_macs = macs_of_program(whole)
        return {
            "n_macs": n_macs,
            "removable_params": whole.n_parameters - small.n_params,
            "removable_macs": n_macs - small.macs,
            "compact_bytes": len(small.to_bytes({})),
        }

    def _network_and_program(self) -> tuple[nn.Module, Program]:
        """A network to put trained numbers into, and its steps."""
        if self._untraceable is not None:
            raise NotTraceableError(self._untraceable)
        if self._traced is None:
            try:
                with torch.random.fork_rng(devices=[]):
                    network = self._make()
                # The program's constants are its own: the network's are written to when numbers are put into it.
                program = trace(network, self._problem.validation.first(2)[0].cpu())
                program = replace(program, tensors={name: tensor.clone() for name, tensor in program.tensors.items()})
                self._traced = network.eval(), program
            except NotTraceableError as error:
                self._untraceable = str(error)
                raise
        return self._traced
