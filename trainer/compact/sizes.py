"""How large a trained network would be as a file of its own: the columns of its row."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.compact.program import Program
from trainer.compact.trace import fold
from trainer.compress import NotTraceableError, compressed, macs_of_program, trace
from trainer.problem import Problem


class Sizes:
    """Of the networks of one model; traced once, when the first one is asked for.

    Args:
        problem: its small analytic networks have no sizes.
        make: a fresh network as the method trains it, which may be more than the problem's (COSMOS reads a preference too).
    """

    def __init__(self, problem: Problem, make: Callable[[], nn.Module]) -> None:
        self._problem = problem
        self._make = make
        self._traced: Program | None = None
        self.note: str | None = None
        """Why there are no sizes, for people."""

    def columns(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        """`n_macs`, `removable_params`, `removable_macs`, `compact_bytes`; nothing where the network cannot be traced.

        Args:
            state: parameters and buffers of a trained network, finite.
        """
        program = self._program()
        if program is None:
            return {}
        own = replace(program, tensors={name: state[name].detach().cpu() for name in program.tensors})
        whole, small = fold(own), compressed(own)
        n_macs = macs_of_program(whole)
        return {
            "n_macs": n_macs,
            "removable_params": whole.n_parameters - small.n_params,
            "removable_macs": n_macs - small.macs,
            "compact_bytes": len(small.to_bytes({})),
        }

    def _program(self) -> Program | None:
        if self._problem.is_small or self.note is not None:
            return None
        if self._traced is None:
            try:
                with torch.random.fork_rng(devices=[]):
                    network = self._make()
                self._traced = trace(network, self._problem.validation.first(2)[0].cpu())
            except NotTraceableError as error:
                self.note = f"the size of the compressed network is unknown: {error}"
        return self._traced
