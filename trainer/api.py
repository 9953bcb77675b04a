"""The public interface of the trainer: `start` a pack and `step` it epoch by epoch, or `train` it to the end.

from trainer.api import TrainingSettings, TrialSpec, train
from trainer.catalog import PROBLEMS

entry = PROBLEMS["multidigits"]
problem = entry.build(entry.options(n_train=3000))
spec = TrialSpec("a", "mdmtn", "wcal_growl", (0.003, 0.5, 0.497), seed=0, settings=TrainingSettings())
(result,) = train([spec], problem)
print(result.mean_accuracy("test"), result.measurements.rows.sparsity_rate)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from trainer.catalog import METHODS, resolve
from trainer.energy.device import energy_meter
from trainer.energy.meter import EnergyMeter
from trainer.pack.device import DeviceMissingError, Place, exclusive_use
from trainer.problems.custom.check import check_batches, check_problem
from trainer.problems.custom.source import ProblemError
from trainer.problems.facts import ProblemFacts
from trainer.problems.problem import Problem, Split, Stream, Task, classification, regression
from trainer.settings import TrainingSettings
from trainer.training.autotune import CudaMemory, NoBackendError, Timing, fastest_backend, largest_pack
from trainer.training.checkpoint import CheckpointError, State, from_bytes, model_tensors, to_bytes
from trainer.training.trial import EpochMeasurements, TrialMeasurements, TrialResult, TrialSpec
from trainer.training.two_phase import TwoPhase
from trainer.training.usage import Usage

__all__ = [
    "CheckpointError",
    "EnergyMeter",
    "EpochMeasurements",
    "NoBackendError",
    "Problem",
    "ProblemError",
    "ProblemFacts",
    "Split",
    "State",
    "Stream",
    "Task",
    "Timing",
    "Training",
    "TrainingSettings",
    "TrialMeasurements",
    "TrialResult",
    "TrialSpec",
    "Usage",
    "check_batches",
    "check_problem",
    "classification",
    "energy_meter",
    "fits",
    "from_bytes",
    "model_tensors",
    "regression",
    "resolve_device",
    "start",
    "timed_backend",
    "to_bytes",
    "train",
]


class Training(Protocol):
    """The training of one pack: call `step` until `done`, then read `results`."""

    epoch: int
    n_epochs: int

    @property
    def done(self) -> bool:
        """Whether the last epoch is over."""

    def step(self) -> None:
        """Train one epoch."""

    def state_dict(self) -> State:
        """Return everything that is needed to continue later."""

    def progress(self) -> dict[str, float | str]:
        """Return the current phase, epoch and key figures for display."""

    def usage(self) -> Usage:
        """Return the time and energy that each trial has used so far."""

    def results(self) -> list[TrialResult]:
        """Return the results of the trials, in the order of the specs."""


def start(
    specs: Sequence[TrialSpec],
    problem: Problem,
    *,
    device: str = "cpu",
    backend: str = "auto",
    n_threads: int = 1,
    meter: EnergyMeter | None = None,
    state: State | None = None,
    given: Mapping[str, Tensor] | None = None,
    starts: Sequence[Mapping[str, Tensor] | None] | None = None,
) -> Training:
    """Start to train a pack, or continue from a checkpoint.

    Args:
        specs: the trials. They differ only in `trial_id` and `preference`, and either all of them or none have k0 = 0.
        problem: the problem, with its data and networks.
        device: `auto`, `cpu`, `cuda` or another torch device with 64-bit floats, which Apple's `mps` lacks.
        backend: how the pack's forward and backward passes are computed, one of `trainer.pack.device.BACKENDS`; `auto` selects the device's
            default.
        n_threads: CPU threads that cluster the rows of the pack's models in parallel; results do not depend on it.
        meter: measures the energy of the device; `energy_meter` returns this machine's meter. With None, energy is not measured.
        state: an earlier `state_dict()` that includes these trials (it may include more); None to start from the beginning.
        given: the parameters of an earlier trial's network, name -> tensor, for a method that inherits a network
            (`trainer.catalog.METHODS` says which); `model_tensors` reads them from its file.
        starts: for sparse trials with `warm_start: neighbour`, the parameters and buffers of the network that each trial starts from, or
            None for the initial network; for all other trials, None instead of the sequence.

    Raises:
        ValueError: the specs are inconsistent with each other or with the problem; the message names the value.
        ImportError: this machine or device lacks a package that the backend needs.
    """
    _check(specs, problem, state)
    entry = METHODS[specs[0].method]
    if (entry.inherits is None) != (given is None):
        raise ValueError(f"method {specs[0].method} inherits {entry.inherits or 'nothing'}, found given = {given and list(given)}")
    is_warm = entry.prunes and not specs[0].is_dense and specs[0].settings.warm_start == "neighbour"
    if is_warm != (starts is not None):
        rule = "a network or None for each trial" if is_warm else "no networks, as warm_start is none or nothing is pruned"
        raise ValueError(f"start expects starts to be {rule}, found {starts and len(starts)}")
    inherited = given if starts is None else starts
    arguments = (
        specs,
        problem,
        Place(resolve_device(device), backend, n_threads, meter),
        state,
        *(() if inherited is None else (inherited,)),
    )
    training: Training = resolve(entry.path)(*arguments)
    return training


def fits(specs: Sequence[TrialSpec], problem: Problem, *, device: str, backend: str = "auto", share: float = 1.0) -> int | None:
    """Return how many of these trials fit into one pack on a CUDA device; None for other devices and for methods that are not packable.

    Args:
        specs, problem, device, backend: as for `start`.
        share: the share of the device's memory that this process may use, in (0, 1].
    """
    torch_device = resolve_device(device)
    if torch_device.type != "cuda" or not METHODS[specs[0].method].packable:
        return None
    TwoPhase.prepare(specs[0], problem)
    with exclusive_use(torch_device):
        return largest_pack(specs, problem, Place(torch_device, backend), CudaMemory(torch_device), share)


def timed_backend(
    specs: Sequence[TrialSpec], problem: Problem, *, device: str, settle: Callable[[Callable[[], Timing]], str]
) -> str | None:
    """Choose the backend for these trials on a CUDA device by measurement.

    Args:
        specs, problem, device: as for `start`.
        settle: is called with a function that measures the backends, and returns the name of the one to use. All other workers of the
            device wait while it runs. If it publishes its choice, they can read it when it is their turn, and need not measure again.

    Returns:
        The name that `settle` returned; None if there is nothing to choose, as for `fits`.

    Raises:
        NoBackendError: no backend can train this network on this device.
        RuntimeError, MemoryError: memory is insufficient for one model, or the device was lost.
    """
    torch_device = resolve_device(device)
    if torch_device.type != "cuda" or problem.is_small or not METHODS[specs[0].method].packable:
        return None
    TwoPhase.prepare(specs[0], problem)
    with exclusive_use(torch_device):
        return settle(lambda: fastest_backend(specs, problem, Place(torch_device), CudaMemory(torch_device), len(specs)))


def train(
    specs: Sequence[TrialSpec],
    problem: Problem,
    *,
    device: str = "cpu",
    backend: str = "auto",
    given: Mapping[str, Tensor] | None = None,
    starts: Sequence[Mapping[str, Tensor] | None] | None = None,
) -> list[TrialResult]:
    """Train a pack to the end; arguments and errors are those of `start`."""
    training = start(specs, problem, device=device, backend=backend, given=given, starts=starts)
    while not training.done:
        training.step()
    return training.results()


def resolve_device(name: str) -> torch.device:
    """Return the device of this name; `auto` is CUDA if available, otherwise the CPU.

    Raises:
        DeviceMissingError: this machine does not have the device, or the trainer cannot use it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    if kind == "mps":
        raise DeviceMissingError("device mps has no 64-bit floats, which the trainer needs; resources.device: auto uses CUDA or the CPU")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceMissingError(f"device {name} is not available here; resources.device: auto uses what is available")
    return torch.device(name)


