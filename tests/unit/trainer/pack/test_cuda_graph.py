"""Recorded steps, without a GPU: a recorder that keeps a step's operations and repeats them on the same memory, as a CUDA graph does."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.pack.cuda_graph import StepGraph
from trainer.pack.device import Place
from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings
from trainer.training.two_phase import TwoPhase

SETTINGS = TrainingSettings(
    batch_size=16, sparsify=SparsifySettings(outer_iterations=2, epochs=2), retrain=RetrainSettings(outer_iterations=2, epochs=2)
)
_WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten._to_cpu", "aten.is_nonzero")


class Tape(TorchDispatchMode):
    """Keeps operations with their tensors. Those that make a CPU wait for a GPU cannot be recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(function).startswith(_WAITS):
            raise RuntimeError(f"{function} waits for a result")
        found = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, found))
        return found


class OperationRecorder:
    """The contract of a CUDA graph on a CPU: the same operations, constants and memory each time."""

    n_recordings = n_replays = 0

    def warm_up(self, function: Callable[[], None]) -> None:
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        # What a recording does to the values is undone: a CUDA graph's does nothing.
        tape = Tape()
        with tape:
            function()
        self.n_recordings += 1
        begins = self._undo(tape)
        assert begins

        def replay() -> None:
            self.n_replays += 1
            with torch._C._AutoDispatchBelowAutograd():
                for operation, args, kwargs, kept in tape.operations:
                    again = operation(*args, **kwargs)
                    for old, new in zip(pytree.tree_leaves(kept), pytree.tree_leaves(again), strict=True):
                        if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                            old.copy_(new)

        return replay

    def _undo(self, tape: Tape) -> bool:
        for tensor, value in self.before:
            tensor.copy_(value)
        return bool(tape.operations)

    before: list[tuple[Tensor, Tensor]]


def noise(shape: tuple[int, ...], networks: Any) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, *shape, generator=generator, dtype=torch.float64), torch.randint(10, (n, 2), generator=generator))

    exact = {name: (lambda make=make: make().double()) for name, make in networks.items()}
    # The last minibatch of an epoch is a smaller one.
    return Problem("noise", (classification("a", 10), classification("b", 10)), exact, split(16 * 8 + 5), split(40), split(40))


def training(problem: Problem, model: str, settings: TrainingSettings, backend: str, k0: float, recorder: Any = None) -> TwoPhase:
    specs = [
        TrialSpec(str(i), model, "wcal_growl", (k0, (1 - k0) * (0.4 + i / 9), (1 - k0) * (0.6 - i / 9)), 0, settings) for i in range(2)
    ]
    found = TwoPhase(specs, problem, Place(backend=backend))
    if recorder is not None:
        found._steps = StepGraph(found._take_step, recorder)
        snapshot(found, recorder)
    return found


def snapshot(training: TwoPhase, recorder: OperationRecorder) -> None:
    """Have the recorder remember, before each recording, all that a step may change."""
    original = recorder.record

    def record(function: Callable[[], None]) -> Callable[[], None]:
        leaves = [*training.pack.parameters.values(), *training.pack.buffers.values(), training._losses, training._prox_step.length]
        leaves += [leaf.grad for leaf in training.pack.parameters.values() if leaf.grad is not None]
        leaves += [value for moments in training._optimiser._optimiser.state.values() for value in moments.values()]
        leaves += list(training._lagrangian.tensors().values())
        recorder.before = [(leaf.detach(), leaf.detach().clone()) for leaf in leaves]
        return original(function)

    recorder.record = record  # type: ignore[method-assign]


