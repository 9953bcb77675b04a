"""How long does the whole front (90 networks) take on one GPU, compared with the hardware limit and with other ways to train it?

    python -m tests.bench.gpu [--shape multimnist cifar10mnist] [--model mdmtn] [--models 90] [--steps-only]
    python -m tests.bench.gpu --device cpu --models 3 --samples 512 --epochs-share 0.05     # tries the script without a GPU

The script needs torch, numpy, scipy, scikit-learn, safetensors and the packages `trainer` and `tests` of this repository, but neither
Ray nor Plotly. Inputs are noise of the right shape: 50,000 for training, 10,000 for validation, in batches of 256.

1. Copy bandwidth of the device, the limit with which the other times are compared.
2. Step times of packs of 1, 8, 30 and 90 on each backend: 20 warm-up steps, then events around 200 steps;
   the profiler counts the kernels of a step.
3. End to end: the authors' schedule with 71 sparse trials of 39 epochs and 19 dense ones, as two packs in two processes that take turns
   on the device (trainer/pack/device.py), including evaluation, proximal operator, clustering, rows, and a checkpoint every five seconds.
4. Comparison: the same networks in plain eager PyTorch, one after the other (extrapolated from `--serial` models), and in four
   processes that share the device.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, start, to_bytes
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.pack.cuda_graph import StepGraph
from trainer.pack.device import Place
from trainer.training.two_phase import TwoPhase

SHAPES = {"multimnist": (MULTIMNIST, (1, 28, 28), 268, 180), "cifar10mnist": (CIFAR10MNIST, (3, 32, 32), 769, 480)}
"""Layers, input shape, MiB that the plain step of one model moves, and limit of the whole front in seconds."""
BATCH = 256
PACKS = (1, 8, 30, 90)
BACKENDS = ("packed", "packed+products", "packed+kernel", "vmap")
N_DENSE_OF_90 = 19
COPY_BYTES = 1 << 30


def made_problem(shape: str, n_train: int) -> Problem:
    """Make a problem with noise of the shape; validation and test data have a fifth of the size of the training data each."""
    layers, size, _, _ = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, *size, generator=generator), torch.randint(10, (n, 2), generator=generator))

    tasks = (classification("first", 10), classification("second", 10))
    return Problem("noise", tasks, layers.networks([10, 10]), split(n_train), split(n_train // 5), split(n_train // 5))


def specs(model: str, n: int, settings: TrainingSettings, is_dense: bool) -> list[TrialSpec]:
    """Make trials with preferences spread over the tasks."""
    k0 = 0.0 if is_dense else 1e-3
    shares = [(1 - k0) * (i + 1) / (n + 1) for i in range(n)]
    return [
        TrialSpec(f"{model}-{is_dense}-{i}", model, "wcal_growl", (k0, share, 1 - k0 - share), 0, settings)
        for i, share in enumerate(shares)
    ]


def schedule(share: float) -> TrainingSettings:
    """Return the authors' schedule of 3 x 3 and 10 x 3 epochs, or a share of it."""
    settings = TrainingSettings(batch_size=BATCH)
    first = max(1, round(settings.sparsify.epochs * share))
    outer = max(1, round(settings.retrain.outer_iterations * share))
    return replace(settings, sparsify=replace(settings.sparsify, epochs=first), retrain=replace(settings.retrain, outer_iterations=outer))


