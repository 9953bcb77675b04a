"""The stages `ceilings`, `layers` and `steps`: how fast the device is, each form of a layer, and a step of each backend."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.bench.gpu.goals import BATCH, N_MODELS, step_item
from tests.bench.gpu.measuring import (
    Blocks,
    Job,
    clocks,
    launched_one_by_one,
    median_s,
    noise_problem,
    pack,
    profiled,
    release,
    set_tf32,
    timings,
    traffic_of_step,
    wait,
)
from tests.bench.gpu.record import SkippedError
from trainer.api import Problem
from trainer.pack.backends import pack_of
from trainer.pack.device import BackendMissingError, Place
from trainer.training.two_phase import TwoPhase

PACKS = (90, 1, 30, 8)
"""Sizes of packs. The largest comes first, because it matters most if the stage is cut."""
_ALSO_ONE_BY_ONE = (1, 90)
_COPY_BYTES = 1 << 30
_WARM_UP, _ROUND = 20, 100
"""Number of steps before the first time is taken, and number of steps in a round; there are at least two rounds."""


def ceilings(job: Job) -> None:
    """Run the stage `ceilings`."""
    item = job.record.item
    item("copy", lambda: _copy(job))
    for name, dtype, tf32 in (("float32", torch.float32, False), ("tf32", torch.float32, True), ("bfloat16", torch.bfloat16, False)):
        item(f"matrix product, {name}", lambda d=dtype, t=tf32: _product(job, d, t))
    item("small kernels", lambda: _small_kernels(job))
    item("clocks after load", lambda: clocks(job.device))


def _copy(job: Job) -> dict[str, float]:
    """Copy a tensor that is much larger than any cache, and count both the bytes that are read and those that are written."""
    n_bytes = _COPY_BYTES >> 8 if job.tiny else _COPY_BYTES
    source = torch.randn(n_bytes // 4, device=job.device)
    target = torch.empty_like(source)
    found = timings(lambda: target.copy_(source), job.device, 0.5)
    rates = [2 * n_bytes / seconds / 1e9 for seconds in found]
    return {"gb_s": statistics.median(rates), "least_gb_s": min(rates), "most_gb_s": max(rates), "mib": n_bytes / 2**20}


def _product(job: Job, dtype: torch.dtype, tf32: bool) -> dict[str, float]:
    n = 128 if job.tiny else 8192
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    a, b = (torch.randn(n, n, device=job.device).to(dtype) for _ in range(2))
    try:
        set_tf32([tf32, before[1]])
        return {"tflop_s": 2 * n**3 / median_s(lambda: a @ b, job) / 1e12, "n": n}
    finally:
        set_tf32(before)


def _small_kernels(job: Job) -> dict[str, float]:
    """Time small kernels that wait for each other, launched one by one and in a CUDA graph."""
    n, values = 300, torch.zeros(1024, device=job.device)

    def launch() -> None:
        for _ in range(n):
            values.add_(1)

    found = {"us_launched_one_by_one": 1e6 * median_s(launch, job) / n}
    if job.is_gpu:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
        found["us_in_a_graph"] = 1e6 * median_s(graph.replay, job) / n
    return found


def layers(job: Job) -> None:
    """Run the stage `layers`: forms of MDMTN's layers in plain PyTorch, with and without TF32, then the first blocks by backend."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    n, batch = (2, 8) if job.tiny else (N_MODELS, BATCH)
    try:
        for tf32 in (True, False):
            set_tf32([tf32, tf32])
            for name, make in _FORMS.items():
                job.record.item(
                    f"{name}, {'TF32' if tf32 else 'float32'}", lambda make=make: _both_passes(job, n, *make(job.device, n, batch))
                )
    finally:
        set_tf32(before)
    problem = noise_problem("multimnist", batch)
    for name, widths in (("block 1-20", (20,)), ("blocks 1-10-20", (10, 20))):
        for backend in job.backends:
            job.record.item(f"{name} of {backend}", lambda w=widths, b=backend: _blocks(job, problem, n, w, b))


