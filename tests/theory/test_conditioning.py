"""A conditioned network: which layers grow and by how much, that nothing else changes, and that the condition is learned."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainer.methods.conditioning import Conditioned, condition_on
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.objectives.sparsity_metrics import n_parameters

IMAGES = {"multimnist": (MULTIMNIST, (1, 28, 28)), "cifar10mnist": (CIFAR10MNIST, (3, 32, 32))}
READERS = {
    ("multimnist", "hps"): {"trunk.0": 10 * 25},
    ("multimnist", "mdmtn"): {"trunk.0": 10 * 25, "monitors.0.0": 20 * 25, "monitors.1.0": 20 * 25},
    ("multimnist", "mtan"): {"trunk.0": 10 * 25},
    ("multimnist", "stl"): {"trunks.0.0": 10 * 25, "trunks.1.0": 10 * 25},
    ("cifar10mnist", "hps"): {"trunk.0": 16 * 9},
    ("cifar10mnist", "mdmtn"): {"trunk.0": 16 * 9, "monitors.0.0": 32 * 9, "monitors.1.0": 32 * 9},
    ("cifar10mnist", "mtan"): {"trunk.0": 16 * 9},
    ("cifar10mnist", "stl"): {"trunks.0.0": 16 * 9, "trunks.1.0": 16 * 9},
}
"""(data, network) -> the layers that read the input, and how many weights a condition adds to each."""

NETWORKS = pytest.mark.parametrize(("data", "name"), READERS)


def published(data: str, name: str) -> tuple[nn.Module, Tensor]:
    """The network in evaluation, and three images."""
    torch.manual_seed(0)
    layers, shape = IMAGES[data]
    return layers.networks((10, 10))[name]().eval(), torch.randn(3, *shape)


class Mlp(nn.Module):
    """A user's network of two tasks, as in examples/wine."""

    growl_layers = ("trunk.2",)

    def __init__(self, n_features: int = 5) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(n_features, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 1)])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        shared = self.trunk(inputs)
        return [head(shared) for head in self.heads]


@NETWORKS
@pytest.mark.parametrize("n_conditions", [1, 2, 3])
def test_the_layers_that_read_the_input_grow_and_no_others(data: str, name: str, n_conditions: int) -> None:
    """n_conditions input channels each; every other parameter and buffer keeps its name, shape and value."""
    network, images = published(data, name)
    conditioned = condition_on(network, images, n_conditions)
    readers = READERS[data, name]
    assert n_parameters(conditioned) == n_parameters(network) + n_conditions * sum(readers.values())
    before, after = network.state_dict(), conditioned.state_dict()
    assert list(after) == [f"network.{key}" for key in before]
    grown = {key.removesuffix(".weight") for key, value in before.items() if after[f"network.{key}"].shape != value.shape}
    assert grown == set(readers)
    for key, value in before.items():
        wide = after[f"network.{key}"]
        assert torch.equal(wide[:, : value.shape[1]] if wide.shape != value.shape else wide, value)
    for layer in readers:
        assert conditioned.get_submodule(f"network.{layer}").in_channels == images.shape[1] + n_conditions


@NETWORKS
def test_with_weights_of_zero_the_condition_has_no_effect(data: str, name: str) -> None:
    """The new slices begin at 0: the old outputs, whatever the condition. With other weights it has one."""
    network, images = published(data, name)
    conditioned = condition_on(network, images, 2)
    for condition in (torch.tensor([0.0, 1.0]), torch.tensor([5.0, -3.0])):
        for old, new in zip(network(images), conditioned(images, condition), strict=True):
            torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for layer in READERS[data, name]:
            conditioned.get_parameter(f"network.{layer}.weight")[:, -2:] = 0.1
    for task in range(2):
        first, second = (conditioned(images, torch.tensor(k))[task] for k in ([0.0, 1.0], [5.0, -3.0]))
        assert (first - second).abs().max() > 1e-3


@NETWORKS
def test_gradients_reach_the_new_weights(data: str, name: str) -> None:
    """From zero, too; and those of a condition that is 0 stay where they are."""
    network, images = published(data, name)
    if name == "mdmtn":
        with torch.no_grad():
            network.alpha.fill_(0.5)  # type: ignore[operator, union-attr]
    conditioned = condition_on(network, images, 2)
    sum(output.square().sum() for output in conditioned(images, torch.tensor([0.0, 1.0]))).backward()  # type: ignore[union-attr]
    for layer in READERS[data, name]:
        gradient = conditioned.get_parameter(f"network.{layer}.weight").grad
        assert gradient is not None
        assert (gradient[:, -1] != 0).any()
        assert (gradient[:, -2] == 0).all()


