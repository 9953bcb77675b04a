"""Multiply-adds of a network, counted against what they are by hand."""

import pytest
import torch
from torch import Tensor, nn
from trial_specs import SPARSE_K, spec

from trainer.api import Problem, TrainingSettings, train
from trainer.macs import layer_macs, removable_macs


class Twice(nn.Module):
    """A convolution, grouped convolutions with a stride, a linear layer that is used twice, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3)
        self.grouped = nn.Conv2d(8, 4, 5, stride=2, padding=1, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 4)
        self.unused = nn.Linear(1000, 1000)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        features = self.norm(self.grouped(self.plain(inputs))).mean(dim=(2, 3))
        return [self.linear(self.linear(features))]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_each_use_of_a_layer_counts(n: int) -> None:
    network = Twice().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = layer_macs(network, torch.randn(n, 3, 12, 11))
    assert found == {
        "plain.weight": 10 * 9 * 8 * (3 * 3 * 3),
        "grouped.weight": 4 * 4 * 4 * (8 // 2 * 5 * 5),
        "linear.weight": 2 * 4 * 4,
    }
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_zero_rows_save_their_share_of_each_layer() -> None:
    assert removable_macs({"a": 1000, "b": 60}, {"a": 0.25, "b": 0.5, "c": 1.0}) == 280
    assert removable_macs({"a": 1000}, {}) == 0


def test_rows_have_what_their_zero_rows_save(problem: Problem, short: TrainingSettings) -> None:
    dense, sparse = (train([spec(k, short)], problem)[0].columns for k in ((0.0, 0.5, 0.5), SPARSE_K[3]))
    assert dense["n_macs"] == sparse["n_macs"] > dense["n_params"]
    assert dense["removable_macs"] == dense["removable_params"] == 0
    assert 0 < sparse["removable_macs"] < sparse["n_macs"]
    assert 0 < sparse["removable_params"] < sparse["n_params"]
