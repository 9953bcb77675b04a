"""Measurements on a GPU before training: the fastest backend for a network, and the largest pack that fits into memory."""

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

CANDIDATES = ("packed", "packed+products", "packed+pool", "packed+kernel", "vmap")
"""The gradients of the first backend that works are the reference for the others."""
_N_TIMED = 20
_LARGEST_TIMED = 32
_LARGEST_GAP = 1e-2
"""The largest relative difference between two backends' gradients of a parameter; TF32 alone causes 1e-3."""
_MEMORY_SHARE = 0.8
"""Share of the free memory that is used; the rest is reserved for later allocations: ties, kept models, the recorded step."""


class Memory(Protocol):
    """A device's memory, in bytes."""

    def restart(self) -> None:
        """Release cached memory and reset the peak."""

    def peak(self) -> int:
        """Return the maximum memory in use since `restart`."""

    def free(self) -> int:
        """Return the memory that is free now."""

    def wait(self) -> None:
        """Wait until all work on the device is done."""


class CudaMemory:
    """The memory of a CUDA device."""

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
    """The speed of the candidates, and the fastest of them."""

    backend: str
    step_s: Mapping[str, float]
    """Candidate that works here -> seconds per step and model."""
    n_models: int
    """The number of models in the pack that was timed."""


def largest_pack(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory, share: float = 1.0) -> int:
    """Estimate how many models fit into memory, from steps of a pack of two and a pack of four models.

    Args:
        specs: trials that can train together.
        problem, place: as for `TwoPhase`.
        memory: the device's memory.
        share: the share of the device that this process may use, in (0, 1].

    Returns:
        The number of models, at least 1.
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
    per_model = max(1.0, (used[4] - used[2]) / 2)
    fixed = max(0.0, used[2] - 2 * per_model)
    return max(1, math.floor((_MEMORY_SHARE * share * memory.free() - fixed) / per_model))


def fastest_backend(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory, n_models: int) -> Timing:
    """Time the candidates on packs of `n_models` (at most 32); candidates that cannot compute this network are left out.

    Args:
        specs: trials that can train together.
        problem, place: as for `TwoPhase`.
        memory: the device's memory.
        n_models: number of models in the pack for which the backend is chosen.

    Raises:
        RuntimeError: no candidate can compute this network; the message gives the reason for each.
    """
    n = min(n_models, _LARGEST_TIMED)
    step_s: dict[str, float] = {}
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
            step_s[backend] = statistics.median(times)
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way, even in a compiler, and is then left out
            failures[backend] = str(error).strip().partition("\n")[0]
        training = None  # type: ignore[assignment]
    if not step_s:
        named = "; ".join(f"{backend}: {reason}" for backend, reason in failures.items())
        raise RuntimeError(f"no backend can train this network here ({named}); resources.backend: loop can")
    return Timing(min(step_s, key=lambda backend: step_s[backend]), step_s, n)


def _compare(gradients: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise an error if a backend's gradients are wrong, because a compiler's bug must not invalidate a sweep."""
    for name, value in expected.items():
        gap = float((gradients[name] - value).norm() / value.norm().clamp(min=torch.finfo(value.dtype).tiny))
        if not gap <= _LARGEST_GAP:
            raise ArithmeticError(f"its gradient of {name} is {gap:.1e} away")


def _copies(specs: Sequence[TrialSpec], n: int) -> list[TrialSpec]:
    """Return `n` trials of the same kind with different ids."""
    return [replace(specs[i % len(specs)], trial_id=f"probe-{i}") for i in range(n)]