@NETWORKS
def test_the_names_are_right_in_the_new_module(data: str, name: str) -> None:
    network, images = published(data, name)
    conditioned = condition_on(network, images, 2)
    assert len(conditioned.growl_layers) == len(network.growl_layers)  # type: ignore[arg-type]
    for new, old in zip(conditioned.growl_layers, network.growl_layers, strict=True):  # type: ignore[arg-type]
        assert torch.equal(conditioned.get_parameter(f"{new}.weight"), network.get_parameter(f"{old}.weight"))
    for parameter in conditioned.mixing_parameters:
        conditioned.get_parameter(parameter)
    assert conditioned.mixing_parameters == (("network.alpha",) if name == "mdmtn" else ())
    assert conditioned.bounds == {}


def test_bounds_are_kept_and_a_plain_network_has_none() -> None:
    network = Mlp()
    network.bounds = {"trunk.0.bias": (-1.0, 1.0)}  # type: ignore[assignment]
    assert condition_on(network, torch.randn(4, 5), 2).bounds == {"network.trunk.0.bias": (-1.0, 1.0)}
    plain = condition_on(nn.Sequential(nn.Linear(5, 2)), torch.randn(4, 5), 2)
    assert plain.growl_layers == plain.mixing_parameters == ()


@pytest.mark.parametrize("shape", [(4, 5), (4, 7, 5)])
def test_features_get_the_condition_behind_them(shape: tuple[int, ...]) -> None:
    """A user's MLP, on rows and on sequences of rows: the same as a layer that reads both side by side."""
    network, inputs, condition = Mlp(), torch.randn(shape), torch.tensor([0.3, 0.7])
    conditioned = condition_on(network, inputs, 2)
    first = conditioned.get_submodule("network.trunk.0")
    assert isinstance(first, nn.Linear)
    nn.init.normal_(first.weight)
    seen: list[Tensor] = []
    first.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    outputs = conditioned(inputs, condition)
    expected = inputs @ first.weight[:, :5].T + condition @ first.weight[:, 5:].T + first.bias
    torch.testing.assert_close(seen[0], expected)
    assert outputs[0].shape == (*shape[:-1], 3)
    assert first.in_features == 7


def test_a_plane_is_constant_and_of_the_conditions_value() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False))
    conditioned = condition_on(network, torch.randn(2, 3, 6, 6), 2)
    weight = conditioned.get_parameter("network.0.weight")
    with torch.no_grad():
        weight.zero_()
        weight[0, 3], weight[1, 4] = 1, 1
    output = conditioned(torch.randn(5, 3, 8, 6), torch.tensor([0.25, 0.75]))
    assert (output[:, 0] == 0.25).all()
    assert (output[:, 1] == 0.75).all()


def test_the_attribute_stands_in_for_the_argument() -> None:
    inputs, condition = torch.randn(4, 5), torch.tensor([0.3, 0.7])
    conditioned = condition_on(Mlp(), inputs, 2)
    nn.init.normal_(conditioned.get_parameter("network.trunk.0.weight"))
    expected = conditioned(inputs, condition)
    conditioned.condition = condition
    assert all(torch.equal(a, b) for a, b in zip(conditioned(inputs), expected, strict=True))
    assert "condition" not in conditioned.state_dict()
    twin = copy.deepcopy(conditioned)
    assert all(torch.equal(a, b) for a, b in zip(twin(inputs), expected, strict=True))


