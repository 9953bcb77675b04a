"""The stage `correctness`: whether each backend on the device computes what `loop` computes on the CPU in float64, also after resuming."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tests.bench.gpu.goals import MODEL
from tests.bench.gpu.measuring import (
    Blocks,
    Job,
    largest_gap,
    launched_one_by_one,
    noise_problem,
    quick_settings,
    trials,
    without_tf32,
)
from tests.bench.gpu.record import SkippedError
from trainer.api import Problem, State, TrialSpec, from_bytes, start, to_bytes
from trainer.pack.backends import pack_of
from trainer.pack.device import BackendMissingError, Place
from trainer.training.two_phase import TwoPhase

GRADIENT_LIMITS = {torch.float64: 1e-10, torch.float32: 2e-3}
"""Largest permitted relative difference of a parameter's gradient, by type; in float32, sums of 100,000 products have rounding errors."""
SCHEDULE_LIMIT = 1e-6
"""Largest permitted relative difference of a parameter after a short schedule in float64. On a GPU PyTorch's fused Adam may read its
learning rate in float32, which differs from the CPU's by 1e-8."""
SAME_DEVICE_LIMIT = 1e-8
"""As `SCHEDULE_LIMIT`, but between two trainings on one device; Adam amplifies rounding errors."""
KERNEL_LIMITS = {torch.float64: 1e-10, torch.float32: 1e-3}
"""Largest permitted relative difference between the gradients of the Triton kernel and of PyTorch's layers, by type."""
_FLOOR = 1e-2
"""Smallest denominator of a gradient's relative difference, as a share of the norm of all gradients together."""
_CPU = torch.device("cpu")


def correctness(job: Job) -> None:
    """Run the stage `correctness`."""
    with without_tf32():
        cases = _Cases(job)
        item = job.record.item
        for shape in ("multimnist",) if job.tiny else ("multimnist", "cifar10mnist"):
            for dtype in GRADIENT_LIMITS:
                for backend in ("loop", *job.backends):
                    name = f"gradients of {backend}, {shape}, {str(dtype).removeprefix('torch.')}"
                    item(name, lambda b=backend, s=shape, d=dtype: cases.gradients(b, s, d))
        for model in dict.fromkeys((job.model, "hps")):
            for backend in job.backends:
                item(f"schedule of {backend}, {model}", lambda b=backend, m=model: cases.schedule(b, m))
        for backend in job.backends:
            item(f"graph against eager, {backend}", lambda b=backend: cases.graph(b))
        for size in (3, 5, 7):
            for dtype in KERNEL_LIMITS:
                name = f"kernel against torch, filters of {size}, {str(dtype).removeprefix('torch.')}"
                item(name, lambda n=size, d=dtype: cases.kernel(n, d))
        for epoch, where in ((1, "phase 1"), (3, "phase 2 with ties")):
            item(f"resumes in {where}", lambda e=epoch: cases.resumes(e))


