"""The published networks have exactly the sizes that the paper's tables are about."""

import pytest
import torch

from trainer.models.family import Layers
from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.objectives.sparsity_metrics import n_parameters, sparsity_metrics, weight_names

SHAPES = {id(MULTIMNIST): (1, 28, 28), id(CIFAR10MNIST): (3, 32, 32)}
TEN_TWICE = (10, 10)


def check(network: torch.nn.Module, layers: Layers, n_params: int, n_rows: int, n_growl: int) -> None:
    weights = dict(network.named_parameters())
    assert n_parameters(network) == n_params
    assert sparsity_metrics({name: weights[name].detach() for name in weight_names(network)}).n_rows == n_rows
    assert len(network.growl_layers) == n_growl  # type: ignore[arg-type]
    outputs = network(torch.zeros(3, *SHAPES[id(layers)]))
    assert [tuple(output.shape) for output in outputs] == [(3, 10)] * len(network.heads)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layers", "model", "n_params", "n_rows", "n_growl"),
    [
        (MULTIMNIST, "hps", 22_350, 431, 2),
        (MULTIMNIST, "mdmtn", 311_490, 6193, 4),
        (MULTIMNIST, "mtan", 270_150, 1751, 6),
        (MULTIMNIST, "stl", 2 * 21_840, 762, 4),
        (CIFAR10MNIST, "hps", 42_740, 1235, 2),
        (CIFAR10MNIST, "mdmtn", 505_524, 15_641, 4),
        (CIFAR10MNIST, "mtan", 2_783_060, 5907, 6),
        (CIFAR10MNIST, "stl", 2 * 42_410, 2406, 4),
    ],
)
def test_parameters_rows_and_outputs(layers: Layers, model: str, n_params: int, n_rows: int, n_growl: int) -> None:
    check(layers.networks(TEN_TWICE)[model](), layers, n_params, n_rows, n_growl)


@pytest.mark.parametrize(("layers", "n_params", "n_rows"), [(MULTIMNIST, 21_840, 381), (CIFAR10MNIST, 42_410, 1203)])
def test_a_single_task_network_is_a_trunk_and_a_head(layers: Layers, n_params: int, n_rows: int) -> None:
    check(layers.networks((10,))["stl"](), layers, n_params, n_rows, 2)


@pytest.mark.parametrize(("layers", "n_params", "n_rows"), [(MULTIMNIST, 27_450, 531), (CIFAR10MNIST, 44_852, 1299)])
def test_the_network_of_distillation_is_hps_and_adaptors(layers: Layers, n_params: int, n_rows: int) -> None:
    check(layers.networks(TEN_TWICE)["kdmtl"](), layers, n_params, n_rows, 2)


@pytest.mark.parametrize(
    ("layers", "trunk", "head", "attention"), [(MULTIMNIST, 21_330, 510, 123_900), (CIFAR10MNIST, 42_080, 330, 1_370_160)]
)
def test_parts(layers: Layers, trunk: int, head: int, attention: int) -> None:
    assert n_parameters(layers.trunk()) == trunk
    assert [n_parameters(part) for part in layers.heads(TEN_TWICE)] == [head, head]
    assert n_parameters(layers.attention()) == attention


def test_each_network_is_a_fresh_one() -> None:
    make = MULTIMNIST.networks(TEN_TWICE)["mdmtn"]
    first, second = make(), make()
    assert not {id(value) for value in first.parameters()} & {id(value) for value in second.parameters()}
    assert first.monitors[0] is not first.monitors[1]  # type: ignore[index]
