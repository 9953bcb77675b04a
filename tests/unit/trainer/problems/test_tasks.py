"""Any number of tasks, regression among them, and what a row says when something is odd."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from trial_specs import SPARSE_K, spec

from trainer.api import Problem, Split, TrainingSettings, classification, regression, train
from trainer.pack.loop import widest_range
from trainer.problems.images.multidigits import MultiDigitsOptions, build


def digits(*tasks: str) -> Problem:
    return build(MultiDigitsOptions(n_train=512, n_validation=128, n_test=128, tasks=tasks))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "tasks", [("left",), ("sum",), ("left", "right"), ("left", "sum", "parity"), ("left", "right", "sum", "larger", "parity")]
)
@pytest.mark.parametrize("k0", [0.0, 0.1])
def test_one_to_five_tasks_train(short: TrainingSettings, tasks: tuple[str, ...], k0: float) -> None:
    problem = digits(*tasks)
    k = (k0, *((1 - k0) / len(tasks),) * len(tasks))
    (result,) = train([spec(k, short, model="hps")], problem)
    measured = result.measurements
    assert result.state == "ok"
    assert measured.metrics is not None
    assert measured.convergence is not None
    for task in tasks:
        assert math.isfinite(measured.losses["test"][task])
        assert (result.tasks[task] == "accuracy") is (task != "sum")
    classified = [measured.metrics["test"][task] for task in tasks if task != "sum"]
    assert result.mean_accuracy("test") == (pytest.approx(sum(classified) / len(classified)) if classified else None)
    assert len(measured.convergence.multipliers) == 1 + len(tasks)


def test_the_targets_of_the_tasks_belong_to_the_pairs() -> None:
    problem = digits("left", "right", "sum", "larger", "parity")
    left, right, quarter, larger, parity = problem.train.targets.T
    assert torch.equal(quarter * 4, left + right)
    assert torch.equal(larger, (left > right).float())
    assert torch.equal(parity, (left + right) % 2)


def test_a_regression_is_measured_in_its_own_unit() -> None:
    task = regression("sum", guess_loss=1.0, scale=4.0)
    output, target = torch.tensor([[1.0], [2.0]]), torch.tensor([1.5, 2.0])
    assert float(task.loss(output, target)) == pytest.approx(0.125)
    assert task.metric(output, target).tolist() == [2.0, 0.0]


def test_selection_by_accuracy_needs_one(short: TrainingSettings) -> None:
    with pytest.raises(ValueError, match="selection: accuracy expects a task with an accuracy, found tasks sum"):
        train([spec((0.1, 0.9), dataclasses.replace(short, selection="accuracy"), model="hps")], digits("sum"))


@pytest.mark.parametrize("tasks", [(), ("left", "left")])
def test_wrong_tasks_are_refused(tasks: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="different tasks expected, at least one of left, right, sum, larger, parity"):
        MultiDigitsOptions(tasks=tasks)  # type: ignore[arg-type]


class Net(nn.Module):
    """Two layers, the second of which GrOWL may prune, and one head a task."""

    growl_layers = ("hidden",)

    def __init__(self, n_inputs: int = 6) -> None:
        super().__init__()
        self.first, self.hidden, self.head = nn.Linear(n_inputs, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        return [self.head(self.hidden(self.first(inputs).relu()).relu())]


def table(inputs: torch.Tensor, classes: list[list[int]]) -> Problem:
    """A problem of one task of three classes; `classes` are what each split holds."""
    splits = [Split(inputs, torch.tensor(found).repeat(len(inputs))[: len(inputs), None]) for found in classes]
    return Problem("table", (classification("kind", 3),), {"net": Net}, *splits)


FULL = [0, 1, 2]


def test_a_class_that_a_split_lacks_is_named(short: TrainingSettings) -> None:
    (result,) = train([spec((0.1, 0.9), short, model="net")], table(torch.randn(128, 6), [FULL, [0, 2], FULL]))
    assert result.state == "ok"
    assert "task kind: class 1 missing from the validation data" in result.measurements.notes


def test_constant_inputs_are_named_and_end_in_a_row(short: TrainingSettings) -> None:
    (result,) = train([spec((0.1, 0.9), short, model="net")], table(torch.ones(128, 6), [FULL] * 3))
    assert result.state == "ok"
    assert "every training input is the same: nothing can be learned from it" in result.measurements.notes
    assert "task kind: the output is the same for every validation input (a dead layer?)" in result.measurements.notes


@pytest.mark.full
@pytest.mark.parametrize("backend", ["loop", "vmap", "packed"])
def test_outputs_that_differ_by_rounding_are_the_same_output(short: TrainingSettings, backend: str) -> None:
    """Equal inputs at different places of a batch differ in their last bits on some processors; here they do on every one."""

    class Rounded(Net):
        def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
            return [output + inputs[:, :3] for output in super().forward(torch.ones_like(inputs))]

    inputs = torch.zeros(128, 6)
    inputs[::2] = 2**-22  # two units of rounding of outputs about 1
    for scale, is_same in ((1.0, True), (1e6, False)):
        problem = dataclasses.replace(table(inputs * scale, [FULL] * 3), networks={"net": Rounded})
        (result,) = train([spec((0.1, 0.9), short, model="net")], problem, backend=backend)
        assert bool(result.measurements.notes) is is_same


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_range_is_zero_up_to_128_units_of_rounding_of_the_largest_output(dtype: torch.dtype) -> None:
    unit = torch.finfo(dtype).eps
    low = torch.tensor([[1.0, -4.0], [1.0, -4.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], dtype=dtype)
    added = torch.tensor([[512 * unit, 0], [512 * unit, 1024 * unit], [0.0, 0.0], [0.0, unit], [0.0, torch.inf]], dtype=dtype)
    assert widest_range(low, low + added).tolist() == [0.0, 1024 * unit, 0.0, unit, math.inf]
    assert widest_range(low, low + torch.nan).isnan().all()
    assert widest_range(low[:, :0], low[:, :0]).tolist() == [0.0] * 5


def test_a_dead_layer_is_named(short: TrainingSettings) -> None:
    class Dead(Net):
        def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
            return [self.head((self.hidden(self.first(inputs).relu()) - 1e6).relu())]

    problem = dataclasses.replace(table(torch.randn(128, 6), [FULL] * 3), networks={"net": Dead})
    (result,) = train([spec((0.1, 0.9), short, model="net")], problem)
    assert result.state == "ok"
    assert result.measurements.notes == ("task kind: the output is the same for every validation input (a dead layer?)",)


def test_a_network_of_zeros_is_named(short: TrainingSettings) -> None:
    class Zero(Net):
        def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
            with torch.no_grad():
                for layer in (self.first, self.hidden, self.head):
                    layer.weight.zero_()
            return super().forward(inputs)

    problem = dataclasses.replace(table(torch.randn(128, 6), [FULL] * 3), networks={"net": Zero})
    (result,) = train([spec((0.1, 0.9), short, model="net")], problem)
    assert result.state == "ok"
    assert result.measurements.rows.sparsity_rate == 1
    assert "every weight of the network is zero" in result.measurements.notes


@pytest.mark.full
def test_nothing_odd_leaves_no_note(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train([spec(SPARSE_K[0], short)], problem)
    assert result.measurements.notes == ()


@pytest.mark.full
def test_anchors_are_the_same_for_every_seed(problem: Problem, short: TrainingSettings) -> None:
    specs = [dataclasses.replace(spec(SPARSE_K[0], short, scaling="anchors"), seed=seed) for seed in (0, 7)]
    first, second = (train([one], problem)[0].measurements.anchors for one in specs)
    assert first is not None
    assert first == second
    assert first[1:] == pytest.approx([math.log(10)] * 2)
    assert first[0] > 10
