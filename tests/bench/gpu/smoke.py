"""The stage `smoke`: everything that a sweep does on a device, once and with small sizes. All failures are reported, not only the first."""

import gc
import importlib
import os
import platform
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.bench.gpu.goals import MODEL
from tests.bench.gpu.measuring import (
    BACKENDS,
    Job,
    clocks,
    noise_problem,
    pack,
    profiled,
    quick_settings,
    release,
    trials,
    wait,
    without_tf32,
)
from tests.bench.gpu.record import SkippedError
from trainer.api import (
    Problem,
    Split,
    Stream,
    Task,
    Timing,
    TrainingSettings,
    TrialSpec,
    energy_meter,
    fits,
    from_bytes,
    start,
    timed_backend,
    to_bytes,
)
from trainer.catalog import METHODS
from trainer.pack.device import BackendMissingError, Place
from trainer.settings import EvolutionSettings, GrowlSettings, OnePhaseSettings, RetrainSettings
from trainer.training.two_phase import TwoPhase

_NEEDED = ("numpy", "scipy", "sklearn", "safetensors")
_OPTIONAL = ("triton", "pynvml", "pymoo")
_OF_SCIKIT_LEARN = "phase 1 ends with its affinity propagation (trainer/objectives/tying.py): no sparse trial can be trained without it"


def smoke(job: Job) -> None:
    """Run the stage `smoke`."""
    _machine(job)
    with without_tf32():
        _backends(job)
        _settings_and_methods(job)
        _memory(job)
    _choices(job)


