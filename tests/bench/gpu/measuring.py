"""What the stages share: problems with random inputs, trials, and the measurement of times, kernels and traffic."""

import contextlib
import gc
import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

# Profiling beside CUDA graphs more than once may end the process before CUDA 12.6, unless the profiler's library stays loaded.
os.environ.setdefault("TEARDOWN_CUPTI", "0")
os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from tests.bench.gpu.goals import MODEL
from tests.bench.gpu.record import Record
from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, resolve_device
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.pack.device import BACKENDS as ALL_BACKENDS
from trainer.pack.device import Place
from trainer.pack.device_errors import is_device_error
from trainer.settings import LsuvSettings, RetrainSettings, SparsifySettings
from trainer.training.two_phase import TwoPhase

BACKENDS = tuple(sorted((backend for backend in ALL_BACKENDS if not backend.startswith("loop")), key=lambda backend: backend == "vmap"))
"""The backends that compute a whole pack at once; `vmap`, the slowest, comes last."""
SHAPES = {"multimnist": (MULTIMNIST, (1, 28, 28)), "cifar10mnist": (CIFAR10MNIST, (3, 32, 32))}
QUICK_LSUV = LsuvSettings(n_samples=32)
"""Settings of a short initialisation. The default takes seconds of the CPU, and neither times nor correctness depend on it."""


@dataclass
class Job:
    """The arguments of a stage's function: the device, the sizes, and the record of its figures."""

    device_name: str
    tiny: bool
    backend: str
    out: Path
    """The file with the results of all stages so far."""
    record: Record
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = torch.device(self.device_name)

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.type == "cuda"

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that are measured; in the tiny form, one that every machine has and one that a CPU lacks."""
        return ("packed", "packed+kernel") if self.tiny else BACKENDS

    @property
    def model(self) -> str:
        """The model of whole schedules; in the tiny form, the one whose results take the least time."""
        return "hps" if self.tiny else MODEL


def check_device(name: str) -> None:
    """Raise an error if this machine lacks the device."""
    resolve_device(name)


def wait(device: torch.device) -> None:
    """Wait until a device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_lost(error: BaseException) -> bool:
    """Return whether an error means that this process can no longer use the device, so that not even a small tensor can be made there."""
    if not is_device_error(error) or not torch.cuda.is_initialized():
        return False
    try:
        torch.zeros(1, device="cuda").sum().item()
    except RuntimeError:
        return True
    return False


def release() -> None:
    """Release the memory of a finished item."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Compute in float32 rather than TF32 within the context, so that compared values differ by rounding alone."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    set_tf32([False, False])
    try:
        yield
    finally:
        set_tf32(before)


def set_tf32(allowed: Sequence[bool]) -> None:
    """Set whether TF32 is allowed in matrix products and in convolutions, in this order."""
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def noise_problem(shape: str, n_train: int, dtype: torch.dtype = torch.float32) -> Problem:
    """Make a problem with random inputs, whose validation and test data are each a fifth of the training data, as with 50,000 and 10,000.

    Args:
        shape: `multimnist` or `cifar10mnist`.
        n_train: number of training samples.
        dtype: float32, or float64 with the same values up to rounding.
    """
    layers, size = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, *size, generator=generator).to(dtype), torch.randint(10, (n, 2), generator=generator))

    networks = {name: (lambda make=make: make().to(dtype)) for name, make in layers.networks([10, 10]).items()}
    n_other = max(40, n_train // 5)
    return Problem(
        f"noise-{shape}", (classification("a", 10), classification("b", 10)), networks, split(n_train), split(n_other), split(n_other)
    )


def quick_settings(batch_size: int, **changes: Any) -> TrainingSettings:
    """Return settings with a short schedule: two epochs of phase 1 and two of phase 2."""
    short = {"sparsify": SparsifySettings(2, 1), "retrain": RetrainSettings(1, 2), "lsuv": QUICK_LSUV}
    return TrainingSettings(batch_size=batch_size, **(short | changes))


def trials(model: str, n: int, settings: TrainingSettings, k0: float = 1e-3, scaling: Any = "none") -> list[TrialSpec]:
    """Make `n` trials with preferences spread over the two tasks."""
    shares = [(1 - k0) * (i + 1) / (n + 1) for i in range(n)]
    return [
        TrialSpec(f"{model}-{i}", model, "wcal_growl", (k0, share, 1 - k0 - share), 0, settings, scaling) for i, share in enumerate(shares)
    ]


def pack(problem: Problem, n: int, device: torch.device, backend: str, batch_size: int, model: str = MODEL) -> TwoPhase:
    """Start a pack whose steps are measured."""
    return TwoPhase(trials(model, n, quick_settings(batch_size)), problem, Place(device, backend))


class Blocks(nn.Module):
    """Blocks of convolution, 2x2 max-pooling and relu, as the published networks begin, with small heads for two tasks.

    Args:
        size: the size of the filters.
        widths: output channels of each block.
    """

    def __init__(self, size: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = zip((1, *widths), widths, strict=False)
        layers = [layer for before, width in pairs for layer in (nn.Conv2d(before, width, size), nn.MaxPool2d(2), nn.ReLU())]
        self.blocks, self.pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], 10) for _ in range(2))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Map inputs of shape (n, 1, height, width) to one output of shape (n, 10) for each task."""
        features = self.pool(self.blocks(inputs)).flatten(1)
        return [head(features) for head in self.heads]


