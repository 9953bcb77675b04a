"""Measurements on a GPU before training: the fastest backend for a network, and the largest pack that fits into memory."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from trainer.errors import TrainerError
from trainer.pack.device import Place
from trainer.pack.device_errors import is_device_error, is_out_of_memory
from trainer.pack.loop import Pack
from trainer.problems.problem import Problem
from trainer.training.measurements import reason_of
from trainer.training.trial import TrialSpec
from trainer.training.two_phase import TwoPhase

CANDIDATES = ("packed", "packed+products", "packed+pool", "packed+kernel", "vmap")
"""The gradients of the first backend that works are the reference for the others."""
_N_TIMED = 20
_LARGEST_TIMED = 32
_LARGEST_GAP = 1e-2
"""Largest permitted relative difference between two backends' gradients of a parameter, in float32 without TF32."""
_NEGLIGIBLE = 1e-4
"""The difference of a gradient whose norm is below this share of the largest gradient's norm is divided by that share instead of its own
norm, because such a gradient may be zero except for rounding, for example that of a bias before a batch normalisation."""
_RELATIVE_NUDGE, _ABSOLUTE_NUDGE = 0.05, 0.01
"""Change of each parameter before gradients are compared: a share of its root mean square, and a constant for parameters that are 0."""
_MEMORY_SHARE = 0.8
"""Share of the free memory that is used; the rest is reserved for later allocations: ties, kept models, the recorded step."""

Value = TypeVar("Value")


class NoBackendError(TrainerError, RuntimeError):
    """None of the backends that are timed can train this network on this device; the message gives the reason for each."""

    kind = "backend"


class Memory(Protocol):
    """A device's memory, in bytes."""

    def restart(self) -> None:
        """Free objects that nothing refers to, release cached memory and reset the peak."""

    def peak(self) -> int:
        """Return the maximum memory reserved since `restart`."""

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
        gc.collect()  # objects in a reference cycle would otherwise keep their memory
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """See `Memory`."""
        return torch.cuda.max_memory_reserved(self._device)  # with the memory of recorded steps, which a training keeps

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
    """The fastest candidate."""
    step_s: Mapping[str, float]
    """Candidate that works here -> seconds per step and model."""
    failures: Mapping[str, str]
    """Candidate that was left out -> why: the class and the first line of its error."""
    n_models: int
    """The number of models in the pack that was timed."""


