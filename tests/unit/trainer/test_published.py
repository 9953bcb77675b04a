"""The published networks have exactly the sizes that the paper's tables are about."""

import pytest
import torch

from trainer.metrics import n_parameters, sparsity_metrics, weight_names
from trainer.models.published import CIFAR10MNIST, MULTIMNIST, Layers

SHAPES = {id(MULTIMNIST): (1, 28, 28), id(CIFAR10MNIST): (3, 32, 32)}


@pytest.mark.parametrize(
    ("layers", "model", "n_params", "n_rows", "n_growl"),
    [
        (MULTIMNIST, "hps", 22_350, 431, 2),
        (MULTIMNIST, "mdmtn", 311_490, 6193, 4),
        (CIFAR10MNIST, "hps", 42_740, 1235, 2),
        (CIFAR10MNIST, "mdmtn", 505_524, 15_641, 4),
    ],
)
def test_parameters_rows_and_outputs(layers: Layers, model: str, n_params: int, n_rows: int, n_growl: int) -> None:
    network = layers.networks(n_tasks=2)[model]()
    weights = dict(network.named_parameters())
    assert n_parameters(network) == n_params
    assert sparsity_metrics({name: weights[name].detach() for name in weight_names(network)})["n_rows"] == n_rows
    assert len(network.growl_layers) == n_growl  # type: ignore[arg-type]
    assert not any("head" in name or name.endswith(".0") for name in network.growl_layers)  # type: ignore[union-attr]
    outputs = network(torch.zeros(3, *SHAPES[id(layers)]))
    assert [tuple(output.shape) for output in outputs] == [(3, 10), (3, 10)]


@pytest.mark.parametrize(("layers", "trunk", "head"), [(MULTIMNIST, 21_330, 510), (CIFAR10MNIST, 42_080, 330)])
def test_parts(layers: Layers, trunk: int, head: int) -> None:
    assert n_parameters(layers.trunk()) == trunk
    assert [n_parameters(part) for part in layers.heads(2)] == [head, head]


def test_each_network_is_a_fresh_one() -> None:
    make = MULTIMNIST.networks(2)["mdmtn"]
    first, second = make(), make()
    assert not {id(value) for value in first.parameters()} & {id(value) for value in second.parameters()}
    assert first.monitors[0] is not first.monitors[1]  # type: ignore[index]
