"""torchvision's networks, and the one of examples/resnet, are compressed to what they compute."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.bench.torchvision_networks import INPUT_SHAPE, NETWORKS, made, mask_rows
from trainer.compression.compress import TOLERANCE, compress, largest_difference

QUICK = ("squeezenet1_1", "resnet18")
EXAMPLE = Path(__file__).parents[4] / "examples/resnet/problem.py"


def is_smaller_and_equal(network: nn.Module, input_shape: tuple[int, ...]) -> None:
    inputs = torch.randn(3, *input_shape)
    small = compress(network, inputs[:2])
    assert largest_difference(network, small.network, [inputs]) < TOLERANCE
    assert small.n_params < 0.9 * sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.full if name in QUICK else pytest.mark.slow) for name in NETWORKS])
def test_a_network_of_torchvision_becomes_smaller(name: str) -> None:
    is_smaller_and_equal(made(name), INPUT_SHAPE)


@pytest.mark.full
def test_the_example_s_resnet_becomes_smaller() -> None:
    spec = importlib.util.spec_from_file_location("resnet_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    network = module.ResNet18().eval()
    mask_rows([network.get_submodule(name) for name in network.growl_layers], 0.5)
    is_smaller_and_equal(network, (3, 32, 32))
