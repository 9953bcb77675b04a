"""What is wrong with a problem is said before training, by its part, its rule and what was found; what is right passes."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.api import (
    Problem,
    ProblemError,
    Split,
    Stream,
    Task,
    TrainingSettings,
    TrialSpec,
    check_batches,
    check_problem,
    classification,
    regression,
)
from trainer.catalog import PROBLEMS
from trainer.problems.custom.check import facts_of, prunable_only
from trainer.problems.custom.source import BatchError

N = 12


class Net(nn.Module):
    """Two tasks; a test changes what it does."""

    def __init__(self, growl_layers: Any = ("b",), outputs: Callable[[list[Tensor]], Any] = lambda outputs: outputs) -> None:
        super().__init__()
        self.a, self.b, self.kind, self.size = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2), nn.Linear(4, 1)
        self.growl_layers = growl_layers
        self._outputs = outputs

    def forward(self, inputs: Tensor) -> Any:
        shared = self.b(self.a(inputs).relu()).relu()
        return self._outputs([self.kind(shared), self.size(shared)])


INPUTS = torch.linspace(-1, 1, 3 * N).reshape(N, 3)
TARGETS = torch.stack([torch.arange(N) % 2, torch.arange(N) / N], dim=1)
SPLIT = Split(INPUTS, TARGETS)
GOOD = Problem("good", (classification("kind", 2), regression("size", 1.0)), {"net": Net}, SPLIT, SPLIT, SPLIT)


def with_net(**changes: Any) -> Problem:
    return replace(GOOD, networks={"net": lambda: Net(**changes)})


def with_task(**changes: Any) -> Problem:
    return replace(GOOD, tasks=(GOOD.tasks[0], replace(GOOD.tasks[1], **changes)))


def with_value(tensor: Tensor, row: int, column: int, value: float) -> Tensor:
    changed = tensor.clone()
    changed[row, column] = value
    return changed


def tied() -> nn.Module:
    network = Net()
    network.extra = nn.Linear(5, 4)
    network.extra.weight = network.b.weight
    return network


def weight_normed() -> nn.Module:
    network = Net()
    nn.utils.parametrizations.weight_norm(network.b)
    return network


def lazy() -> nn.Module:
    network = Net()
    network.a = nn.LazyLinear(5)
    return network


def scripted(part: nn.Module) -> nn.Module:
    network = Net()
    network.kind = torch.jit.script(part)
    return network


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lazy, "network net: module a is a LazyLinear whose weight has no shape before its first call", "nn.Linear(64, 10) instead of"),
        (
            lambda: scripted(nn.Linear(4, 2)),
            "network net: module kind is compiled by torch.jit (RecursiveScriptModule)",
            "the module itself",
        ),
        (
            lambda: torch.jit.trace(nn.Linear(3, 2), INPUTS),
            "network net: it is compiled by torch.jit (TopLevelTracedModule), a plain torch.nn.Module expected",
            "the module itself",
        ),
    ],
)
def test_modules_that_no_pack_can_train(make: Callable[[], nn.Module], message: str, hint: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_problem(replace(GOOD, networks={"net": make}), "net")
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_module_without_weights_and_a_lazy_one_that_was_called_are_welcome() -> None:
    def called() -> nn.Module:
        network = lazy()
        network(INPUTS[:2])
        return network

    def with_compiled_relu() -> nn.Module:
        network = Net()
        network.activation = torch.jit.script(nn.ReLU())
        return network

    networks = {"compiled": with_compiled_relu, "called": called}
    assert [check_problem(replace(GOOD, networks=networks), model) for model in networks] == [[], []]


def test_a_good_problem_passes_and_leaves_random_numbers_alone() -> None:
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert check_problem(GOOD, "net") == []
    assert torch.equal(torch.rand(3), first)
    facts, notes = facts_of(GOOD)
    assert (facts.tasks, facts.n_train, facts.models, notes) == (("kind", "size"), N, ("net",), [])


@pytest.mark.parametrize("name", ["multidigits", "analytic/zdt1", "analytic/owl"])
def test_the_catalogs_problems_pass(name: str) -> None:
    entry = PROBLEMS[name]
    options = {"n_train": 32, "n_validation": 32, "n_test": 32} if name == "multidigits" else {}
    problem = entry.build(entry.options(**options))
    for model in entry.models:
        notes = check_problem(problem, model)
        assert notes == ([] if problem.networks[model]().growl_layers else [f"network {model}: no layer is pruned, so k0 has no effect"])


def test_it_can_be_trained_when_it_passes() -> None:
    from trainer.api import train
    from trainer.settings import LsuvSettings, RetrainSettings, SparsifySettings

    settings = TrainingSettings(
        batch_size=4, sparsify=SparsifySettings(1, 1), retrain=RetrainSettings(1, 1), lsuv=LsuvSettings(n_samples=4)
    )
    (result,) = train([TrialSpec("a", "net", "wcal_growl", (0.1, 0.5, 0.4), 0, settings)], prunable_only(GOOD))
    assert result.state == "ok"


WRONG: dict[str, tuple[Problem, str]] = {
    # data
    "more targets than inputs": (
        replace(GOOD, validation=Split(INPUTS[:3], TARGETS[:4])),
        "the validation data: as many targets as inputs expected, found 3 inputs and 4 targets",
    ),
    "no samples": (replace(GOOD, test=Split(INPUTS[:0], TARGETS[:0])), "the test data: at least one sample expected"),
    "one column too few": (
        replace(GOOD, train=Split(INPUTS, TARGETS[:, :1])),
        "the training data: targets with one column for each task expected, (12, 2), found (12, 1)",
    ),
    "targets without columns": (
        replace(GOOD, train=Split(INPUTS, TARGETS[:, 0])),
        "the training data: targets with one column for each task expected, (12, 2), found (12,)",
    ),
    "arrays": (replace(GOOD, train=Split(INPUTS.numpy(), TARGETS)), "the training data: tensors expected, found ndarray"),  # type: ignore[arg-type]
    "NaN": (
        replace(GOOD, test=Split(with_value(INPUTS, 7, 1, float("nan")), TARGETS)),
        "the test data: inputs that are finite numbers expected, found NaN or infinity in sample 7",
    ),
    "infinity": (replace(GOOD, train=Split(with_value(INPUTS, 0, 0, float("inf")), TARGETS)), "found NaN or infinity in sample 0"),
    "a class out of range": (
        replace(GOOD, test=Split(INPUTS, with_value(TARGETS, 9, 0, 2))),
        "task kind: classes 0 to 1 expected (the output has 2), found 2 in the test data",
    ),
    "a negative class": (replace(GOOD, train=Split(INPUTS, with_value(TARGETS, 9, 0, -1))), "found -1 in the training data"),
    # tasks
    "no tasks": (replace(GOOD, tasks=()), "at least one task expected"),
    "a task's name": (with_task(name="k,1"), "a task's name is of letters, digits, `_`, `-` and spaces, found 'k,1'"),
    "a task named twice": (with_task(name="kind"), "a different name for each task expected, found kind, kind"),
    "a task called sparsity": (with_task(name="sparsity"), "another name than `sparsity` expected for a task"),
    "a guess that costs nothing": (with_task(guess_loss=0.0), "task size: a finite guess_loss > 0 expected, found 0.0"),
    "a guess that costs NaN": (with_task(guess_loss=float("nan")), "task size: a finite guess_loss > 0 expected, found nan"),
    # losses and metrics
    "a loss a sample": (
        with_task(loss=lambda output, target: (output.flatten() - target) ** 2),
        "network net in training: the loss of task size is a scalar tensor, found a tensor of shape (2,)",
    ),
    "a loss that is a number": (with_task(loss=lambda output, target: 1.0), "the loss of task size is a scalar tensor, found float"),
    "a loss that is NaN": (with_task(loss=lambda output, target: output.mean() * float("nan")), "a finite loss of task size expected"),
    "a loss without gradient": (with_task(loss=lambda output, target: output.mean().detach()), "depends on no parameter"),
    "a loss that fails": (with_task(loss=lambda output, target: output @ target), "the loss of task size raised RuntimeError: "),
    "one metric for all": (
        with_task(metric=lambda output, target: output.mean()),
        "the metric of task size is one value for each sample, (2,), found a tensor of shape ()",
    ),
    "a metric a column": (
        with_task(metric=lambda output, target: output),
        "one value for each sample, (2,), found a tensor of shape (2, 1)",
    ),
    "a metric that fails": (with_task(metric=lambda output, target: {}[0]), "the metric of task size raised KeyError: 0"),
    # networks
    "no networks": (replace(GOOD, networks={}), "a network of the problem expected (it has none), found net"),
    "another network": (replace(GOOD, networks={"mlp": Net}), "a network of the problem expected (it has mlp), found net"),
    "no module": (replace(GOOD, networks={"net": lambda: 3}), "network net: a torch.nn.Module expected, found int"),  # type: ignore[dict-item]
    "a network that cannot be made": (replace(GOOD, networks={"net": lambda: nn.Linear("a", 1)}), "network net raised TypeError: "),  # type: ignore[arg-type]
    "no parameters": (replace(GOOD, networks={"net": nn.Module}), "network net: at least one parameter expected"),
    "one tensor": (with_net(outputs=torch.cat), "network net in training raised"),
    "a tensor for all tasks": (
        with_net(outputs=lambda outputs: torch.cat(outputs, 1)),
        "network net in training: a list of one output for each task expected, found a tensor of shape (2, 3)",
    ),
    "one output too few": (
        with_net(outputs=lambda outputs: outputs[:1]),
        "network net in training: one output for each task expected (2 = kind, size), found 1",
    ),
    "an output that is no tensor": (with_net(outputs=lambda outputs: [outputs[0], 1.0]), "tensors expected, found float for task size"),
    "a tied weight": (replace(GOOD, networks={"net": tied}), "network net: layer extra has no weight of its own"),
    "a computed weight": (replace(GOOD, networks={"net": weight_normed}), "layer b has no weight of its own"),
    # layers
    "no growl_layers": (
        with_net(growl_layers=None),
        "network net: an attribute growl_layers, a tuple of names of layers, expected; found none",
    ),
    "a single text": (with_net(growl_layers="b"), "a tuple of names of layers, expected; found 'b'"),
    "layers instead of names": (with_net(growl_layers=(nn.Linear(1, 1),)), "a tuple of names of layers, expected; found (Linear("),
    "a layer that is not there": (with_net(growl_layers=("c",)), "growl_layers names c, which is not one of its modules (for example a)"),
    # augmentation
    "another shape": (
        replace(GOOD, augment=lambda inputs, generator: inputs[:, :2]),
        "augment: inputs of the same shape (2, 3) expected, found a tensor of shape (2, 2)",
    ),
}


@pytest.mark.parametrize(("problem", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_message(problem: Problem, message: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_problem(problem, "net")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_is_tried_in_evaluation_too() -> None:
    class Inconstant(Net):
        def forward(self, inputs: Tensor) -> Any:
            outputs = super().forward(inputs)
            return outputs if self.training else outputs[0]

    with pytest.raises(ProblemError, match="network net in evaluation: a list of one output for each task expected"):
        check_problem(replace(GOOD, networks={"net": Inconstant}), "net")


NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
"""What PyTorch raises when the machine's memory is exhausted."""


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device"), torch.OutOfMemoryError("CUDA out of memory"), NO_MEMORY]
)
def test_passing_errors_pass(error: Exception) -> None:
    def fail(*_: Any) -> Any:
        raise error

    with pytest.raises(type(error), match=re.escape(str(error))):
        check_problem(with_task(loss=fail), "net")