def _both_passes(job: Job, n: int, forward: Callable[[], Tensor], leaves: Sequence[Tensor]) -> dict[str, float]:
    gradient = torch.randn_like(forward())
    one = 1e6 * median_s(forward, job) / n
    both = 1e6 * median_s(lambda: torch.autograd.grad(forward(), leaves, gradient), job) / n
    return {"forward_us_a_model": one, "both_passes_us_a_model": both}


def _blocks(job: Job, problem: Problem, n: int, widths: tuple[int, ...], backend: str) -> dict[str, float]:
    try:
        made = pack_of(Blocks(5, widths), n, problem, Place(job.device, backend))
    except BackendMissingError as error:
        if job.is_gpu:
            raise
        raise SkippedError(str(error)) from error
    part = problem.train.on(job.device)
    inputs, targets = next(iter(part.in_order(len(part))))
    made.begin_epoch()
    return {"both_passes_us_a_model": 1e6 * median_s(lambda: made.backward_of_sum(inputs, targets), job) / n}


def _leaf(device: torch.device, *shape: int) -> Tensor:
    return torch.randn(*shape, device=device).requires_grad_()


def _first_convolution(form: str) -> Callable[[torch.device, int, int], tuple[Callable[[], Tensor], list[Tensor]]]:
    """Return a maker of one wide convolution of the inputs that all models share, 1 to 20 channels each."""

    def make(device: torch.device, n: int, batch: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
        inputs = torch.randn(batch, 1, 28, 28, device=device)
        weight, bias = _leaf(device, 20 * n, 1, 5, 5), _leaf(device, 20 * n)
        if form == "patches":
            patches = F.unfold(inputs, 5).mT.reshape(-1, 25)
            return lambda: torch.addmm(bias, patches, weight.flatten(1).mT), [weight, bias]
        if form == "channels-last":
            inputs = inputs.as_strided(inputs.shape, (784, 1, 28, 1))
        return lambda: F.conv2d(inputs, weight, bias), [weight, bias]

    return make


def _second_convolution(form: str) -> Callable[[torch.device, int, int], tuple[Callable[[], Tensor], list[Tensor]]]:
    """Return a maker of each model's own convolution, 10 to 20 channels."""

    def make(device: torch.device, n: int, batch: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
        bias = _leaf(device, n, 20)
        if form == "patches":
            inputs, weight = _leaf(device, n, batch, 10, 12, 12), _leaf(device, n, 20, 250)

            def forward() -> Tensor:
                patches = inputs.unfold(3, 5, 1).unfold(4, 5, 1).permute(0, 1, 3, 4, 2, 5, 6).reshape(n, batch * 64, 250)
                return torch.baddbmm(bias[:, None], patches, weight.mT)

            return forward, [inputs, weight, bias]
        inputs, weight = _leaf(device, batch, n * 10, 12, 12), _leaf(device, n * 20, 10, 5, 5)
        if form == "channels-last":
            inputs = inputs.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
        return lambda: F.conv2d(inputs, weight, bias.flatten(), groups=n), [inputs, weight, bias]

    return make


def _pool(form: str) -> Callable[[torch.device, int, int], tuple[Callable[[], Tensor], list[Tensor]]]:
    """Return a maker of the max-pooling of 20 channels of each model."""

    def make(device: torch.device, n: int, batch: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
        inputs = torch.randn(batch, 20 * n, 24, 24, device=device)
        if form == "channels-last":
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        inputs.requires_grad_()
        return lambda: F.max_pool2d(inputs, 2), [inputs]

    return make


def _linear(device: torch.device, n: int, batch: int) -> tuple[Callable[[], Tensor], list[Tensor]]:
    inputs, weight, bias = _leaf(device, n, batch, 2880), _leaf(device, n, 50, 2880), _leaf(device, n, 50)
    return lambda: torch.baddbmm(bias[:, None], inputs, weight.mT), [inputs, weight, bias]


_FORMS: dict[str, Callable[[torch.device, int, int], tuple[Callable[[], Tensor], list[Tensor]]]] = {
    "first convolution, one wide one": _first_convolution("plain"),
    "first convolution, channels-last": _first_convolution("channels-last"),
    "first convolution, one product of patches": _first_convolution("patches"),
    "second convolution, grouped": _second_convolution("plain"),
    "second convolution, grouped, channels-last": _second_convolution("channels-last"),
    "second convolution, products of patches": _second_convolution("patches"),
    "max-pooling": _pool("plain"),
    "max-pooling, channels-last": _pool("channels-last"),
    "linear layer of 2,880 inputs": _linear,
}
"""Name -> maker: (device, number of models, batch size) -> the forward pass and the tensors by which it is differentiated."""


def steps(job: Job) -> None:
    """Run the stage `steps`: MDMTN on inputs of Multi-MNIST's shape."""
    batch = 8 if job.tiny else BATCH
    problem = noise_problem("multimnist", batch * 5)
    for n in (1, 2) if job.tiny else PACKS:
        for backend in job.backends:
            name = step_item(n, backend)
            job.record.item(name, lambda n=n, b=backend, name=name: _step(job, name, problem, n, b, batch))
    job.record.item("clocks after load", lambda: clocks(job.device))


def _step(job: Job, name: str, problem: Problem, n: int, backend: str, batch: int) -> dict[str, Any]:
    """Measure a step of a pack. Each part that is measured is stored at once, and a part that fails does not end the others."""
    found: dict[str, Any] = {"n_models": n, "backend": backend}
    try:
        _recorded(job, name, pack(problem, n, job.device, backend, batch), found)
    except BackendMissingError as error:
        if job.is_gpu:
            raise
        raise SkippedError(str(error)) from error
    release()
    if n in _ALSO_ONE_BY_ONE:
        found["us_launched_one_by_one"] = job.record.part(f"{name}: one by one", lambda: _one_by_one(job, problem, n, backend, batch))
    return found


def _recorded(job: Job, name: str, training: TwoPhase, found: dict[str, Any]) -> None:
    """Measure the steps of a new training, and add the figures to `found`."""
    part, device, n = job.record.part, job.device, int(found["n_models"])
    if job.is_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    traffic = part(f"{name}: traffic", lambda: traffic_of_step(training))
    if traffic is not None:
        found |= {"operations_a_step": traffic.n_operations, "mib_a_model_step": traffic.n_bytes / 2**20 / n}
    n_warm_up, n_round = (2, 1) if job.tiny else (_WARM_UP, _ROUND)
    training.take_steps(n_warm_up)
    wait(device)
    found |= _times(job, lambda: training.take_steps(n_round), n * n_round)
    if job.is_gpu:
        found["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    job.record.put(name, found)
    kernels = part(f"{name}: profile", lambda: profiled(training, device, 2 if job.tiny else 4))
    if kernels is not None:
        found |= kernels | {"busy_share": kernels["busy_us_a_step"] / (found["us_a_model_step"] * n)}
        job.record.put(name, found)
        if job.is_gpu and not kernels["graph_launches"]:
            part(f"{name}: recording", lambda: _refuse("its steps are not launched as a CUDA graph"))


def _times(job: Job, run: Callable[[], object], n_model_steps: int) -> dict[str, Any]:
    found = timings(run, job.device, *((0.0, 2, 2) if job.tiny else (1.0, 2, 20)))
    each = [1e6 * seconds / n_model_steps for seconds in found]
    return {"us_a_model_step": statistics.median(each), "least_us": min(each), "most_us": max(each), "rounds": len(each)}


def _one_by_one(job: Job, problem: Problem, n: int, backend: str, batch: int) -> float:
    with launched_one_by_one():
        training = pack(problem, n, job.device, backend, batch)
    n_round = 1 if job.tiny else _ROUND // 4
    training.take_steps(n_round)
    return float(_times(job, lambda: training.take_steps(n_round), n * n_round)["us_a_model_step"])


def _refuse(reason: str) -> None:
    raise AssertionError(reason)
