"""Initialisation, rates, selection, settings and bytes, each by itself."""

import json
import math

import pytest
import torch
from torch import nn

from trainer.objectives.sparsity_metrics import layer_sparsity, sparsity_metrics
from trainer.settings import GrowlSettings, LsuvSettings, Range
from trainer.training.best_epoch import Kept
from trainer.training.checkpoint import CheckpointError, State, from_bytes, model_file, to_bytes
from trainer.training.lsuv import initialise_lsuv


def test_lsuv_gives_every_layer_unit_variance_from_its_seed_alone() -> None:
    inputs = torch.randn(500, 20, generator=torch.Generator().manual_seed(0)) * 7
    networks = []
    for _ in range(2):
        torch.manual_seed(torch.seed())  # whatever the global state is
        network = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
        state = torch.random.get_rng_state()
        initialise_lsuv(network, inputs, LsuvSettings(tolerance=0.02), seed=3)
        assert torch.equal(torch.random.get_rng_state(), state)
        networks.append(network)
    hidden = networks[0][0](inputs)
    assert float(hidden.detach().std()) == pytest.approx(1, abs=0.03)
    assert float(networks[0](inputs).detach().std()) == pytest.approx(1, abs=0.03)
    for first, second in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(first, second)


def test_lsuv_survives_constant_inputs() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    initialise_lsuv(network, torch.zeros(10, 4), LsuvSettings(), seed=0)
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_lsuv_leaves_a_layer_alone_whose_output_varies_by_rounding() -> None:
    """One unit, inputs that are equal up to their last bits: to scale its deviation to 1 would make weights of a million."""
    inputs = torch.ones(64, 6)
    inputs[::2] += 2**-23
    network = nn.Linear(6, 1)
    initialise_lsuv(network, inputs, LsuvSettings(), seed=0)
    assert float(network.weight.detach().norm()) == pytest.approx(1)
    initialise_lsuv(network, torch.randn(64, 6, generator=torch.Generator().manual_seed(0)) * 1e-3, LsuvSettings(), seed=0)
    assert float(network.weight.detach().norm()) > 100, "small is not constant"


def test_rates_of_a_network_made_by_hand() -> None:
    """Five rows: two zero, two equal, one alone: SR 2/5, CR 5/3, PS 1."""
    weight = torch.zeros(2, 5)
    weight[:, 0] = weight[:, 3] = torch.tensor([1.0, 2.0])
    weight[:, 4] = torch.tensor([3.0, 4.0])
    metrics = sparsity_metrics({"layer": weight})
    assert metrics.sparsity_rate == 2 / 5
    assert metrics.compression_rate == 5 / 3
    assert metrics.parameter_sharing == 1
    assert layer_sparsity({"layer": weight}) == {"layer": 0.4}


def test_zero_rows_count_as_one_unique_row_in_each_layer() -> None:
    zero = torch.zeros(3, 4)
    metrics = sparsity_metrics({"a": zero, "b": zero})
    assert metrics.compression_rate == 4
    assert metrics.parameter_sharing == 0


def test_kept_prefers_models_that_reached_the_sparsity_then_the_score() -> None:
    template = {"w": torch.zeros(3, 2)}
    kept = Kept(template)
    offers = [
        (1, [0.9, 0.1, 0.5], [False, True, False]),
        (2, [0.2, 0.9, 0.5], [True, False, False]),
        (3, [math.nan, 0.2, 0.6], [True, True, False]),
    ]
    for epoch, score, reached in offers:
        kept.offer(epoch, torch.tensor(score, dtype=torch.float64), torch.tensor(reached), {"w": torch.full((3, 2), float(epoch))})
    assert kept.epoch.tolist() == [2, 3, 3]
    assert kept.tensors["w"][:, 0].tolist() == [2.0, 3.0, 3.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_setting_out_of_range_is_named(value: float) -> None:
    with pytest.raises(ValueError, match="GrowlSettings expects beta1 to be"):
        GrowlSettings(beta1=value)


def test_ranges_say_their_rule() -> None:
    assert Range(gt=0).broken_rule(0) == "a number > 0"
    assert Range(ge=0, le=1).broken_rule(2) == "a number <= 1"
    assert Range(ge=0, lt=1).broken_rule(0.5) is None


def test_every_setting_has_a_docstring_with_its_meaning() -> None:
    """`sweep schema` shows them; a setting without one would be a riddle in an editor."""
    from sweep.grid.load import json_schema

    schema = json_schema()
    parts = [schema, *(part for part in schema["$defs"].values() if "properties" in part)]
    assert any("beta1" in part["properties"] for part in parts)
    for part in parts:
        unnamed = [name for name, item in part["properties"].items() if "description" not in item and "$ref" not in item]
        assert not unnamed, (part.get("title"), unnamed)


def test_a_state_survives_its_bytes() -> None:
    state = State(("a", "b"), 3, {"w/x": torch.rand(2, 3), "mask": torch.tensor([True, False])}, {"n": 1.5, "loss": [math.nan, 0.1]})
    found = from_bytes(to_bytes(state))
    assert (found.trial_ids, found.epoch) == (state.trial_ids, state.epoch)
    assert all(torch.equal(found.tensors[name], value) for name, value in state.tensors.items())
    assert found.scalars["loss"][1] == 0.1


@pytest.mark.parametrize("data", [b"", b"\x00" * 16, b"x" * 100, to_bytes(State(("a",), 1, {"w": torch.rand(1, 4)}, {}))[:-5]])
def test_torn_bytes_are_no_state(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        from_bytes(data)


def test_the_metadata_of_a_model_is_json_without_torch() -> None:
    data = model_file({"w": torch.rand(2, 2)}, {"tasks": ["left"], "seed": 0})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["pareto-sweep"]) == {"tasks": ["left"], "seed": 0}