def test_layers_without_rows_that_growl_knows_are_notes() -> None:
    class Odd(Net):
        def __init__(self) -> None:
            super().__init__(("b", "norm", "deep", "b"))
            self.norm, self.deep = nn.LayerNorm(4), nn.Conv2d(2, 2, 3, groups=2)

    problem = replace(GOOD, networks={"net": Odd, "bare": lambda: Net(())})
    assert check_problem(problem, "net") == [
        "network net: layer norm is a LayerNorm, which GrOWL cannot prune; it is left out",
        "network net: layer deep is a Conv2d with groups = 2, which GrOWL cannot prune; it is left out",
    ]
    assert check_problem(problem, "bare") == ["network bare: no layer is pruned, so k0 has no effect"]
    facts, notes = facts_of(problem)
    assert facts.has_sparsity
    assert len(notes) == 3
    layers = {name: make().growl_layers for name, make in prunable_only(problem).networks.items()}
    assert layers == {"net": ("b",), "bare": ()}


class Rows:
    """A data set that is read while it is used."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._inputs[index], self._targets[index]


def test_of_data_that_is_read_while_it_is_used_the_first_samples_are_checked() -> None:
    good = replace(GOOD, train=Stream(Rows(INPUTS, TARGETS)))
    assert check_problem(good, "net") == []
    assert facts_of(good)[0].n_train == N
    for rows, message in (
        (Rows(INPUTS, TARGETS[:, :1]), "the training data: targets with one column for each task expected"),
        (Rows(INPUTS[:0], TARGETS[:0]), "the training data: at least one sample expected"),
        (Rows(with_value(INPUTS, 1, 0, float("nan")), TARGETS), "NaN or infinity in sample 1"),
        (Rows(INPUTS, with_value(TARGETS, 1, 0, 3)), "found 3 in the training data"),
    ):
        with pytest.raises(ProblemError, match=message):
            check_problem(replace(GOOD, train=Stream(rows)), "net")


def test_a_task_of_ones_own_has_no_unit() -> None:
    own = Task("size", lambda output, target: (output.flatten() - target).abs().mean(), lambda output, target: target, "error", 0.5)
    assert facts_of(replace(GOOD, tasks=(GOOD.tasks[0], own)))[0].loss_units == ("nats", "")


# -- batches of the sizes that will occur ----------------------------------------------------------------------------------


class Normed(Net):
    """Batch norm of features, which cannot train on one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))


