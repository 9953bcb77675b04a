"""`growl.groups: channel`: all positions of a channel that a Linear layer reads are one row, so that whole channels vanish."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainer.api import Problem, Split, TrainingSettings, TrialResult, TrialSpec, classification, model_tensors, start, train
from trainer.catalog import read_by
from trainer.compression.channels import positions_of_channels
from trainer.compression.compress import compress, largest_difference
from trainer.models.published import MULTIMNIST
from trainer.objectives.structure import Structure
from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings

SETTINGS = TrainingSettings(
    batch_size=64,
    learning_rate=1e-2,
    sparsify=SparsifySettings(outer_iterations=2, epochs=1),
    retrain=RetrainSettings(outer_iterations=1, epochs=1),
    growl=GrowlSettings(groups="channel", layer_sparsity_max=0.6),
)
POSITIONS = {"trunk.7.weight": 16, "monitors.0.4.weight": 144, "monitors.1.4.weight": 144}


def problem() -> Problem:
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 28, 28, generator=generator), torch.randint(4, (n, 2), generator=generator))

    tasks = (classification("left", 4), classification("right", 4))
    return Problem("noise", tasks, MULTIMNIST.networks([4, 4]), split(256), split(64), split(64))


def spec(settings: TrainingSettings = SETTINGS) -> TrialSpec:
    return TrialSpec("a", "mdmtn", "wcal_growl", (0.3, 0.4, 0.3), 0, settings)


@pytest.fixture(scope="module")
def result() -> TrialResult:
    (found,) = train([spec()], problem())
    assert found.state == "ok", found.error
    return found


def zero_rows(weight: Tensor) -> Tensor:
    return (weight == 0).all(dim=0)


@pytest.mark.full
def test_the_positions_of_a_channel_are_found_through_what_lies_between() -> None:
    networks = MULTIMNIST.networks([4, 4])
    sample = torch.randn(2, 1, 28, 28)
    assert positions_of_channels(networks["mdmtn"](), sample) == POSITIONS
    gates = {f"attentions.{t}.last.0.weight": 16 for t in range(2)}
    assert positions_of_channels(networks["mtan"](), sample) == {"trunk.7.weight": 16} | gates


@pytest.mark.full
def test_channels_vanish_whole_and_with_them_what_computes_them(result: TrialResult) -> None:
    tensors = model_tensors(result.weights)  # type: ignore[arg-type]
    n_removed = 0
    for name, positions in POSITIONS.items():
        zero = zero_rows(tensors[name]).reshape(-1, positions)
        assert torch.equal(zero.any(dim=1), zero.all(dim=1)), "a channel is read at all of its positions or at none"
        n_removed += int(zero.all(dim=1).sum())
    assert n_removed > 0
    assert result.measurements.rows.sparsity_rate > 0.2
    assert result.measurements.sizes.removable_macs > result.measurements.sizes.removable_params, "convolutions became smaller"


def test_labels_in_the_file_are_those_of_single_rows(result: TrialResult) -> None:
    tensors = model_tensors(result.weights)  # type: ignore[arg-type]
    for name in POSITIONS:
        labels = tensors[f"{name}.labels"]
        weight = tensors[name]
        assert labels.shape == weight.shape[1:]
        assert torch.equal(labels < 0, zero_rows(weight))
        for label in labels[labels >= 0].unique().tolist():
            rows = weight[:, labels == label]
            assert torch.equal(rows, rows[:, :1].expand_as(rows)), "tied rows are equal"


def test_the_compressed_network_computes_the_same(result: TrialResult) -> None:
    tensors = {name: value for name, value in model_tensors(result.weights).items() if not name.endswith(".labels")}  # type: ignore[arg-type]
    network = MULTIMNIST.networks([4, 4])["mdmtn"]()
    network.load_state_dict(tensors)
    small = compress(network, problem().test.first(2)[0])
    assert largest_difference(network, small.network, [problem().test.first(64)[0]]) < 1e-5
    assert len(small.to_bytes({})) == result.measurements.sizes.compact_bytes


@pytest.mark.full
def test_a_resumed_training_is_the_same_to_the_bit(result: TrialResult) -> None:
    first = start([spec()], problem())
    first.step()
    second = start([spec()], problem(), state=first.state_dict())
    while not second.done:
        second.step()
    assert second.results()[0].weights == result.weights


def test_a_layer_of_equal_rows_has_the_same_penalty_in_groups_and_in_units() -> None:
    weight = torch.ones(1, 5, 12, requires_grad=True)
    settings = GrowlSettings(beta1=0.0)
    units = Structure({"w": weight}, settings, 1, torch.device("cpu"))
    groups = Structure({"w": weight}, settings, 1, torch.device("cpu"), {"w": 4})
    assert torch.allclose(units.penalty(), groups.penalty())
    assert groups.masks["w"].shape == (1, 3)
    weight.grad = torch.zeros_like(weight)
    groups.add_penalty_gradient(torch.ones(1))
    wanted = weight.grad.clone()
    weight.grad.zero_()
    units.add_penalty_gradient(torch.ones(1))
    assert torch.allclose(weight.grad, wanted)


def test_ids_of_trials_without_groups_are_what_they_were() -> None:
    assert "groups" not in read_by("wcal_growl", TrainingSettings())["growl"]
    assert read_by("wcal_growl", SETTINGS)["growl"]["groups"] == "channel"
    assert "groups" not in read_by("wcal_growl", replace(SETTINGS, growl=GrowlSettings()))["growl"]
