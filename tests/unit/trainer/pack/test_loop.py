"""Warm starts: a sparse trial begins with another network, and nothing else about it changes."""

import dataclasses

import pytest
import torch
from sets import short_cases
from torch import Tensor
from trial_specs import spec

from tests.unit.trainer.training.test_two_phase import comparable, load_weights
from trainer.api import Problem, TrainingSettings, from_bytes, model_tensors, start, to_bytes, train
from trainer.catalog import read_by
from trainer.training.two_phase import TwoPhase

Network = dict[str, Tensor]
KS = ((0.05, 0.475, 0.475), (0.1, 0.2, 0.7), (0.02, 0.7, 0.28))


@pytest.fixture
def warm(short: TrainingSettings) -> TrainingSettings:
    return dataclasses.replace(short, warm_start="neighbour")


@pytest.fixture(scope="module")
def dense(problem: Problem) -> list[Network]:
    """Two dense networks after an epoch."""
    settings = TrainingSettings(batch_size=128, learning_rate=1e-2)
    brief = dataclasses.replace(
        settings,
        sparsify=dataclasses.replace(settings.sparsify, outer_iterations=1, epochs=1),
        retrain=dataclasses.replace(settings.retrain, outer_iterations=0),
    )
    results = train([spec((0.0, 0.5, 0.5), brief, "even"), spec((0.0, 0.2, 0.8), brief, "right")], problem)
    return [model_tensors(result.weights) for result in results if result.weights is not None]


def specs_of(settings: TrainingSettings, **changes: object) -> list:
    return [spec(k, settings, str(i), **changes) for i, k in enumerate(KS)]


@pytest.mark.full
def test_each_trial_of_a_pack_begins_with_its_own_network(problem: Problem, warm: TrainingSettings, dense: list[Network]) -> None:
    training = start(specs_of(warm), problem, starts=[dense[0], dense[1], None])
    assert isinstance(training, TwoPhase)
    initial = start([spec(KS[2], dataclasses.replace(warm, warm_start="none"))], problem)
    assert isinstance(initial, TwoPhase)
    for name, stacked in training.pack.parameters.items():
        assert torch.equal(stacked[0], dense[0][name])
        assert torch.equal(stacked[1], dense[1][name])
        assert torch.equal(stacked[2], initial.pack.parameters[name][0])


@pytest.mark.full
def test_a_pack_agrees_with_packs_of_one_to_the_bit(problem: Problem, warm: TrainingSettings, dense: list[Network]) -> None:
    starts = [dense[0], dense[1], None]
    together = train(specs_of(warm), problem, starts=starts)
    for result, one, own in zip(together, specs_of(warm), starts, strict=True):
        (alone,) = train([one], problem, starts=[own])
        assert comparable(alone) == comparable(result)
        assert load_weights(alone) == load_weights(result)


@pytest.mark.parametrize("n_before", short_cases([1, 0, 3]))
def test_it_resumes_to_the_bit(problem: Problem, warm: TrainingSettings, dense: list[Network], n_before: int) -> None:
    starts = [dense[0], None, dense[1]]
    undisturbed = train(specs_of(warm), problem, starts=starts)
    first = start(specs_of(warm), problem, starts=starts)
    for _ in range(n_before):
        first.step()
    second = start(specs_of(warm), problem, starts=starts, state=from_bytes(to_bytes(first.state_dict())))
    while not second.done:
        second.step()
    for one, other in zip(undisturbed, second.results(), strict=True):
        assert comparable(one) == comparable(other)
        assert load_weights(one) == load_weights(other)


@pytest.mark.full
def test_without_a_network_a_warm_trial_is_a_cold_one(problem: Problem, short: TrainingSettings, warm: TrainingSettings) -> None:
    cold = train(specs_of(short), problem)
    found = train(specs_of(warm), problem, starts=[None] * len(KS))
    assert [comparable(result) for result in found] == [comparable(result) for result in cold]


@pytest.mark.full
def test_k0_is_measured_in_the_anchors_of_the_initial_network(
    problem: Problem, short: TrainingSettings, warm: TrainingSettings, dense: list[Network]
) -> None:
    (cold,) = train([spec(KS[0], short, scaling="anchors")], problem)
    (found,) = train([spec(KS[0], warm, scaling="anchors")], problem, starts=[dense[0]])
    assert found.measurements.anchors == cold.measurements.anchors
    assert found.measurements.losses["test"]["left"] != cold.measurements.losses["test"]["left"]


def test_starts_must_be_given_where_they_are_needed_and_nowhere_else(
    problem: Problem, short: TrainingSettings, warm: TrainingSettings, dense: list[Network]
) -> None:
    with pytest.raises(ValueError, match="starts to be a network or None for each trial, found None"):
        start(specs_of(warm), problem)
    with pytest.raises(ValueError, match="one network or None for each of 3 models, found 2"):
        start(specs_of(warm), problem, starts=dense)
    for cold in (spec(KS[0], short), spec((0.0, 0.5, 0.5), warm)):
        with pytest.raises(ValueError, match="starts to be no networks"):
            start([cold], problem, starts=[dense[0]])


def test_what_does_not_fit_into_the_network_is_named(problem: Problem, warm: TrainingSettings, dense: list[Network]) -> None:
    name = next(name for name in dense[0] if name.endswith("weight"))
    with pytest.raises(ValueError, match=rf"{name}: shape .* expected of the network to start from, found None"):
        start([spec(KS[0], warm)], problem, starts=[{key: value for key, value in dense[0].items() if key != name}])
    with pytest.raises(ValueError, match=rf"{name}: shape .* expected .* found \(1,\)"):
        start([spec(KS[0], warm)], problem, starts=[dense[0] | {name: torch.zeros(1)}])


def test_the_default_is_no_part_of_what_is_read() -> None:
    assert "warm_start" not in read_by("wcal_growl", TrainingSettings())
    warm = TrainingSettings(warm_start="neighbour")
    assert read_by("wcal_growl", warm)["warm_start"] == "neighbour"
    assert "warm_start" not in read_by("fixed_architecture", warm)
