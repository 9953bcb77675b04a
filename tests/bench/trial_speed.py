"""How close is a trial's training to the network's plain training step, on one core?

    python -m tests.bench.trial_speed [--rounds 5] [--models mdmtn hps] [--pack 1]

The yardstick of the same run is what a reader of PyTorch's tutorials would write for the same network when asked to be
fast: one thread, channels-last, fused Adam, loss weights of one half, data resident and indexed. Beside it stands the same
step in plain (NCHW) order. Against it `TwoPhase` trains whole epochs of both kinds: `step` counts the optimiser's steps alone
(the prox, the measuring after an epoch and the kept model left out), `epoch` all of it but clustering, `trial` a whole
trial with clustering, rows and test data, each in CPU seconds a step and model.

Inputs are noise of Multi-MNIST's shape, batches of 256. Variants take turns; medians of CPU time over the rounds. The
last line says how much memory the process took at its peak, and how loaded the machine was.
"""

import argparse
import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

from sweep.driver import WORKER_ENVIRONMENT

if any(os.environ.get(name) != value for name, value in WORKER_ENVIRONMENT.items()):
    # glibc reads its settings before the process begins, so this one begins again as a worker's does.
    os.execve(sys.executable, [sys.executable, "-m", "tests.bench.trial_speed", *sys.argv[1:]], {**os.environ, **WORKER_ENVIRONMENT})

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, to_bytes
from trainer.models.published import MULTIMNIST
from trainer.place import Place
from trainer.settings import RetrainSettings, SparsifySettings
from trainer.two_phase import TwoPhase

BATCH = 256
STEPS_AN_EPOCH, EPOCHS = 196, 39
"""Of a trial of the paper on 50,000 samples: what the cost of a single event is spread over."""
_STEPS = 24
"""Of an epoch here; the validation part is a fifth of the training part, as 10,000 is of 50,000."""
_MULTIPLY = 512


def made_problem() -> Problem:
    """Noise of Multi-MNIST's shape."""
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
        """CPU seconds a step."""
        started = time.process_time()
        for index in torch.randperm(len(self._inputs)).split(BATCH):
            inputs, targets = self._inputs[index], self._targets[index]
            self._optimiser.zero_grad()
            losses = [F.cross_entropy(output, targets[:, t]) for t, output in enumerate(self._network(inputs))]
            (0.5 * sum(losses)).backward()  # type: ignore[union-attr]
            self._optimiser.step()
        return (time.process_time() - started) / _STEPS


class Timed(TwoPhase):
    """Notes the CPU time of an epoch's optimiser steps, and of the whole epoch."""

    steps_s = 0.0

    def _train_epoch(self) -> Tensor:
        started = time.process_time()
        losses = super()._train_epoch()
        self.steps_s = time.process_time() - started
        return losses

    def timed(self) -> tuple[float, float]:
        """CPU seconds a step and model: in the steps alone, and in all of the epoch."""
        started = time.process_time()
        self.step()
        n = _STEPS * len(self.specs)
        return self.steps_s / n, (time.process_time() - started) / n


def settings(epochs: int) -> TrainingSettings:
    """Two epochs of phase 1, the others of phase 2."""
    return TrainingSettings(
        sparsify=SparsifySettings(outer_iterations=1, epochs=2), retrain=RetrainSettings(outer_iterations=1, epochs=epochs - 2)
    )


def training(problem: Problem, model: str, k0: float, n_models: int, epochs: int) -> Timed:
    """A pack with even preferences over the tasks, moved a little so that no two are equal."""
    specs = []
    for i in range(n_models):
        left = (1 - k0) * (0.5 + 0.01 * i)
        specs.append(TrialSpec(str(i), model, "wcal_growl", (k0, left, 1 - k0 - left), 0, settings(epochs)))
    return Timed(specs, problem, Place())


def median_of(measure: Callable[[], float], rounds: int) -> float:
    """Median of some calls."""
    return statistics.median(measure() for _ in range(rounds))


def seconds(function: Callable[[], object]) -> float:
    """CPU time of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def multiply_rate() -> float:
    """Single-precision multiply-adds of a large matrix product, in units of 1e9 floating-point operations a second."""
    a = torch.randn(_MULTIPLY, _MULTIPLY)
    return 2 * _MULTIPLY**3 / median_of(lambda: seconds(lambda: a @ a), 9) / 1e9


def measure(problem: Problem, model: str, n_models: int, rounds: int) -> None:
    """Print one network's table."""
    plain = {name: PlainStep(problem, model, kind) for name, kind in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last))}
    dense = training(problem, model, 0.0, n_models, rounds + 3)
    sparse = training(problem, model, 1e-3, n_models, rounds + 5)
    for _ in range(3):  # warm up; the sparse pack is in phase 2 from its third epoch on
        sparse.timed()
    dense.timed()
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, step in plain.items():
            found.setdefault(f"plain step, {name}", []).append(step.epoch())
        for name, pack in (("dense", dense), ("phase 2", sparse)):
            in_steps, in_all = pack.timed()
            found.setdefault(f"{name}: steps", []).append(in_steps)
            found.setdefault(f"{name}: epoch", []).append(in_all)
    shrinking = training(problem, model, 1e-3, n_models, 4)
    epochs = [shrinking.timed() for _ in range(2)]
    found["phase 1: steps"] = [in_steps for in_steps, _ in epochs]
    found["phase 1: epoch"] = [in_all for _, in_all in epochs]
    while not sparse.done:
        sparse.step()
    once = {
        "clustering": shrinking._wall["tying"] / n_models,
        "checkpoint": seconds(lambda: to_bytes(sparse.state_dict())) / n_models,
        # Its parts have 1.4 samples for each of training.
        "row, test data": seconds(sparse.results) / n_models * STEPS_AN_EPOCH / _STEPS,
    }
    yardstick = statistics.median(found["plain step, NHWC"])
    print(
        f"\n{model}, {n_models} model{'s' if n_models > 1 else ''} a pack: CPU ms a step and model, ratio to the plain channels-last step"
    )
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"  {name:20s} {middle * 1e3:8.2f} {middle / yardstick:7.2f}   [{min(values) * 1e3:.2f} .. {max(values) * 1e3:.2f}]")
    for name, value in once.items():
        print(f"  {name:20s} {value * 1e3 / STEPS_AN_EPOCH / EPOCHS:8.3f}           ({value:.2f} s once a trial, checkpoint: each)")
    of_trial = statistics.median(found["phase 2: epoch"]) + (once["clustering"] + once["row, test data"]) / STEPS_AN_EPOCH / EPOCHS
    of_steps = statistics.median(found["phase 2: steps"])
    print(f"  a sparse trial of {EPOCHS} epochs of {STEPS_AN_EPOCH} steps: {of_trial / yardstick:.2f} times the plain steps;")
    print(f"  what is not an optimiser step is {100 * (of_trial - of_steps) / of_steps:.1f} % of those")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["mdmtn", "hps"])
    parser.add_argument("--pack", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    problem = made_problem()
    print(f"torch {torch.__version__}, one thread, batch {BATCH}, matrix product {multiply_rate():.0f} GF/s")
    for model in asked.models:
        measure(problem, model, asked.pack, asked.rounds)
        gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(f"\npeak memory of this process {peak:,.0f} MiB, load {', '.join(f'{value:.1f}' for value in os.getloadavg())}")


if __name__ == "__main__":
    main()
