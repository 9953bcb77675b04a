"""Every backend of a pack computes the same: each against the plain loop, in float64."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, train
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.pack.backends import backend_of, pack_of
from trainer.pack.device import BACKENDS, BackendMissingError, Place
from trainer.pack.kernels.library import why_missing
from trainer.pack.loop import load_starts
from trainer.settings import RetrainSettings, SparsifySettings
from trainer.training.two_phase import TwoPhase

GPU_KERNELS = ["packed+pool", "packed+kernel"] if find_spec("triton") else []
"""Backends that take minutes to train a network in Triton's interpreter; test_gpu_conv_pool.py trains a small one with them."""
OTHERS = [name for name in BACKENDS if name not in ("loop", "packed+pool", "packed+kernel")]
if why_missing():
    OTHERS.remove("loop+kernel")
SHAPES = {"MultiMNIST": (MULTIMNIST, (1, 28, 28)), "Cifar10Mnist": (CIFAR10MNIST, (3, 32, 32))}
SETTINGS = TrainingSettings(
    batch_size=16, sparsify=SparsifySettings(outer_iterations=2, epochs=1), retrain=RetrainSettings(outer_iterations=2, epochs=2)
)


def noise(shape: tuple[int, ...], networks: Mapping[str, Callable[[], nn.Module]], n_train: int = 160) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        inputs = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
        return Split(inputs, torch.randint(10, (n, 2), generator=generator))

    exact = {name: (lambda make=make: make().double()) for name, make in networks.items()}
    return Problem("noise", (classification("a", 10), classification("b", 10)), exact, split(n_train), split(40), split(40))


def specs(model: str, n: int, settings: TrainingSettings = SETTINGS) -> list[TrialSpec]:
    return [TrialSpec(str(i), model, "wcal_growl", (0.02, 0.4 + 0.02 * i, 0.58 - 0.02 * i), 0, settings) for i in range(n)]


def trained(problem: Problem, of: Sequence[TrialSpec], backend: str) -> TwoPhase:
    training = TwoPhase(of, problem, Place(backend=backend))
    while not training.done:
        training.step()
    assert training.pack.backend == backend
    return training


def parameters(training: TwoPhase) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in training.pack.parameters.items()}


@pytest.mark.full
@pytest.mark.parametrize("n", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_sixty_steps_of_both_phases_agree_to_1e_12_in_packs_of_one_and_of_three(n: int) -> None:
    """With pruned rows, ties and multipliers."""
    problem = noise((1, 28, 28), MULTIMNIST.networks([10, 10]))
    expected = trained(problem, specs("mdmtn", 3), "loop")
    assert all(result.measurements.rows.sparsity_rate > 0 for result in expected.results())
    assert expected._optimiser.n_steps + 2 * 10 == 60
    for backend in OTHERS:
        found = parameters(trained(problem, specs("mdmtn", n), backend))
        for name, value in parameters(expected).items():
            assert (found[name] - value[:n]).abs().max() <= 1e-12, (backend, name)


@pytest.mark.full
@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ("MultiMNIST", "hps"),
        *(pytest.param("MultiMNIST", model, marks=pytest.mark.slow) for model in ("mdmtn", "mtan")),
        *(pytest.param("Cifar10Mnist", model, marks=pytest.mark.slow) for model in ("hps", "mdmtn", "mtan")),
    ],
)
def test_every_network_trains_alike_on_every_backend(shape: str, model: str) -> None:
    """Batch norm's statistics too. By gradient descent: Adam makes steps of the rounding of gradients that are zero, as those of
    a bias in front of a batch norm are."""
    layers, size = SHAPES[shape]
    settings = replace(SETTINGS, optimizer="sgd", learning_rate=0.01, retrain=RetrainSettings(outer_iterations=1, epochs=1))
    problem = noise(size, layers.networks([10, 10]), n_train=64)
    expected = trained(problem, specs(model, 2, settings), "loop")
    for backend in OTHERS:
        found = trained(problem, specs(model, 2, settings), backend)
        for mine, theirs in ((found.pack.parameters, expected.pack.parameters), (found.pack.buffers, expected.pack.buffers)):
            for name, value in theirs.items():
                torch.testing.assert_close(mine[name].detach(), value.detach(), rtol=1e-9, atol=1e-12)
        for ours, reference in zip(found.results(), expected.results(), strict=True):
            assert ours.measurements.sparsity == pytest.approx(reference.measurements.sparsity, rel=1e-9)
            for part, losses in reference.measurements.losses.items():
                assert ours.measurements.losses[part] == pytest.approx(losses, rel=1e-9), part
                assert ours.measurements.metrics[part] == pytest.approx(reference.measurements.metrics[part], rel=1e-9), part


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        pytest.param(shape, model, marks=pytest.mark.full if (shape, model) == ("MultiMNIST", "hps") else pytest.mark.slow)
        for shape in SHAPES
        for model in ("hps", "mdmtn", "mtan", "stl")
    ],
)
def test_gradients_of_every_network_agree_on_every_backend(shape: str, model: str) -> None:
    """On the GPU's kernels too, which run in Triton's interpreter where there is no GPU."""
    layers, size = SHAPES[shape]
    problem = noise(size, layers.networks([10, 10]), n_train=2)
    assert isinstance(problem.train, Split)
    initial, generator = problem.networks[model](), torch.Generator().manual_seed(1)
    starts = [
        {name: value + 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype) for name, value in initial.named_parameters()}
        | dict(initial.named_buffers())
        for _ in range(2)
    ]
    expected: dict[str, Tensor] = {}
    for backend in ["loop", *OTHERS, *GPU_KERNELS]:
        device = torch.device("cuda" if backend in GPU_KERNELS and torch.cuda.is_available() else "cpu")
        pack = pack_of(copy.deepcopy(initial), 2, problem, Place(device, backend))
        assert pack.backend == backend
        load_starts(pack, starts)
        losses = pack.backward_of_sum(problem.train.inputs.to(device), problem.train.targets.to(device))
        found = {"losses": losses} | pack.buffers
        found |= {f"gradient of {name}": leaf.grad for name, leaf in pack.parameters.items() if leaf.grad is not None}
        expected = expected or {name: value.clone() for name, value in found.items()}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            gap = (found[name].cpu() - value).abs().max()
            assert gap <= 1e-12 * max(1, float(value.abs().max())), (backend, name, gap)