class Squeezed(Net):
    """Loses the dimension of a batch of one sample."""

    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs.squeeze())


def of_sizes(network: type[nn.Module], n_train: int = N, n_validation: int = N, n_test: int = N) -> Problem:
    def part(n: int) -> Split:
        return Split(torch.linspace(-1, 1, 3 * n).reshape(n, 3), torch.stack([torch.arange(n) % 2, torch.arange(n) / n], dim=1))

    return replace(GOOD, networks={"net": network}, train=part(n_train), validation=part(n_validation), test=part(n_test))


BATCHES: dict[str, tuple[Problem, int, float, str, str]] = {
    "the last of an epoch": (
        of_sizes(Normed, 65),
        64,
        1.0,
        "the last batch of an epoch has 1 sample (65 training samples in batches of 64), which network net cannot process in training: "
        "it raised ValueError: Expected more than 1 value per channel when training",
        "set training.batch_size to 63, for example, or change the number of training samples",
    ),
    "of a part of the data": (of_sizes(Normed, 34), 16, 0.5, "(17 of 34 training samples in batches of 16)", "batch_size to 15"),
    "batches of one": (of_sizes(Normed, 4), 1, 1.0, "the first batch of an epoch has 1 sample", "set another training.batch_size"),
    "the last of the validation data": (
        of_sizes(Squeezed, n_validation=513),
        4,
        1.0,
        "the last batch of the validation data has 1 sample (513 validation samples in batches of 512), which network net cannot "
        "process in evaluation: it raised",
        "in evaluation a network has to process a batch of any size: fix it, or change the number of validation samples",
    ),
    "the last of the test data": (of_sizes(Squeezed, n_test=1), 4, 1.0, "the last batch of the test data has 1 sample", "test samples"),
    "a loss that is not finite": (
        replace(of_sizes(Net, 9), tasks=(GOOD.tasks[0], replace(GOOD.tasks[1], loss=lambda output, target: output.flatten().std()))),
        4,
        1.0,
        "the last batch of an epoch has 1 sample (9 training samples in batches of 4), which network net cannot process in training: "
        "the loss of task size is nan",
        "set training.batch_size to 3",
    ),
}


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("case", BATCHES.values(), ids=BATCHES)
def test_a_batch_that_will_occur_and_that_the_network_cannot_take_is_named(case: tuple[Problem, int, float, str, str]) -> None:
    problem, batch_size, data_share, message, hint = case
    assert check_problem(problem, "net") == []
    with pytest.raises(BatchError) as caught:
        check_batches(problem, "net", batch_size, data_share)
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
    assert caught.value.is_of_training == ("epoch" in message or "training samples" in message)


def test_batches_that_the_network_takes_pass_and_random_numbers_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    check_batches(of_sizes(Normed, 66), "net", 64)
    check_batches(of_sizes(Normed, 66), "net", 63)  # the batch size that the hint suggests
    check_batches(of_sizes(Normed, 65, n_validation=513, n_test=1), "net", 64, trains=False)  # one sample can be evaluated
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("error", [OSError("stale"), MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), NO_MEMORY])
def test_a_batch_that_the_machine_cannot_compute_is_not_the_networks_fault(error: Exception) -> None:
    def fail(outputs: list[Tensor]) -> None:
        raise error

    with pytest.raises(type(error), match=re.escape(str(error))):
        check_batches(with_net(outputs=fail), "net", 4)


@pytest.mark.parametrize("model", ["mdmtn", "hps", "mtan", "stl"])
def test_the_catalogs_networks_train_on_a_last_batch_of_one_sample(model: str) -> None:
    entry = PROBLEMS["multidigits"]
    check_batches(entry.build(entry.options(n_train=5, n_validation=32, n_test=33)), model, 4)