def _check(specs: Sequence[TrialSpec], problem: Problem, state: State | None) -> None:
    if not specs:
        raise ValueError("start expects at least one trial, found specs = []")
    first = specs[0]
    if first.method not in METHODS:
        raise ValueError(f"the trainer has methods {', '.join(METHODS)}, found method = {first.method}")
    for spec in specs:
        if replace(spec, trial_id=first.trial_id, preference=first.preference) != first:
            raise ValueError(f"start expects trials that differ only in trial_id and preference, found {spec} beside {first}")
        _check_preference(spec, first, problem)
        if state is not None and spec.trial_id not in state.trial_ids:
            raise ValueError(f"start expects a state that includes trial {spec.trial_id}, found {state.trial_ids}")
    if first.model not in problem.networks:
        raise ValueError(f"problem {problem.name} has models {', '.join(problem.networks)}, found model = {first.model}")
    if first.settings.selection == "accuracy" and all(task.metric_name != "accuracy" for task in problem.tasks):
        raise ValueError(f"selection: accuracy expects a task with an accuracy, found tasks {', '.join(t.name for t in problem.tasks)}")


def _check_preference(spec: TrialSpec, first: TrialSpec, problem: Problem) -> None:
    entry, n = METHODS[spec.method], 1 + len(problem.tasks)
    if not entry.has_preferences or spec.preference is None:
        if entry.has_preferences or spec.preference is not None:
            needs = "a preference" if entry.has_preferences else "no preference"
            raise ValueError(f"method {spec.method} has {needs}, found preference = {spec.preference}")
        return
    if len(spec.preference) != n:
        raise ValueError(f"start expects {n} preferences (sparsity and tasks), found {spec.preference}")
    if spec.is_dense != first.is_dense:
        raise ValueError(f"start expects k0 = 0 in all trials of a pack or in none, found {spec.preference} beside {first.preference}")
    if not entry.prunes and not spec.is_dense:
        raise ValueError(f"method {spec.method} does not prune: k0 = 0 expected, found {spec.preference}")
