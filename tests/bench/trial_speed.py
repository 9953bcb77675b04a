"""How fast is the training of a trial compared with the network's plain training step, on one core?

    python -m tests.bench.trial_speed [--rounds 5] [--models mdmtn hps] [--packs 1 4] [--backends loop loop+kernel]

The yardstick, measured in the same run, is the fast code that a reader of PyTorch's tutorials would write for the same network:
one thread, channels-last, fused Adam, loss weights of one half, data resident and indexed. A second yardstick is the same step in
plain (NCHW) order. They are compared with `TwoPhase`, which trains whole epochs of both phases on each backend and pack size.
`steps` counts only the optimiser's steps; `trial` counts a whole trial of 39 epochs of 196 steps with evaluation on validation data,
proximal operator, storage of the best models, clustering, checkpoints every five seconds, test data and rows.

Inputs are noise of Multi-MNIST's shape, in batches of 256. The variants take turns, and the script prints medians of CPU time over
the rounds. `workers` trains the same in two processes at once and in one. The last line gives the peak memory of the process and
the load of the machine.
"""

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from sweep.cluster.driver import WORKER_ENVIRONMENT

if any(os.environ.get(name) != value for name, value in WORKER_ENVIRONMENT.items()):
    # glibc reads its settings before the process begins, so this one begins again as a worker's does.
    os.execve(sys.executable, [sys.executable, "-m", "tests.bench.trial_speed", *sys.argv[1:]], {**os.environ, **WORKER_ENVIRONMENT})

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, to_bytes
from trainer.models.published import MULTIMNIST
from trainer.pack.device import Place
from trainer.settings import RetrainSettings, SparsifySettings
from trainer.training.two_phase import TwoPhase

BATCH = 256
STEPS_AN_EPOCH, EPOCHS = 196, 39
"""Numbers of a trial of the paper on 50,000 samples, over which the cost of a single event is spread."""
_STEPS = 24
"""Steps of an epoch here; the validation data is a fifth of the training data, as 10,000 is of 50,000."""
_MULTIPLY = 512


def made_problem() -> Problem:
    """Make a problem with noise of Multi-MNIST's shape."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 28, 28, generator=generator), torch.randint(10, (n, 2), generator=generator))

    n_train = BATCH * _STEPS
    tasks = (classification("left", 10), classification("right", 10))
    return Problem("noise", tasks, MULTIMNIST.networks([10, 10]), split(n_train), split(n_train // 5), split(n_train // 5))


class PlainStep:
    """The yardstick: forward, mean of the task losses, backward, Adam."""

    def __init__(self, problem: Problem, model: str, memory_format: torch.memory_format) -> None:
        torch.manual_seed(0)
        self._network = problem.networks[model]().to(memory_format=memory_format)  # type: ignore[call-overload]
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=2.5e-3, fused=True)
        assert isinstance(problem.train, Split)
        self._inputs = problem.train.inputs.contiguous(memory_format=memory_format)
        self._targets = problem.train.targets

    def epoch(self) -> float:
        """Return the CPU seconds of a step."""
        started = time.process_time()
        for index in torch.randperm(len(self._inputs)).split(BATCH):
            inputs, targets = self._inputs[index], self._targets[index]
            self._optimiser.zero_grad()
            losses = [F.cross_entropy(output, targets[:, t]) for t, output in enumerate(self._network(inputs))]
            (0.5 * sum(losses)).backward()  # type: ignore[union-attr]
            self._optimiser.step()
        return (time.process_time() - started) / _STEPS


class Timed(TwoPhase):
    """Records the CPU time of an epoch's optimiser steps, of the evaluation on validation data, and of the whole epoch."""

    steps_s = evaluation_s = 0.0

    def _train_epoch(self) -> Tensor:
        started = time.process_time()
        losses = super()._train_epoch()
        self.steps_s = time.process_time() - started
        return losses

    def timed(self) -> tuple[float, float, float]:
        """Return CPU seconds per step and model: in the steps, in the evaluation, and in the rest of an epoch of `STEPS_AN_EPOCH` steps."""
        started = time.process_time()
        self.step()
        total = time.process_time() - started
        evaluation = seconds(lambda: self.pack.evaluate(self._validation))
        n = len(self.specs)
        rest = max(0.0, total - self.steps_s - evaluation)
        return self.steps_s / n / _STEPS, evaluation / n / _STEPS, rest / n / STEPS_AN_EPOCH


def settings(epochs: int) -> TrainingSettings:
    """Return settings with two epochs of phase 1 and the others of phase 2."""
    return TrainingSettings(
        sparsify=SparsifySettings(outer_iterations=1, epochs=2), retrain=RetrainSettings(outer_iterations=1, epochs=epochs - 2)
    )


def training(problem: Problem, model: str, k0: float, n_models: int, epochs: int, backend: str) -> Timed:
    """Make a pack with nearly even preferences over the tasks, no two of which are equal."""
    specs = []
    for i in range(n_models):
        left = (1 - k0) * (0.5 + 0.01 * i)
        specs.append(TrialSpec(str(i), model, "wcal_growl", (k0, left, 1 - k0 - left), 0, settings(epochs)))
    return Timed(specs, problem, Place(backend=backend))


def median_of(measure: Callable[[], float], rounds: int) -> float:
    """Return the median of some calls."""
    return statistics.median(measure() for _ in range(rounds))


