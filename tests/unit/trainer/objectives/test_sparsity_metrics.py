"""Sparsity, compression and sharing, counted by hand."""

import torch
from torch import nn

from trainer.objectives.sparsity_metrics import SparsityMetrics, layer_sparsity, n_parameters, sparsity_metrics, weight_names


def test_rows_and_parameters_are_counted_over_all_layers() -> None:
    """A Linear layer of 4 rows (a zero pair, an equal pair) and a convolution of 3 rows (one zero) with 2 x 4 numbers each."""
    linear = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    conv = torch.zeros(2, 3, 2, 2)
    conv[:, 1], conv[:, 2] = 1.0, 2.0
    metrics = sparsity_metrics({"linear": linear, "conv": conv})
    n_params, n_zero_params, n_unique_params = 4 + 24, 2 + 8, 2 + 24
    assert metrics == SparsityMetrics(
        sparsity_rate=3 / 7,
        compression_rate=7 / 5,
        parameter_sharing=4 / 5,
        sparsity_rate_params=n_zero_params / n_params,
        compression_rate_params=n_params / n_unique_params,
        parameter_sharing_params=(n_params - n_zero_params) / n_unique_params,
        n_rows=7,
    )
    assert layer_sparsity({"linear": linear, "conv": conv}) == {"linear": 0.5, "conv": 1 / 3}


def test_a_row_is_zero_only_when_all_of_it_is() -> None:
    weight = torch.zeros(2, 2)
    weight[1, 0] = 1.0
    assert sparsity_metrics({"w": weight}).sparsity_rate == 0.5
    assert layer_sparsity({"w": weight}) == {"w": 0.5}


def test_rows_are_counted_over_linear_layers_and_convolutions_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    assert weight_names(network) == ("0.weight", "3.weight")


def test_mixing_parameters_do_not_count() -> None:
    network = nn.Linear(4, 3)
    assert n_parameters(network) == 15
    network.mixing_parameters = ("bias",)  # type: ignore[assignment]
    assert n_parameters(network) == 12