def wait(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median time of a call, in seconds."""
    found = []
    for _ in range(rounds):
        wait(device)
        started = time.perf_counter()
        function()
        wait(device)
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def copy_bandwidth(device: torch.device) -> float:
    """Return the bytes per second, read and written, of a large copy."""
    n = COPY_BYTES if device.type == "cuda" else COPY_BYTES >> 4
    source = torch.ones(n // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * n / seconds(lambda: target.copy_(source), device, 10)


def kernels_a_step(training: TwoPhase, device: torch.device) -> float:
    """Return the number of kernels that one step launches, whether or not it is recorded as a graph."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as found:
        training.take_steps(5)
        wait(device)
    return sum(event.count for event in found.key_averages()) / 5


def step_times(
    problem: Problem, model: str, shape: str, packs: Sequence[int], device: torch.device, bandwidth: float, n_steps: int, warm_up: int
) -> None:
    """Print the table of step times (part 2)."""
    traffic = SHAPES[shape][2] * 2**20
    print(f"\n{shape} {model}: microseconds a step and model; share of the copy bandwidth that the plain step's traffic would need")
    for n in packs:
        for backend in BACKENDS:
            try:
                training = TwoPhase(specs(model, n, schedule(1), False), problem, Place(device, backend))
                training.take_steps(warm_up)
                taken = seconds(lambda training=training: training.take_steps(n_steps), device, 3) / n_steps / n  # type: ignore[misc]
                kernels = kernels_a_step(training, device) / n
                eager = TwoPhase(specs(model, n, schedule(1), False), problem, Place(device, backend))
                eager._steps = StepGraph(None)
                eager.take_steps(warm_up // 2)
                plain = seconds(lambda eager=eager: eager.take_steps(n_steps // 4 or 1), device, 3) / (n_steps // 4 or 1) / n  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - whatever a compiler says
                print(f"  {n:3d} {backend:16s} {str(error).partition(chr(10))[0][:90]}")
                continue
            reached = traffic / taken / bandwidth
            said = "; ".join(training._steps.notes) or ("recorded" if device.type == "cuda" else "not recorded")
            figures = f"{taken * 1e6:9.1f}   plain launches {plain * 1e6:9.1f}   {100 * reached:5.1f} %   {kernels:7.1f} kernels"
            print(f"  {n:3d} {backend:16s} {figures}   {said}")
            del training, eager


def one_pack(asked: argparse.Namespace, is_dense: bool, n: int) -> None:
    """Train one pack on request, as a worker of part 3, and print the times as JSON."""
    problem = made_problem(asked.shape[0], asked.samples)
    training = start(
        specs(asked.model, n, schedule(asked.epochs_share), is_dense),
        problem,
        device=asked.device,
        backend=asked.backend,
        n_threads=asked.threads,
    )
    print("ready", flush=True)
    sys.stdin.readline()
    started = checkpointed = time.perf_counter()
    n_checkpoints = 0
    while not training.done:
        training.step()
        if time.perf_counter() - checkpointed > 5:
            to_bytes(training.state_dict())
            checkpointed, n_checkpoints = time.perf_counter(), n_checkpoints + 1
    results = training.results()
    figures = {
        "seconds": time.perf_counter() - started,
        "tying_s": results[0].measurements.usage.wall_s_tying,
        "checkpoints": n_checkpoints,
        "model_steps": n * training.n_epochs * math.ceil(asked.samples / BATCH),
        "ok": sum(result.state == "ok" for result in results),
        "notes": results[0].measurements.notes,
    }
    print(json.dumps(figures))


def together(commands: Sequence[Sequence[str]]) -> tuple[float, list[dict[str, object]]]:
    """Start the processes, wait until all are ready, and let them run; return the wall seconds and what each printed."""
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands]
    for process in processes:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError("a worker did not start")
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [process.communicate()[0] for process in processes]
    return time.perf_counter() - started, [json.loads(line) for line in lines]


def own_command(asked: argparse.Namespace, *more: str) -> list[str]:
    """Return the command that runs this script as a worker."""
    shared = ["--device", asked.device, "--shape", asked.shape[0], "--model", asked.model, "--samples", str(asked.samples)]
    threads = ["--threads", str(asked.threads), "--epochs-share", str(asked.epochs_share), "--backend", asked.backend]
    return [sys.executable, "-m", "tests.bench.gpu", *shared, *threads, *more]


def end_to_end(asked: argparse.Namespace, shape: str, bandwidth: float) -> float:
    """Print part 3 and return its seconds."""
    asked.shape = [shape]
    n_dense = round(asked.models * N_DENSE_OF_90 / 90)
    sizes = {"sparse": asked.models - n_dense, "dense": n_dense}
    commands = [own_command(asked, "--one-pack", kind, str(n)) for kind, n in sizes.items() if n]
    wall, figures = together(commands)
    n_steps = sum(int(found["model_steps"]) for found in figures)  # type: ignore[call-overload]
    used, limit = SHAPES[shape][2] * 2**20 * n_steps / wall, SHAPES[shape][3]
    print(f"\n{shape} {asked.model}, end to end: {asked.models} models, {n_steps:,} model-steps in {wall:.1f} s (limit {limit} s for 90)")
    print(f"  plain traffic / wall = {used / 1e9:.0f} GB/s, {100 * used / bandwidth:.0f} % of the copy bandwidth (limit 30 %)")
    for kind, found in zip(sizes, figures, strict=False):
        print(f"  {kind}: {found}")
    return wall


def serial(asked: argparse.Namespace, shape: str, n_models: int) -> float:
    """Return the seconds per model and step of plain eager PyTorch, one model after the other."""
    device = torch.device(asked.device)
    problem = made_problem(shape, min(asked.samples, 50 * BATCH))
    assert isinstance(problem.train, Split)
    data = problem.train.on(device)
    found = []
    for seed in range(n_models):
        torch.manual_seed(seed)
        network = problem.networks[asked.model]().to(device)
        optimiser = torch.optim.Adam(network.parameters(), lr=2.5e-3, fused=True)

        def epoch(network: torch.nn.Module = network, optimiser: torch.optim.Optimizer = optimiser) -> None:
            for index in torch.randperm(len(data), device=device).split(BATCH):
                optimiser.zero_grad()
                losses = [F.cross_entropy(output, data.targets[index, t]) for t, output in enumerate(network(data.inputs[index]))]
                (0.5 * sum(losses)).backward()  # type: ignore[union-attr]
                optimiser.step()

        epoch()
        found.append(seconds(epoch, device, 1) / math.ceil(len(data) / BATCH))
    return statistics.median(found)


def against(asked: argparse.Namespace, shape: str, wall: float) -> None:
    """Print the comparison (part 4)."""
    n_steps = sum(
        n * epochs * math.ceil(asked.samples / BATCH)
        for n, epochs in ((asked.models - round(asked.models * N_DENSE_OF_90 / 90), 39), (round(asked.models * N_DENSE_OF_90 / 90), 39))
    )
    n_steps = round(n_steps * asked.epochs_share) or 1
    alone = serial(asked, shape, asked.serial)
    print(f"\n{shape} {asked.model}, clean eager PyTorch, the optimiser's steps alone: {alone * 1e6:.0f} microseconds a model-step")
    print(f"  one after the other {alone * n_steps:.0f} s, {alone * n_steps / wall:.1f} times ours")
    asked.shape = [shape]
    _, found = together([own_command(asked, "--serial-worker") for _ in range(4)])
    shared = statistics.mean(float(one["step_s"]) for one in found) / 4  # type: ignore[arg-type]
    print(f"  four processes on one device {shared * n_steps:.0f} s, {shared * n_steps / wall:.1f} times ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--model", default="mdmtn")
    parser.add_argument("--models", type=int, default=90)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--epochs-share", type=float, default=1.0)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--serial", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200, help="timed steps of a pack")
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--steps-only", action="store_true")
    parser.add_argument("--one-pack", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--serial-worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if asked.one_pack:
        one_pack(asked, asked.one_pack[0] == "dense", int(asked.one_pack[1]))
        return
    if asked.serial_worker:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps({"step_s": serial(asked, asked.shape[0], 2)}))
        return
    bandwidth = copy_bandwidth(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    tf32, load = torch.backends.cuda.matmul.allow_tf32, os.getloadavg()[0]
    print(f"{name}, torch {torch.__version__}, TF32 {tf32}, copy {bandwidth / 1e9:.0f} GB/s, load {load:.1f}")
    for shape in list(asked.shape):
        problem = made_problem(shape, asked.samples)
        step_times(problem, asked.model, shape, [n for n in PACKS if n <= asked.models], device, bandwidth, asked.steps, asked.warm_up)
        del problem
        if not asked.steps_only:
            wall = end_to_end(asked, shape, bandwidth)
            against(asked, shape, wall)


if __name__ == "__main__":
    main()
