"""The cosine between the tasks' gradients: what it is of, and that measuring it changes nothing else."""

import dataclasses
import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from trial_specs import SPARSE_K, spec

from tests.unit.trainer.training.test_two_phase import comparable
from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, start, train
from trainer.catalog import PROBLEMS
from trainer.models.mdmtn import MDMTN
from trainer.objectives.structure import Structure
from trainer.pack.backends import pack_of
from trainer.pack.device import Place
from trainer.problems.images.multidigits import ALL_TASKS
from trainer.settings import GrowlSettings, OnePhaseSettings
from trainer.training.base import PackTraining
from trainer.training.gradient_cosine import N_SAMPLES, fixed_samples, gradient_cosines

Kept = Callable[[str, Tensor], Tensor]


def as_it_is(name: str, gradient: Tensor) -> Tensor:
    return gradient


def cosines_of(network: nn.Module, problem: Problem, free: Kept = as_it_is) -> tuple[float | None, ...] | None:
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    return gradient_cosines(network, parameters, buffers, problem.tasks, fixed_samples(problem.validation, 64), free)


def autograd_cosine(network: nn.Module, problem: Problem, names: list[str]) -> float:
    """The plain way: two backward passes over the whole batch."""
    ((inputs, targets),) = fixed_samples(problem.validation, N_SAMPLES)
    gradients = []
    for t, task in enumerate(problem.tasks):
        parameters = dict(network.eval().named_parameters())
        loss = task.loss(network(inputs)[t], targets[:, t])
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, [parameters[name] for name in names])]).double())
    return float(torch.cosine_similarity(*gradients, dim=0))


@pytest.fixture
def networks(problem: Problem) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {name: make() for name, make in problem.networks.items()}


@pytest.mark.parametrize("model", ["hps", "mdmtn", "mtan", "kdmtl"])
def test_it_is_over_the_trunk_that_both_tasks_read(networks: dict[str, nn.Module], problem: Problem, model: str) -> None:
    network = networks[model]
    trunk = [name for name, _ in network.named_parameters() if name.startswith("trunk.")]
    (cosine,) = cosines_of(network, problem) or ()
    assert cosine == pytest.approx(autograd_cosine(network, problem, trunk), abs=1e-6)
    assert -1 < cosine < 1


def test_alpha_of_mdmtn_is_no_weight(networks: dict[str, nn.Module], problem: Problem) -> None:
    """Both tasks' gradients have an entry for alpha, which would lengthen them and not turn them."""
    network = networks["mdmtn"]
    assert isinstance(network, MDMTN)
    with_alpha = autograd_cosine(network, problem, [n for n, _ in network.named_parameters() if n.startswith("trunk.") or n == "alpha"])
    assert cosines_of(network, problem) != pytest.approx((with_alpha,), abs=1e-4)


def test_networks_that_share_nothing_have_none(networks: dict[str, nn.Module], problem: Problem) -> None:
    assert cosines_of(networks["stl"], problem) is None


@pytest.mark.parametrize("n_tasks", [1, 3, 5])
def test_there_is_one_for_each_pair_of_tasks(n_tasks: int, short: TrainingSettings) -> None:
    entry = PROBLEMS["multidigits"]
    problem = entry.build(entry.options(n_train=256, n_validation=64, n_test=64, tasks=tuple(ALL_TASKS)[:n_tasks]))
    torch.manual_seed(0)
    cosines = cosines_of(problem.networks["hps"](), problem)
    assert len(cosines or ()) == len(list(combinations(range(n_tasks), 2)))
    assert (cosines is None) == (n_tasks == 1)


def test_a_pair_that_shares_nothing_is_null_beside_one_that_does() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, inputs: Tensor) -> list[Tensor]:
            first = self.a(inputs)
            return [first, first.flip(1), self.b(inputs)]

    tasks = [classification(name, 2) for name in ("x", "y", "z")]
    network, batch = Two(), (torch.randn(8, 3), torch.randint(2, (8, 3)))
    cosines = gradient_cosines(network, dict(network.named_parameters()), {}, tasks, [batch], as_it_is)
    assert cosines is not None
    assert cosines[0] is not None
    assert cosines[1:] == (None, None)


def test_a_gradient_of_zero_has_no_direction() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 2)

        def forward(self, inputs: Tensor) -> list[Tensor]:
            out = self.a(inputs)
            return [out, out * 0]

    tasks = [classification(name, 2) for name in ("x", "y")]
    network, batch = Dead(), (torch.randn(8, 3), torch.randint(2, (8, 2)))
    assert gradient_cosines(network, dict(network.named_parameters()), {}, tasks, [batch], as_it_is) == (None,)


def test_suppressed_rows_do_not_count_and_tied_rows_count_once() -> None:
    """Rows 0 and 1 tied, row 2 suppressed, row 3 alone: (sum of 0 and 1, row 3) is what can move."""
    structure = Structure({"w": torch.zeros(2, 3, 4)}, GrowlSettings(), 2, torch.device("cpu"))
    labels = torch.tensor([[0, 0, -1, 7]] * 2)
    structure.load({"w": labels >= 0}, {"w": labels})
    gradient = torch.arange(12.0).reshape(3, 4)  # rows are columns here
    free = structure.free_gradient(1, "w", gradient)
    assert free.tolist() == [[1.0, 9.0, 17.0], [3.0, 7.0, 11.0]]
    untied = Structure({"w": torch.zeros(1, 3, 4)}, GrowlSettings(), 1, torch.device("cpu"))
    untied.load({"w": torch.tensor([[True, True, False, True]])})
    assert untied.free_gradient(0, "w", gradient).tolist() == gradient.T[[0, 1, 3]].tolist()
    assert untied.free_gradient(0, "heads.0.weight", gradient) is gradient
    channels = Structure({"w": torch.zeros(1, 3, 4)}, GrowlSettings(), 1, torch.device("cpu"), {"w": 2})
    channels.load({"w": torch.tensor([[False, True]])})  # a row is two input units
    assert channels.free_gradient(0, "w", gradient).flatten().sort().values.tolist() == gradient[:, 2:].flatten().tolist()