@contextlib.contextmanager
def launched_one_by_one() -> Iterator[None]:
    """Trainings that begin within the context do not record their steps as CUDA graphs."""
    with mock.patch("trainer.training.two_phase.recorder_for", return_value=None):
        yield


def timings(function: Callable[[], object], device: torch.device, least_s: float = 0.2, least: int = 3, most: int = 200) -> list[float]:
    """Return the seconds of each call of a function, after one call that is not timed; on a GPU they are measured by events.

    Args:
        function: is called again and again.
        device: the device on which it runs.
        least_s: seconds for which calls are repeated at least.
        least: minimum number of calls, even if they take longer.
        most: maximum number of calls, even if they take less time.
    """
    function()
    wait(device)
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < most and (len(found) < least or time.perf_counter() - started < least_s):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            end.synchronize()
            found.append(begin.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter()
            function()
            found.append(time.perf_counter() - began)
    return found


def median_s(function: Callable[[], object], job: Job, least_s: float = 0.2) -> float:
    """Return the median seconds of a call; in the tiny form, of two calls."""
    return statistics.median(timings(function, job.device, *((0.0, 2, 2) if job.tiny else (least_s,))))


def profiled(training: TwoPhase, device: torch.device, n_steps: int = 4) -> dict[str, Any]:
    """Count the kernels of a step with torch.profiler; on a CPU, its operations.

    Returns:
        kernels_a_step, copies_a_step (and fills), busy_us_a_step (the sum of their times), graph_launches (of all steps), and `top`, the
        kernels that take longest as [name, number per step, microseconds per step].
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    is_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]) as found:
        training.take_steps(n_steps)
        wait(device)
    kind = DeviceType.CUDA if is_gpu else DeviceType.CPU
    own = [event for event in found.events() if event.device_type == kind and not _is_annotation(event)]
    totals: dict[str, list[float]] = {}
    for event in own:
        of_name = totals.setdefault(event.name[:110], [0, 0.0])
        of_name[0] += 1 / n_steps
        of_name[1] += (event.time_range.elapsed_us() if is_gpu else event.self_cpu_time_total) / n_steps
    copies = sum(total[0] for name, total in totals.items() if name.startswith(("Memcpy", "Memset")))
    top = sorted(totals.items(), key=lambda pair: -pair[1][1])[:25]
    return {
        "kernels_a_step": sum(total[0] for total in totals.values()) - copies,
        "copies_a_step": copies,
        "busy_us_a_step": sum(total[1] for total in totals.values()),
        "graph_launches": sum("GraphLaunch" in event.name for event in found.events()),
        "top": [[name, round(total[0], 2), round(total[1], 2)] for name, total in top],
    }


def _is_annotation(event: Any) -> bool:
    """Return whether an event is a range that contains kernels, such as `Optimizer.step`, not a kernel."""
    return bool(getattr(event, "is_user_annotation", False)) or event.name.startswith(("Optimizer.", "ProfilerStep"))


class Traffic(TorchDispatchMode):
    """Counts operations, and the bytes of the tensors that they read and write; views and allocations do not count.

    Attributes:
        n_operations: number of operations and Triton kernels.
        n_bytes: sum over them of the bytes of all tensors that they read, and of all that they write.
    """

    _ALLOCATES = frozenset(("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"))
    _OVERWRITES = frozenset(("zero_", "fill_", "copy_"))

    def __init__(self) -> None:
        super().__init__()
        self.n_operations = self.n_bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        kwargs = kwargs or {}
        outputs = function(*args, **kwargs)
        schema = function._schema
        name = schema.name.partition("::")[2]
        results = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
        written = [given.get(argument.name) for argument in schema.arguments if argument.alias_info and argument.alias_info.is_write]
        read = [value for key, value in given.items() if not (name in self._OVERWRITES and key == "self")]
        inputs = _tensors(read)
        is_view = not schema.is_mutable and bool(results) and all(_storage(one) in map(_storage, inputs) for one in results)
        if not is_view and name not in self._ALLOCATES:
            self.add(inputs, _tensors(written) if schema.is_mutable else results)
        return outputs

    def add(self, read: list[Tensor], written: list[Tensor]) -> None:
        """Count one operation."""
        self.n_operations += 1
        self.n_bytes += sum(min(one.numel() * one.element_size(), one.untyped_storage().nbytes()) for one in (*read, *written))


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def traffic_of_step(training: TwoPhase) -> Traffic:
    """Count the operations and bytes of one step of a new training, whose first steps are not recorded, so that each operation is seen.

    A Triton kernel counts as one operation that reads or writes each of its tensors once.
    """
    with Traffic() as first, _seen_kernels(first):
        training.take_steps(1)
    with Traffic() as second, _seen_kernels(second):
        training.take_steps(1)
    # The first step also creates the optimizer's moments; the second could already be a replay, which hides the operations.
    return second if 2 * second.n_operations > first.n_operations else first


@contextlib.contextmanager
def _seen_kernels(traffic: Traffic) -> Iterator[None]:
    """Count Triton's kernels too, which no dispatch mode sees."""
    try:
        from triton.runtime.jit import JITFunction
    except ImportError:
        yield
        return
    run = JITFunction.run

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        traffic.add(_tensors((args, kwargs)), [])
        return run(self, *args, **kwargs)

    with mock.patch.object(JITFunction, "run", counted):
        yield


_CLOCKS = "clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu,pstate,mig.mode.current,driver_version"


def clocks(device: torch.device) -> dict[str, str] | None:
    """Return clocks, power and temperature of the GPU as nvidia-smi reads them now; None on a CPU or without nvidia-smi."""
    if device.type != "cuda":
        return None
    command = ["nvidia-smi", f"--query-gpu={_CLOCKS}", "--format=csv,noheader", f"--id={_smi_id(device)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(zip(_CLOCKS.split(","), (value.strip() for value in done.stdout.split(",")), strict=False))


def _smi_id(device: torch.device) -> str:
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def largest_gap(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], floor: float = 0.0) -> tuple[float, str]:
    """Return the largest relative difference between tensors of the same names, ||a - b|| / ||b||, and the name of that tensor.

    Args:
        found, expected: name -> tensor, on any devices.
        floor: the smallest denominator, as a share of the norm of all expected tensors together. Some gradients are zero except for
            rounding, such as that of a bias before a batch norm, and have no relative difference.

    Raises:
        AssertionError: the names differ, or a tensor is not finite.
    """
    if found.keys() != expected.keys():
        raise AssertionError(f"tensors {sorted(expected)} expected, found {sorted(found)}")
    gaps = {}
    least = max(1e-300, floor * math.sqrt(sum(float(value.detach().double().square().sum()) for value in expected.values())))
    for name, value in expected.items():
        own, other = found[name].detach().double().cpu(), value.detach().double().cpu()
        if not own.isfinite().all():
            raise AssertionError(f"{name} is not finite")
        gaps[name] = float((own - other).norm() / other.norm().clamp(min=least))
    worst = max(gaps, key=lambda name: gaps[name])
    return gaps[worst], worst