def train(
    job: Job,
    specs: Sequence[TrialSpec],
    problem: Problem,
    backend: str = "packed",
    resume_at: int | None = None,
    measures: bool = True,
    is_recorded: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Train a pack to the end, as a worker does.

    Args:
        job: the device.
        specs, problem, backend, more: as for `trainer.api.start`.
        resume_at: the epoch after which the training is resumed from its checkpoint; None to train without interruption.
        measures: whether the results are measured too; tracing the networks takes seconds of the CPU.
        is_recorded: whether a note on steps that were not recorded as a CUDA graph is a failure.

    Returns:
        The number of epochs; if the results are measured, also the backend and the notes of the first trial.

    Raises:
        AssertionError: a trial is not `ok`, or its steps were not recorded.
        SkippedError: this machine lacks what the backend needs, and the device is not a GPU.
    """

    def begin(**also: Any) -> Any:
        try:
            return start(specs, problem, device=job.device_name, backend=backend, **more, **also)
        except BackendMissingError as error:
            if job.is_gpu:
                raise
            raise SkippedError(str(error)) from error

    training = begin()
    while not training.done:
        training.step()
        if training.epoch == resume_at:
            training = begin(state=from_bytes(to_bytes(training.state_dict())))
    if not measures:
        return {"epochs": training.epoch}
    results = training.results()
    measured = results[0].measurements
    not_ok = [f"{result.trial_id} {result.state}: {result.error}" for result in results if result.state != "ok"]
    unrecorded = [note for note in measured.notes if "CUDA graph" in note]
    if not_ok or (unrecorded and is_recorded):
        raise AssertionError("; ".join((*not_ok, *unrecorded)))
    return {"epochs": training.epoch, "backend": measured.backend, "notes": measured.notes}


def _machine(job: Job) -> None:
    item = job.record.item
    item("versions", _versions)
    for package in _NEEDED:
        item(f"imports {package}", lambda package=package: _import(package))
    item("device", lambda: _device(job))
    item("matrix product", lambda: _product(job.device))


def _versions() -> dict[str, Any]:
    found = {"python": sys.version, "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    for package in (*_NEEDED, *_OPTIONAL):
        try:
            found[package] = getattr(importlib.import_module(package), "__version__", "unknown")
        except ImportError:
            found[package] = None
    compilers = {name: shutil.which(name) for name in ("cc", "gcc", "clang", "nvcc", "ncu")}
    return found | {"compilers": compilers, "host": platform.platform(), "cpus": os.cpu_count(), "load_average": list(os.getloadavg())}


def _import(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        why = _OF_SCIKIT_LEARN if package == "sklearn" else "the trainer needs it"
        raise ImportError(f"{package} is missing ({error}): {why}") from error


def _device(job: Job) -> dict[str, Any]:
    flags = {
        "allow_tf32_matmul": _flag(lambda: torch.backends.cuda.matmul.allow_tf32),
        "allow_tf32_cudnn": _flag(lambda: torch.backends.cudnn.allow_tf32),
        "float32_matmul_precision": _flag(torch.get_float32_matmul_precision),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }
    if not job.is_gpu:
        return {"name": platform.processor() or platform.machine(), **flags}
    smi = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False) if shutil.which("nvidia-smi") else None
    return {
        "name": torch.cuda.get_device_name(job.device),
        "properties": str(torch.cuda.get_device_properties(job.device)),
        "free_and_total_bytes": list(torch.cuda.mem_get_info(job.device)),
        "clocks": clocks(job.device),
        "nvidia_smi": smi.stdout[:3000] if smi else None,
        **flags,
    }


def _flag(read: Callable[[], Any]) -> Any:
    """Return a flag of torch, or the message with which torch refuses to read it because its older and newer interfaces were mixed."""
    try:
        return read()
    except RuntimeError as error:
        return str(error)


def _product(device: torch.device) -> None:
    values = torch.arange(1024.0, device=device).reshape(32, 32)
    if not torch.equal((values @ torch.eye(32, device=device)).cpu(), values.cpu()):
        raise AssertionError("a matrix times the identity differs from the matrix")


class _Sizes:
    """The sizes and problems of this stage."""

    def __init__(self, job: Job) -> None:
        self.batch = 8 if job.tiny else 64
        n_train = self.batch * (3 if job.tiny else 6) + 5  # with a last minibatch of another size
        self.mnist = noise_problem("multimnist", n_train)
        self.cifar = noise_problem("cifar10mnist", n_train)
        self.settings = quick_settings(self.batch)
        # Rows of a Linear layer are initially far from each other; with this preference they form clusters, so that rows are tied.
        self.ties = replace(self.settings, tying=replace(self.settings.tying, preference=-0.5, max_iterations=100))


def _backends(job: Job) -> None:
    item, sizes = job.record.item, _Sizes(job)
    small = sizes.batch
    for backend in ("loop", *job.backends):
        is_measured = not job.tiny or backend == "loop"
        # `loop` runs one model after the other, so its steps need no graph.
        item(
            f"trains with {backend}",
            lambda b=backend, m=is_measured: train(job, trials(job.model, 2, sizes.settings, 0.05), sizes.mnist, b, measures=m),
        )
    for backend in job.backends:
        item(f"records steps of {backend}", lambda backend=backend: _is_recorded(job, sizes.mnist, backend, small))
    for name, problem, model in (("cifar10mnist mdmtn", sizes.cifar, MODEL), ("mtan", sizes.mnist, "mtan"), ("hps", sizes.mnist, "hps")):
        for backend in ("packed", "packed+pool", "packed+kernel"):
            specs = trials(model, 2, sizes.settings, 0.02)
            item(f"{name} with {backend}", lambda s=specs, p=problem, b=backend: train(job, s, p, b, measures=False))
    item("resumes in phase 1", lambda: train(job, trials("hps", 2, sizes.ties, 0.05), sizes.mnist, resume_at=1, measures=not job.tiny))
    item(
        "resumes in phase 2 with ties",
        lambda: train(job, trials("hps", 2, sizes.ties, 0.05), sizes.mnist, resume_at=3, measures=not job.tiny),
    )
    item("a step that cannot be recorded", lambda: _cannot_be_recorded(job, sizes))


def _is_recorded(job: Job, problem: Problem, backend: str, batch: int) -> dict[str, Any]:
    try:
        training = pack(problem, 2, job.device, backend, batch)
    except BackendMissingError as error:
        if job.is_gpu:
            raise
        raise SkippedError(str(error)) from error
    training.take_steps(8)
    found = profiled(training, job.device)
    if job.is_gpu and found["graph_launches"] < 1:
        raise AssertionError(f"no CUDA graph was launched in 4 steps after 8 others: {getattr(training, '_own_notes', '')}")
    return {name: found[name] for name in ("kernels_a_step", "copies_a_step", "graph_launches")}


def _cannot_be_recorded(job: Job, sizes: _Sizes) -> dict[str, Any]:
    """Train with a loss that waits for the device, which no graph can record, so the training has to continue without one."""
    first, second = sizes.mnist.tasks

    def waiting(output: Tensor, target: Tensor) -> Tensor:
        wait(job.device)
        return first.loss(output, target)

    tasks = (Task("a", waiting, first.metric, first.metric_name, first.guess_loss), second)
    found = train(job, trials("hps", 2, sizes.settings, 0.0), replace(sizes.mnist, tasks=tasks), measures=job.is_gpu, is_recorded=False)
    if job.is_gpu:
        if not any("CUDA graph" in note for note in found["notes"]):
            raise AssertionError("no note says that the steps were not recorded")
        if torch.cuda.current_stream(job.device) != torch.cuda.default_stream(job.device):
            raise AssertionError("the stream of the recording is still the current one")
        torch.empty(1 << 28, device=job.device)  # a capture that has not ended would make it fail
    return found


class _Samples:
    """The samples of a split, one by one."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._split.inputs[index], self._split.targets[index]


def _settings_and_methods(job: Job) -> None:
    sizes = _Sizes(job)
    base, problem = sizes.settings, sizes.mnist
    changes: Mapping[str, TrainingSettings] = {
        "groups: channel": replace(base, growl=GrowlSettings(groups="channel")),
        "prox: step": replace(base, growl=GrowlSettings(prox="step")),
        "pattern: linear": replace(base, growl=GrowlSettings(pattern="linear")),
        "scalarization: paper": replace(base, scalarization="paper"),
        "scalarization: weighted_sum": replace(base, scalarization="weighted_sum"),
        "scalarization: smooth_chebyshev": replace(base, scalarization="smooth_chebyshev"),
        "optimizer: sgd": replace(base, optimizer="sgd"),
        "objectives: all": replace(base, retrain=RetrainSettings(1, 2, "all")),
    }
    item = job.record.item
    for name, settings in changes.items():
        item(name, lambda s=settings: train(job, trials("hps", 2, s, 0.02), problem, measures=False))
    item("scaling: anchors", lambda: train(job, trials("hps", 2, base, 0.02, scaling="anchors"), problem, measures=False))
    pruned = {name: value.detach().clone() for name, value in problem.networks["hps"]().state_dict().items()}
    pruned["trunk.3.weight"][:, 2] = 0
    warm = trials("hps", 2, replace(base, warm_start="neighbour"), 0.02)
    item("warm_start: neighbour", lambda: train(job, warm, problem, measures=False, starts=[pruned, None]))
    streamed = replace(problem, train=Stream(_Samples(problem.train), 1), validation=Stream(_Samples(problem.validation), 1))  # type: ignore[arg-type]
    item("streams with a reading process", lambda: train(job, trials("hps", 2, base, 0.02), streamed, measures=False))
    for method in METHODS:
        if method != "wcal_growl":
            item(f"method {method}", lambda method=method: _method(job, method, problem, base, pruned))


def _method(job: Job, method: str, problem: Problem, base: TrainingSettings, pruned: Mapping[str, Tensor]) -> dict[str, Any]:
    entry = METHODS[method]
    if entry.needs is not None and importlib.util.find_spec(entry.needs[0]) is None:
        raise SkippedError(f"{entry.needs[0]} is not installed")
    settings = replace(base, one_phase=OnePhaseSettings(epochs=2), evolution=EvolutionSettings(generations=2, n_samples=64))
    model = entry.model or "hps"
    preference = (0.0, 0.4, 0.6) if entry.has_preferences else None
    specs = [TrialSpec("a", model, method, preference, 0, settings)]
    if entry.has_preferences:
        specs.append(replace(specs[0], trial_id="b", preference=(0.0, 0.7, 0.3)))
    given = {"teachers": problem.networks["stl"]().state_dict(), "architecture": pruned, "start": pruned}.get(entry.inherits or "")
    return train(job, specs, problem, "auto", resume_at=1, measures=not job.tiny, given=given)


def _memory(job: Job) -> None:
    item, sizes = job.record.item, _Sizes(job)
    item("memory is released without the garbage collector", lambda: _is_freed(job, sizes))
    item("training continues after lack of memory", lambda: _out_of_memory(job, sizes))


def _is_freed(job: Job, sizes: _Sizes) -> dict[str, list[float]]:
    """Delete a training while the garbage collector is off, and check that its memory is released at once."""
    if not job.is_gpu:
        raise SkippedError("only a GPU counts its memory")

    def mib() -> list[float]:
        torch.cuda.empty_cache()
        return [n / 2**20 for n in (torch.cuda.memory_allocated(job.device), torch.cuda.memory_reserved(job.device))]

    release()
    gc.disable()
    try:
        before = mib()
        training = pack(sizes.mnist, 8, job.device, "packed", sizes.batch)
        training.take_steps(6)
        held, reference = mib(), weakref.ref(training)
        del training
        after = mib()
        is_alive = reference() is not None
    finally:
        gc.enable()
    found = {"allocated and reserved MiB before": before, "with a training": held, "without it": after}
    if is_alive:
        raise AssertionError(f"a deleted training keeps its memory until the garbage collector runs: {found}")
    return found


def _out_of_memory(job: Job, sizes: _Sizes) -> None:
    if not job.is_gpu:
        raise SkippedError("only a GPU's memory can be limited")
    large = noise_problem("multimnist", 256 * 4)
    torch.cuda.set_per_process_memory_fraction(0.01, job.device)
    try:
        pack(large, 90, job.device, "packed", 256).take_steps(6)
    except torch.OutOfMemoryError:
        pass
    else:
        raise AssertionError("90 models fit into a hundredth of the memory")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, job.device)
        release()
    pack(sizes.mnist, 2, job.device, "packed", sizes.batch).take_steps(6)