CASES = {
    "sparse": (MULTIMNIST, (1, 28, 28), "mdmtn", SETTINGS, 0.02),
    "dense": (MULTIMNIST, (1, 28, 28), "hps", SETTINGS, 0.0),
    "batch norm": (CIFAR10MNIST, (3, 32, 32), "hps", replace(SETTINGS, optimizer="sgd", learning_rate=0.01), 0.02),
    "all objectives": (MULTIMNIST, (1, 28, 28), "hps", replace(SETTINGS, retrain=RetrainSettings(2, 2, "all")), 0.1),
    "paper": (MULTIMNIST, (1, 28, 28), "hps", replace(SETTINGS, scalarization="paper"), 0.1),
    "linear pattern, free masks": (
        MULTIMNIST,
        (1, 28, 28),
        "hps",
        replace(SETTINGS, growl=GrowlSettings(pattern="linear", masks="phase"), scalarization="smooth_chebyshev"),
        0.1,
    ),
}


@pytest.mark.full
@pytest.mark.parametrize(
    ("case", "backend"),
    [
        *(pytest.param(case, "packed", marks=[] if case in ("sparse", "paper") else pytest.mark.slow) for case in CASES),
        ("dense", "vmap"),
        pytest.param("dense", "packed+products", marks=pytest.mark.slow),
    ],
)
def test_recorded_steps_train_what_plain_steps_train(case: str, backend: str) -> None:
    """Over phases, multipliers, masks, ties and a smaller last minibatch; nothing in a step waits for a result."""
    layers, shape, model, settings, k0 = CASES[case]
    problem = noise(shape, layers.networks([10, 10]))
    recorder = OperationRecorder()
    plain, recorded = (training(problem, model, settings, backend, k0, given) for given in (None, recorder))
    while not plain.done:
        plain.step()
        recorded.step()
        for name, value in plain.pack.parameters.items():
            difference = (recorded.pack.parameters[name] - value).abs().max()
            assert difference <= 1e-12, (recorded.epoch, name)
    assert recorded._steps.failure is None
    assert recorder.n_recordings >= 2
    assert recorder.n_replays > 3 * recorder.n_recordings
    for ours, theirs in zip(recorded.results(), plain.results(), strict=True):
        assert ours.measurements.convergence.multipliers == pytest.approx(theirs.measurements.convergence.multipliers, abs=1e-12)


@pytest.mark.full
def test_the_row_says_that_steps_were_not_recorded() -> None:
    class Refusing(OperationRecorder):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    problem = noise((1, 28, 28), MULTIMNIST.networks([10, 10]))
    settings = replace(SETTINGS, sparsify=SparsifySettings(1, 1), retrain=RetrainSettings(1, 1))
    refused, plain = (training(problem, "hps", settings, "packed", 0.0) for _ in range(2))
    refused._steps = StepGraph(refused._take_step, Refusing())
    for one in (refused, plain):
        while not one.done:
            one.step()
    notes = refused.results()[0].measurements.notes
    assert "steps were launched one by one, not as a CUDA graph: operation not permitted when stream is capturing" in notes
    assert torch.equal(refused.pack.parameters["trunk.0.weight"], plain.pack.parameters["trunk.0.weight"])


def test_what_cannot_be_recorded_is_done_step_by_step_and_said() -> None:
    done = []

    def step(inputs: Tensor, targets: Tensor) -> None:
        done.append(float(inputs.sum()))

    recorder = OperationRecorder()
    recorder.before = []
    graph = StepGraph(step, recorder)
    for i in range(6):
        graph.run("key", torch.full((2,), float(i)), torch.zeros(2))
    assert done == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert graph.failure is not None
    assert "waits" in graph.failure


def test_out_of_memory_is_not_taken_for_something_that_cannot_be_recorded() -> None:
    class Full(OperationRecorder):
        def record(self, function: Callable[[], None]) -> Callable[[], None]:
            raise torch.OutOfMemoryError("full")

    graph = StepGraph(lambda inputs, targets: None, Full())
    for _ in range(3):
        graph.run("key", torch.zeros(1), torch.zeros(1))
    with pytest.raises(torch.OutOfMemoryError):
        graph.run("key", torch.zeros(1), torch.zeros(1))
