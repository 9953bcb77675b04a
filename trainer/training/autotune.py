"""What fits a GPU: the fastest backend for a network, and the largest pack that its memory takes."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from trainer.pack.device import Place
from trainer.problems.problem import Problem
from trainer.training.trial import TrialSpec
from trainer.training.two_phase import TwoPhase

CANDIDATES = ("packed", "packed+products", "packed+kernel", "vmap")
"""The first one that works is what the gradients of the others are compared with."""
_N_TIMED = 20
_LARGEST_TIMED = 32
_LARGEST_GAP = 1e-2
"""Between two backends' gradients of a parameter, relative; TF32 alone makes 1e-3."""
_MEMORY_SHARE = 0.8
"""Of what is free; the rest is for what grows later: ties, kept models, the recorded step."""


class Memory(Protocol):
    """A device's memory, in bytes."""

    def restart(self) -> None:
        """Give back what is cached, and forget the peak."""

    def peak(self) -> int:
        """The most that was in use since `restart`."""

    def free(self) -> int:
        """What could be used now."""

    def wait(self) -> None:
        """Until all that was started is done."""


class CudaMemory:
    """A CUDA device's."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def restart(self) -> None:
        """See `Memory`."""
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """See `Memory`."""
        return torch.cuda.max_memory_allocated(self._device)

    def free(self) -> int:
        """See `Memory`."""
        return torch.cuda.mem_get_info(self._device)[0]

    def wait(self) -> None:
        """See `Memory`."""
        torch.cuda.synchronize(self._device)


@dataclass(frozen=True)
class Timing:
    """A backend's speed."""

    backend: str
    step_s: Mapping[str, float]
    """Seconds a step and model of each candidate that works here."""
    n_models: int
    """Of the pack that was timed."""


def largest_pack(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory, share: float = 1.0) -> int:
    """How many models fit the memory, from steps of packs of two and of four.

    Args:
        specs: trials that could train together.
        problem, place: what and where.
        memory: the device's.
        share: of the device that this process may use, in (0, 1].

    Returns:
        At least 1.
    """
    used = {}
    for n in (2, 4):
        memory.restart()
        training = TwoPhase(_copies(specs, n), problem, place)
        training.take_steps(4)
        training.pack.evaluate(problem.validation.on(place.device))
        memory.wait()
        used[n] = memory.peak()
        del training
    memory.restart()
    a_model = max(1.0, (used[4] - used[2]) / 2)
    rest = max(0.0, used[2] - 2 * a_model)
    return max(1, math.floor((_MEMORY_SHARE * share * memory.free() - rest) / a_model))


def fastest_backend(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory, n_models: int) -> Timing:
    """Time the candidates on packs of `n_models`, 32 at most; one that cannot compute this network is left out.

    Raises:
        RuntimeError: none of them can.
    """
    n = min(n_models, _LARGEST_TIMED)
    found: dict[str, float] = {}
    failures: dict[str, str] = {}
    expected: dict[str, Tensor] = {}
    for backend in CANDIDATES:
        memory.restart()
        try:
            training = TwoPhase(_copies(specs, n), problem, replace(place, backend=backend))
            gradients = training.first_gradients()
            expected = expected or gradients
            _compare(gradients, expected)
            training.take_steps(5)
            times = []
            for _ in range(3):
                memory.wait()
                started = time.perf_counter()
                training.take_steps(_N_TIMED)
                memory.wait()
                times.append((time.perf_counter() - started) / _N_TIMED / n)
            found[backend] = statistics.median(times)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way, of compilers too, and is left out
            failures[backend] = str(error).strip().partition("\n")[0]
        training = None  # type: ignore[assignment]
    if not found:
        named = "; ".join(f"{backend}: {reason}" for backend, reason in failures.items())
        raise RuntimeError(f"no backend can train this network here ({named}); resources.backend: loop can")
    return Timing(min(found, key=lambda backend: found[backend]), found, n)


def _compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse a backend that computes something else: a compiler's mistake must not cost a sweep."""
    for name, value in expected.items():
        gap = float((found[name] - value).norm() / value.norm().clamp(min=torch.finfo(value.dtype).tiny))
        if not gap <= _LARGEST_GAP:
            raise ArithmeticError(f"its gradient of {name} is {gap:.1e} away")


def _copies(specs: Sequence[TrialSpec], n: int) -> list[TrialSpec]:
    """So many trials of the same kind, with ids of their own."""
    return [replace(specs[i % len(specs)], trial_id=f"probe-{i}") for i in range(n)]