class _Cases:
    """The comparisons. What the CPU computes for several of them is computed once."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._batch = 8 if job.tiny else 64
        self._n_train = self._batch * (3 if job.tiny else 6) + 5
        self._problem = cache(self._make_problem)
        self._parameters = cache(self._make_parameters)
        self._expected_gradients = cache(lambda shape: self._gradients(_CPU, "loop", shape, torch.float64))
        self._expected_state = cache(lambda model: self._trained(_CPU, "loop", model))
        self._state = cache(lambda backend, model: self._trained(job.device, backend, model))

    def gradients(self, backend: str, shape: str, dtype: torch.dtype) -> dict[str, Any]:
        """Compare the gradients of a pack's first minibatch with those of the CPU's loop in float64."""
        found = self._gradients(self._job.device, backend, shape, dtype)
        return _within(largest_gap(found, self._expected_gradients(shape), _FLOOR), GRADIENT_LIMITS[dtype])

    def schedule(self, backend: str, model: str) -> dict[str, Any]:
        """Compare the networks and clusters of rows after a short schedule in float64 with those of the CPU's loop."""
        return self._compared(self._state(backend, model), self._expected_state(model), SCHEDULE_LIMIT)

    def graph(self, backend: str) -> dict[str, Any]:
        """Compare recorded steps with the same steps launched one by one."""
        recorded = self._state(backend, "hps")
        with launched_one_by_one():
            eager = self._trained(self._job.device, backend, "hps")
        return self._compared(recorded, eager, SAME_DEVICE_LIMIT)

    def kernel(self, size: int, dtype: torch.dtype) -> dict[str, Any]:
        """Compare losses and gradients of the kernel with those of grouped convolutions, with inputs of odd sizes."""
        problem = self._problem("multimnist", dtype)
        found, expected = (self._blocks(backend, size, problem, dtype) for backend in ("packed+kernel", "packed"))
        return _within(largest_gap(found, expected, _FLOOR), KERNEL_LIMITS[dtype])

    def resumes(self, epoch: int) -> dict[str, Any]:
        """Compare a training that is resumed from its checkpoint after an epoch with one that was not interrupted."""
        return self._compared(self._trained(self._job.device, "packed", "hps", epoch), self._state("packed", "hps"), SAME_DEVICE_LIMIT)

    def _make_problem(self, shape: str, dtype: torch.dtype) -> Problem:
        return noise_problem(shape, self._n_train, dtype)

    def _specs(self, model: str) -> list[TrialSpec]:
        settings = quick_settings(self._batch)
        if model == "hps":  # this preference ties most rows; the wide layers of mdmtn would take too long to cluster with it
            settings = replace(settings, tying=replace(settings.tying, preference=-0.5, max_iterations=100))
        return trials(model, 3, settings, 0.05)

    def _gradients(self, device: torch.device, backend: str, shape: str, dtype: torch.dtype) -> dict[str, Tensor]:
        with self._job_has(backend):
            training = TwoPhase(self._specs(MODEL), self._problem(shape, dtype), Place(device, backend))
        training.pack.load(self._parameters(shape), training.pack.buffers)
        return training.first_gradients()

    def _make_parameters(self, shape: str) -> dict[str, Tensor]:
        """Return the parameters of three networks in float64, because in float32 the initialisation draws other numbers."""
        training = TwoPhase(self._specs(MODEL), self._problem(shape, torch.float64), Place(_CPU, "loop"))
        parameters = {name: value.detach().clone() for name, value in training.pack.parameters.items()}
        # Initially the second column of alpha is zero, so the gradients of all monitors are zero and would hide errors.
        parameters["alpha"] += 0.5
        return parameters

    def _trained(self, device: torch.device, backend: str, model: str, resume_at: int | None = None) -> State:
        specs, problem = self._specs(model), self._problem("multimnist", torch.float64)
        with self._job_has(backend):
            training = start(specs, problem, device=str(device), backend=backend)
        while not training.done:
            training.step()
            if training.epoch == resume_at:
                state = from_bytes(to_bytes(training.state_dict()))
                training = start(specs, problem, device=str(device), backend=backend, state=state)
        return training.state_dict()

    def _blocks(self, backend: str, size: int, problem: Problem, dtype: torch.dtype) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(size)
            network = Blocks(size, (10, 17)).to(dtype)
        with self._job_has(backend):
            pack = pack_of(network, 3, problem, Place(self._job.device, backend))
        inputs, targets = (part.to(self._job.device) for part in problem.train.first(33))
        pack.begin_epoch()
        pack.clear_gradients()
        losses = pack.backward_of_sum(inputs[:, :, :27] if size == 5 else inputs, targets)
        gradients = {name: leaf.grad for name, leaf in pack.parameters.items() if leaf.grad is not None}
        return gradients | {"losses": losses}

    def _job_has(self, backend: str) -> Any:
        """Return a context that turns a missing backend into a skipped item if the device is not a GPU."""
        return nullcontext() if self._job.is_gpu else _SkipsMissing()

    def _compared(self, found: State, expected: State, limit: float) -> dict[str, Any]:
        clusters = [dict(_group(state, "labels")) for state in (found, expected)]
        for name, labels in clusters[1].items():
            if not torch.equal(clusters[0][name].cpu(), labels.cpu()):
                raise AssertionError(f"the clusters of {name} differ in {int((clusters[0][name].cpu() != labels.cpu()).sum())} rows")
        gap = largest_gap(dict(_group(found, "parameters")), dict(_group(expected, "parameters")))
        return _within(gap, limit) | {"tied_rows": sum(_n_tied(labels) for labels in clusters[1].values())}


class _SkipsMissing:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BackendMissingError):
            raise SkippedError(str(error)) from error


def _group(state: State, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one part of a checkpoint, by their names in it."""
    return ((key, value) for key, value in state.tensors.items() if key.startswith(f"{name}/"))


def _n_tied(labels: Tensor) -> int:
    """Return how many rows share their cluster with another row of the same model; labels of shape (n_models, n_rows)."""
    counts = [row[row >= 0].unique(return_counts=True)[1] for row in labels.cpu()]
    return int(sum(count[count > 1].sum() for count in counts))


def _within(gap: tuple[float, str], limit: float) -> dict[str, Any]:
    largest, name = gap
    if not largest <= limit:
        raise AssertionError(f"{name} differs by {largest:.1e} (limit {limit:g})")
    return {"largest_gap": largest, "of": name, "limit": limit}