def test_the_network_that_is_given_is_not_touched() -> None:
    """Nor its random state, its batch norm, the example or the mode; and the copy is in the mode of the network."""
    network, images = published("cifar10mnist", "hps")
    network.train()
    before, random, given = copy.deepcopy(network.state_dict()), torch.get_rng_state(), images.clone()
    conditioned = condition_on(network, images, 2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(images, given)
    assert all(module.training for module in (*network.modules(), *conditioned.modules()))
    assert not any(module._forward_pre_hooks for module in (*network.modules(), *conditioned.modules()))


def test_one_network_learns_to_follow_its_condition() -> None:
    """Targets that are the condition itself: 600 steps of Adam, and the error falls below a hundredth."""
    torch.manual_seed(0)
    inputs = torch.randn(64, 5)
    conditioned = condition_on(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1)), inputs, 2)
    optimiser = torch.optim.Adam(conditioned.parameters(), lr=1e-2)

    def loss(share: float) -> Tensor:
        return (conditioned(inputs, torch.tensor([share, 1 - share])) - share).square().mean()

    before = (loss(0.9) + loss(0.1)).item()
    for step in range(600):
        optimiser.zero_grad()
        loss((step * 0.618) % 1).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert (loss(0.9) + loss(0.1)).item() < before / 100


class Forward(nn.Module):
    """A network whose forward method is a function of (itself, inputs)."""

    def __init__(self, layers: dict[str, nn.Module], forward: Callable[["Forward", Tensor], Tensor]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._call = forward

    def forward(self, inputs: Tensor) -> Tensor:
        return self._call(self, inputs)


def tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    return network


ROWS, PICTURES = (2, 4), (2, 3, 6, 6)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()), (2, 3, 9), r"layer 0 \(Conv1d\) reads the input of shape \(2, 3, 9\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), PICTURES, r"layer 0 \(Flatten\) reads the input of shape"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), PICTURES, r"layer 0 \(BatchNorm2d\) reads the input"),
        (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), ROWS, r"layer 0 \(ReLU\) reads the input"),
        (nn.Sequential(nn.Linear(6, 4)), PICTURES, r"layer 0 \(Linear\) .* which a Conv2d is expected to"),
        (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3)), PICTURES, r"layer 0 \(Conv2d\) reads the input in 3 groups"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))), ROWS, "layer 0 .* computes its weight"),
        (tied(), ROWS, r"shares its weight \(0\.weight, 1\.weight\)"),
        (nn.Sequential(nn.Identity()), ROWS, "found none"),
        (Forward({"a": nn.Conv2d(3, 3, 1)}, lambda net, x: net.a(x) + x), PICTURES, "something else reads the input too"),
        (Forward({"a": nn.Conv2d(3, 3, 1)}, lambda net, x: net.a(x) + x.mean()), PICTURES, "something else than a reads the input"),
        (Forward({"a": nn.Linear(108, 3)}, lambda net, x: net.a(x.flatten(1))), PICTURES, r"layer a \(Linear\) reads the input"),
        (Forward({"a": nn.Linear(2, 3)}, lambda net, x: net.a(x[:, :2])), ROWS, r"in another shape, \(2, 2\)"),
        (Forward({"a": nn.Linear(4, 4)}, lambda net, x: net.a(net.a(x))), ROWS, "layer a .* also something else"),
        (Forward({"a": nn.Linear(4, 4)}, lambda net, x: net.a(x[:, :4])), ROWS, "with wider a the network fails"),
        (Forward({"a": nn.Linear(4, 4)}, lambda net, x: net.a(2 * x)), ROWS, "found none"),
    ],
)
def test_what_cannot_be_widened_is_named(network: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        condition_on(network, torch.randn(shape), 2)


def test_an_identity_at_the_input_hands_it_on() -> None:
    conditioned = condition_on(nn.Sequential(nn.Identity(), nn.Linear(4, 2)), torch.randn(ROWS), 3)
    assert conditioned.get_parameter("network.1.weight").shape == (2, 7)


def test_a_layer_is_a_network() -> None:
    assert condition_on(nn.Linear(4, 2), torch.randn(ROWS), 1).get_parameter("network.weight").shape == (2, 5)


@pytest.mark.parametrize("condition", [torch.ones(3), torch.ones(1, 2), torch.tensor(1.0), None])
def test_another_condition_is_refused(condition: Tensor | None) -> None:
    conditioned = condition_on(Mlp(), torch.randn(4, 5), 2)
    with pytest.raises(ValueError, match=r"condition of shape \(2,\), found"):
        conditioned(torch.randn(4, 5), condition)
    assert isinstance(conditioned, Conditioned)


def test_no_conditions_are_refused() -> None:
    with pytest.raises(ValueError, match="found n_conditions = 0"):
        condition_on(Mlp(), torch.randn(4, 5), 0)