def largest_pack(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory, share: float = 1.0) -> int:
    """Estimate how many models fit into memory, from steps of a pack of two and a pack of four models.

    If memory is insufficient for four models, packs of one and two models are used instead. If it is insufficient for two, 1 is returned.

    Args:
        specs: trials that can train together.
        problem, place: as for `TwoPhase`.
        memory: the device's memory.
        share: the share of the device that this process may use, in (0, 1].

    Returns:
        The number of models, at least 1.
    """
    peaks: dict[int, int] = {}
    most: float = math.inf
    for n in (2, 4, 1):
        if len(peaks) == 2:
            break
        peak = _peak_memory(_copies(specs, n), problem, place, memory)
        if peak is not None:
            peaks[n] = peak
        elif n == 4:
            most = 3
        else:
            return 1
    memory.restart()
    few, many = sorted(peaks)
    per_model = max(1.0, (peaks[many] - peaks[few]) / (many - few))
    fixed = max(0.0, peaks[few] - few * per_model)
    return int(max(1, min(most, (_MEMORY_SHARE * share * memory.free() - fixed) // per_model)))


def _peak_memory(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory) -> int | None:
    """Return the peak memory of steps and an evaluation of a pack, in bytes; None if memory is insufficient for it."""
    memory.restart()
    try:
        TwoPhase(specs, problem, place).take_up_memory()
        memory.wait()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    return memory.peak()


def fastest_backend(specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory, n_models: int) -> Timing:
    """Time the candidates on packs of `n_models` (at most 32); candidates that cannot compute this network are left out.

    If memory is insufficient for every candidate, packs of half as many models are timed.

    Args:
        specs: trials that can train together.
        problem, place: as for `TwoPhase`.
        memory: the device's memory.
        n_models: number of models in the pack for which the backend is chosen.

    Returns:
        The fastest candidate, with the seconds of a step of each candidate that works and the reason for each other one.

    Raises:
        NoBackendError: no candidate can compute this network; the message gives the reason for each.
        RuntimeError, MemoryError: memory is insufficient for one model, or the device was lost before any candidate had been timed.
    """
    n = min(n_models, _LARGEST_TIMED)
    while True:
        step_s, errors = _timed_candidates(_copies(specs, n), problem, place, memory)
        if step_s or n == 1 or not all(map(is_out_of_memory, errors.values())):
            break
        n //= 2
    failures = {backend: reason_of(error) for backend, error in errors.items()}
    if not step_s:
        diverging = [backend for backend, error in errors.items() if isinstance(error, ArithmeticError)]
        if diverging:  # gradients of every backend that works are not finite, so the network is at fault, and its trials diverge
            return Timing(diverging[0], step_s, failures, n)
        transient = next((error for error in errors.values() if is_device_error(error)), None)
        if transient is not None:
            raise transient
        named = "; ".join(f"{backend}: {reason}" for backend, reason in failures.items())
        raise NoBackendError(
            f"no backend can train this network here ({named})", hint="resources.backend: loop runs one network after the other"
        )
    return Timing(min(step_s, key=lambda backend: step_s[backend]), step_s, failures, n)


def _timed_candidates(
    specs: Sequence[TrialSpec], problem: Problem, place: Place, memory: Memory
) -> tuple[dict[str, float], dict[str, Exception]]:
    """Return the seconds per step and model of each candidate that works, and the error of each other candidate."""
    step_s: dict[str, float] = {}
    errors: dict[str, Exception] = {}
    expected: dict[str, Tensor] = {}
    for backend in CANDIDATES:
        try:
            memory.restart()
            training = TwoPhase(specs, problem, replace(place, backend=backend))
            _nudge(training.pack)
            with _full_float32():
                gradients = training.first_gradients()
            _compare(gradients, expected)
            step_s[backend] = _step_seconds(training, memory) / len(specs)
            expected = expected or gradients
        except Exception as error:  # noqa: BLE001 - a candidate may fail in any way, even in a compiler, and is then left out
            error.__traceback__ = error.__cause__ = error.__context__ = None  # their frames would keep the training in memory
            errors[backend] = error
            if is_device_error(error) and not is_out_of_memory(error):
                break  # this process cannot use the device any more
        training = None  # type: ignore[assignment]
    return step_s, errors


def _step_seconds(training: TwoPhase, memory: Memory) -> float:
    """Return the seconds of one step of a pack, the median of three measurements."""
    training.take_steps(5)
    times = []
    for _ in range(3):
        memory.wait()
        started = time.perf_counter()
        training.take_steps(_N_TIMED)
        memory.wait()
        times.append((time.perf_counter() - started) / _N_TIMED)
    return statistics.median(times)


@torch.no_grad()
def _nudge(pack: Pack) -> None:
    """Change every parameter of a pack a little, by the same amounts for each backend, before its gradients are compared.

    Some initial values, such as the weights 0 of MDMTN's monitors, make other gradients exactly zero, so that a backend could compute
    anything there. After the change the models also differ from each other, so that a backend which confuses them is noticed.
    """
    generator = torch.Generator().manual_seed(0)
    for _, leaf in sorted(pack.parameters.items()):
        sizes = 0.5 + 0.5 * torch.rand(leaf.shape, generator=generator)  # away from zero
        signs = 2 * torch.randint(2, leaf.shape, generator=generator) - 1
        scale = _RELATIVE_NUDGE * leaf.double().square().mean().sqrt() + _ABSOLUTE_NUDGE
        leaf.add_((sizes * signs).to(leaf) * scale.to(leaf))
    pack.keep_within(getattr(pack.alone(0), "bounds", {}))


@contextmanager
def _full_float32() -> Iterator[None]:
    """Compute matrix products and convolutions on GPUs in float32 instead of TF32 within the context.

    PyTorch has an older and a newer set of switches and refuses a mixture of them, so both are set, and restored afterwards.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    operations = (matmul, cudnn.conv, cudnn.rnn) if hasattr(matmul, "fp32_precision") else ()  # since torch 2.9
    new = [operation.fp32_precision for operation in operations]
    products, convolutions = _legacy(torch.get_float32_matmul_precision), _legacy(lambda: cudnn.allow_tf32)
    try:
        if products is not None:
            torch.set_float32_matmul_precision("highest")
        if convolutions is not None:
            cudnn.allow_tf32 = False
        for operation in operations:
            operation.fp32_precision = "ieee"
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            cudnn.allow_tf32 = convolutions
        for operation, precision in zip(operations, new, strict=True):
            operation.fp32_precision = precision


def _legacy(read: Callable[[], Value]) -> Value | None:
    """Return the value of an older switch; None if PyTorch refuses to read it because the newer ones were used."""
    try:
        return read()
    except RuntimeError:
        return None


def _compare(gradients: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise an error if a backend's gradients are wrong, because a compiler's bug must not invalidate a sweep.

    Args:
        gradients: the backend's gradients, by parameter name.
        expected: those of the reference, in the same shapes; empty for the reference itself.

    Raises:
        ArithmeticError: a gradient differs too much, or is not finite.
    """
    for name, value in gradients.items():
        if not bool(value.isfinite().all()):
            raise ArithmeticError(f"its gradient of {name} is not finite")
    largest = max((float(value.norm()) for value in expected.values()), default=0.0)
    for name, value in expected.items():
        scale = max(float(value.norm()), _NEGLIGIBLE * largest, torch.finfo(value.dtype).tiny)
        gap = float((gradients[name] - value).norm()) / scale
        if not gap <= _LARGEST_GAP:
            raise ArithmeticError(f"its gradient of {name} differs from the reference by {gap:.1e} (relative; limit {_LARGEST_GAP:g})")


def _copies(specs: Sequence[TrialSpec], n: int) -> list[TrialSpec]:
    """Return `n` trials of the same kind with different ids."""
    return [replace(specs[i % len(specs)], trial_id=f"probe-{i}") for i in range(n)]