def test_all_backends_measure_the_same(problem: Problem) -> None:
    found = {}
    for backend in ("loop", "vmap", "packed", "packed+products"):
        torch.manual_seed(0)
        pack = pack_of(problem.networks["mdmtn"](), 3, problem, Place(torch.device("cpu"), backend))
        for name, leaf in pack.parameters.items():
            leaf.detach()[1] *= 1.1 if "weight" in name else 1.0
        found[backend] = [
            gradient_cosines(
                pack.alone(n),
                {name: value[n] for name, value in pack.parameters.items()},
                {name: value[n] for name, value in pack.buffers.items()},
                problem.tasks,
                fixed_samples(problem.validation, 64),
                as_it_is,
            )
            for n in range(3)
        ]
        assert found[backend][0] == found[backend][2]
        assert found[backend][0] != found[backend][1]
    for of_backend in found.values():
        assert [pair[0] for pair in of_backend if pair] == pytest.approx([pair[0] for pair in found["loop"] if pair], abs=1e-5)


@pytest.mark.full
def test_it_does_not_depend_on_the_pack(problem: Problem, short: TrainingSettings) -> None:
    specs = [spec(k, short, f"t{i}") for i, k in enumerate(SPARSE_K[:3])]
    together = [result.measurements.gradient_cosine for result in train(specs, problem)]
    assert together == [train([one], problem)[0].measurements.gradient_cosine for one in specs]
    assert len({cosines[0] for cosines in together}) == 3


@pytest.mark.full
@pytest.mark.parametrize("method", ["wcal_growl", "cosmos", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mgda", "stl"))])
def test_measuring_it_changes_nothing(problem: Problem, short: TrainingSettings, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Weights, curves and columns are equal to the bit with and without it; so is the state of the random numbers."""
    settings = dataclasses.replace(short, one_phase=OnePhaseSettings(epochs=2))
    ks = {"wcal_growl": SPARSE_K[:2], "cosmos": [(0.0, 0.3, 0.7), (0.0, 0.6, 0.4)]}.get(method, [None])
    specs = [TrialSpec(f"t{i}", "stl" if method == "stl" else "hps", method, k, 0, settings) for i, k in enumerate(ks)]

    def results() -> list[object]:
        training = start(specs, problem)
        while not training.done:
            training.step()
        before = torch.random.get_rng_state()
        found = training.results()
        assert torch.equal(before, torch.random.get_rng_state())
        again = training.results()
        assert [one.measurements.gradient_cosine for one in again] == [one.measurements.gradient_cosine for one in found]
        assert [one.weights for one in again] == [one.weights for one in found]
        measured = [one.measurements.gradient_cosine for one in found]
        assert all((value is None) == (method == "stl" or is_off) for value in measured)
        without = [dataclasses.replace(one, measurements=dataclasses.replace(one.measurements, gradient_cosine=None)) for one in found]
        return [(comparable(one), one.weights) for one in without]

    is_off = False
    with_it = results()
    is_off = True
    monkeypatch.setattr(PackTraining, "_cosines_of", lambda self, n: None)
    assert results() == with_it


def test_gradients_modes_and_statistics_of_a_pack_stay(short: TrainingSettings) -> None:
    """A network with batch norm and dropout, measured in the middle of its training."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 5))
            self.heads = nn.ModuleList([nn.Linear(5, 2), nn.Linear(5, 2)])
            self.growl_layers = ("trunk.4",)

        def forward(self, inputs: Tensor) -> list[Tensor]:
            shared = self.trunk(inputs)
            return [head(shared) for head in self.heads]

    split = Split(torch.randn(96, 4), torch.randint(2, (96, 2)))
    problem = Problem("made", (classification("a", 2), classification("b", 2)), {"net": Normed}, split, split, split)
    training = start([spec(SPARSE_K[0], short, model="net")], problem, backend="loop")
    assert isinstance(training, PackTraining)
    training.step()
    pack = training.pack
    gradients = {name: leaf.grad.clone() for name, leaf in pack.parameters.items() if leaf.grad is not None}
    buffers, state = {name: value.clone() for name, value in pack.buffers.items()}, torch.random.get_rng_state()
    first, second = training._gradient_cosines(0), training._gradient_cosines(0)
    assert first == second  # no dropout
    assert first is not None
    assert not math.isnan(first[0] or 0.0)
    assert all(torch.equal(pack.parameters[name].grad, value) for name, value in gradients.items())
    assert all(torch.equal(pack.buffers[name], value) for name, value in buffers.items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(member.training for member in pack.members)


def test_the_samples_are_spread_over_the_part_and_always_the_same(problem: Problem) -> None:
    part = Split(torch.arange(5000.0)[:, None], torch.zeros(5000, 2))
    batches = [inputs for inputs, _ in fixed_samples(part, 100)]
    values = torch.cat(batches).flatten()
    assert len(values.unique()) == N_SAMPLES
    assert values.max() > 4500
    assert torch.equal(values, torch.cat([inputs for inputs, _ in fixed_samples(part, 37)]).flatten())