def seconds(function: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def multiply_rate() -> float:
    """Return the single-precision speed of a large matrix product, in 1e9 floating-point operations per second."""
    a = torch.randn(_MULTIPLY, _MULTIPLY)
    return 2 * _MULTIPLY**3 / median_of(lambda: seconds(lambda: a @ a), 9) / 1e9


def measure(problem: Problem, model: str, packs: Sequence[int], backends: Sequence[str], rounds: int) -> None:
    """Print the table of one network."""
    plain = {name: PlainStep(problem, model, kind) for name, kind in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last))}
    variants = {(backend, n): training(problem, model, 1e-3, n, rounds + 5, backend) for backend in backends for n in packs}
    for pack in variants.values():
        for _ in range(3):  # warm up; the packs are in phase 2 from their third epoch on
            pack.timed()
    steps: dict[str, list[float]] = {}
    others: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, step in plain.items():
            steps.setdefault(name, []).append(step.epoch())
        for key, pack in variants.items():
            in_steps, in_evaluation, in_rest = pack.timed()
            steps.setdefault(label(*key), []).append(in_steps)
            others.setdefault(key, []).append((in_evaluation, in_rest))
    middle = {name: statistics.median(values) for name, values in steps.items()}
    print(f"\n{model}: CPU ms a step and model, and how many times as fast as the plain steps (NCHW, channels-last)")
    for name, values in steps.items():
        ratios = f"{middle['NCHW'] / middle[name]:6.2f} {middle['NHWC'] / middle[name]:6.2f}"
        print(f"  {name:24s} {middle[name] * 1e3:8.2f} {ratios}   [{min(values) * 1e3:.2f} .. {max(values) * 1e3:.2f}]")
    print("  limits: 1.5 times NCHW without a compiler; 1.2 times channels-last in packs of 4 and more with the kernel")
    for key, pack in variants.items():
        overhead(problem, model, *key, pack, middle[label(*key)], middle["NHWC"], others[key])


def overhead(
    problem: Problem, model: str, backend: str, n: int, pack: Timed, steps: float, yardstick: float, others: Sequence[tuple[float, float]]
) -> None:
    """Print what a whole trial costs in addition to its steps."""
    shrinking = training(problem, model, 1e-3, n, 4, backend)
    prox = shrinking.timed()[2]
    shrinking.step()  # and clusters
    while not pack.done:
        pack.step()
    a_trial = 1 / (STEPS_AN_EPOCH * EPOCHS)
    checkpoint = seconds(lambda: to_bytes(pack.state_dict())) / n
    # no more than one an epoch, and no more than 5 % of the time up to a pause of 5 minutes
    a_checkpoint_s = max(5.0, min(20 * checkpoint * n, 300.0), steps * n * STEPS_AN_EPOCH)
    parts = {
        "validation": statistics.median(evaluation for evaluation, _ in others),
        "epochs' rest": (statistics.median(rest for _, rest in others) * (EPOCHS - 9) + prox * 9) / EPOCHS,  # nine in phase 1
        "clustering": shrinking.state_dict().scalars["wall"]["tying"] / n * a_trial,
        "checkpoints": checkpoint * n * steps / a_checkpoint_s,
        "test, rows": seconds(pack.results) / n * STEPS_AN_EPOCH / _STEPS * a_trial,
    }
    shares = ", ".join(f"{name} {100 * part / steps:.1f}" for name, part in parts.items())
    total = sum(parts.values())
    print(f"  {label(backend, n)}: a sparse trial takes {(steps + total) / yardstick:.2f} times its plain channels-last steps;")
    print(f"    beside its own steps {100 * total / steps:.1f} % (limit 8): {shares}")


def label(backend: str, n: int) -> str:
    """Return the name of a line."""
    return f"{backend}, {n} a pack"


def workers(model: str, rounds: int) -> None:
    """Print how much work two processes at once do, compared with one."""
    command = [sys.executable, "-m", "tests.bench.trial_speed", "--one-worker", model]
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for n in rates:
            processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) for _ in range(n)]
            for process in processes:
                assert process.stdout is not None
                assert process.stdout.readline()  # it has warmed up
            for process in processes:
                process.stdin.write("go\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            rates[n].append(sum(float(process.communicate()[0]) for process in processes))
    ratio = statistics.median(rates[2]) / statistics.median(rates[1])
    print(f"\n{model}: two workers get {ratio:.2f} times as much done as one, by the clock (limit 1.9)")


def one_worker(problem: Problem, model: str) -> None:
    """Train on request, and print the number of steps times models per second."""
    pack = training(problem, model, 1e-3, 1, 20, "auto")
    for _ in range(3):
        pack.step()
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    for _ in range(8):
        pack.step()
    print(8 * _STEPS / (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["mdmtn", "hps"])
    parser.add_argument("--packs", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--backends", nargs="+", default=["loop", "loop+kernel"])
    parser.add_argument("--one-worker", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    problem = made_problem()
    if asked.one_worker:
        one_worker(problem, asked.one_worker)
        return
    print(f"torch {torch.__version__}, one thread, batch {BATCH}, matrix product {multiply_rate():.0f} GF/s")
    for model in asked.models:
        measure(problem, model, asked.packs, asked.backends, asked.rounds)
        gc.collect()
    for model in asked.models:
        workers(model, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"\npeak memory of this process {peak:,.0f} MiB, load {', '.join(f'{value:.1f}' for value in os.getloadavg())}")


if __name__ == "__main__":
    main()