def _choices(job: Job) -> None:
    """Run what a worker measures before its first pack, with torch's default flags, as in a worker."""
    item = job.record.item
    batch = 16 if job.tiny else 256
    problem, specs = noise_problem("multimnist", batch * 4), trials(MODEL, 8, quick_settings(batch))

    def fitting() -> dict[str, Any]:
        return {"models": fits(specs, problem, device=job.device_name, backend="packed")}

    def timed() -> dict[str, Any]:
        timings: list[Timing] = []

        def settle(measure: Callable[[], Timing]) -> str:
            timings.append(measure())
            return timings[0].backend

        backend = timed_backend(specs, problem, device=job.device_name, settle=settle)
        if not timings:
            return {"backend": backend}
        step_s, failures = timings[0].step_s, timings[0].failures
        missing = {one: failures.get(one, "not timed") for one in BACKENDS if one not in step_s}
        if missing:
            raise AssertionError(f"{missing}; {backend} is the fastest of {dict(step_s)}")
        return {"backend": backend, "us_a_model_step": {name: 1e6 * seconds for name, seconds in step_s.items()}}

    item("size of the largest pack", fitting)
    item("choice of the backend", timed)
    item("energy", lambda: _energy(job))


def _energy(job: Job) -> dict[str, Any]:
    meter = energy_meter(job.device)
    if meter is None:
        raise SkippedError("nothing measures the energy of this device")
    end = meter.begin()
    training = TwoPhase(trials("hps", 2, quick_settings(64)), noise_problem("multimnist", 256), Place(job.device, "packed"))
    training.take_steps(10 if job.tiny else 2000)
    wait(job.device)
    used = end()
    return {"joules": None if used is None else used.joules, "is_estimate": None if used is None else used.is_estimate}