@pytest.mark.full
@pytest.mark.parametrize("backend", ["vmap", "packed", "packed+products"])
def test_a_stacked_model_does_not_depend_on_its_neighbours_to_the_bit(backend: str) -> None:
    problem = noise((1, 28, 28), MULTIMNIST.networks([10, 10]), n_train=48)
    first = specs("mdmtn", 3)
    other = [first[0], replace(first[1], preference=(0.5, 0.25, 0.25)), first[2]]
    one, two = (parameters(trained(problem, of, backend)) for of in (first, other))
    for name, value in one.items():
        assert torch.equal(value[[0, 2]], two[name][[0, 2]]), name
    assert not all(torch.equal(value[1], two[name][1]) for name, value in one.items())


@pytest.mark.parametrize("backend", ["vmap", "packed", "packed+products"])
def test_a_model_that_diverges_leaves_the_others_alone(backend: str) -> None:
    problem = noise((1, 28, 28), MULTIMNIST.networks([10, 10]), n_train=32)
    training = TwoPhase(specs("hps", 2), problem, Place(backend=backend))
    with torch.no_grad():
        training.pack.parameters["trunk.0.weight"][0] = torch.nan
    while not training.done:
        training.step()
    assert [result.state for result in training.results()] == ["diverged", "ok"]


class Odd(nn.Module):
    """Operations that no backend knows by name."""

    growl_layers = ("second",)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 6))
        self.heads = nn.ModuleList([nn.Linear(6, 10), nn.Linear(6, 10)])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        hidden = torch.nn.functional.leaky_relu(self.second(torch.tanh(self.first(inputs))))
        n = hidden.shape[0]
        features = torch.einsum("nchw,c->nc", hidden, self.scale).view(n, -1)
        features = features - features.mean(dim=1, keepdim=True)
        features += 1
        return [head(features) for head in self.heads]


def test_a_module_of_ones_own_runs_on_the_packed_backends() -> None:
    problem = noise((1, 8, 8), {"odd": Odd}, n_train=32)
    expected = parameters(trained(problem, specs("odd", 2), "loop"))
    for backend in ("vmap", "packed", "packed+products"):
        for name, value in parameters(trained(problem, specs("odd", 2), backend)).items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12)


def test_the_row_names_the_backend_and_a_wrong_one_is_refused() -> None:
    problem = noise((1, 28, 28), MULTIMNIST.networks([10, 10]), n_train=16)
    (result,) = train(specs("hps", 1), problem, backend="packed")
    assert result.measurements.backend == "packed"
    with pytest.raises(ValueError, match="found turbo"):
        train(specs("hps", 1), problem, backend="turbo")


def test_without_a_compiler_a_cpu_takes_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = noise((1, 28, 28), MULTIMNIST.networks([10, 10]), n_train=16)
    for module in ("trainer.pack.backends", "trainer.pack.loop"):
        monkeypatch.setattr(f"{module}.why_missing", lambda: "no C compiler found")
    assert backend_of(problem, Place()) == "loop"
    assert backend_of(replace(problem, is_small=True), Place()) == "vmap"
    assert backend_of(problem, Place(torch.device("cuda"))) == "packed"
    with pytest.raises(BackendMissingError, match="no C compiler found"):
        pack_of(problem.networks["hps"](), 1, problem, Place(backend="loop+kernel"))
