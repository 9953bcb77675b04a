"""The algorithm as a whole: what k0 does, what a pack is, what a state holds, what a row says."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load
from sets import short_cases
from trial_specs import SPARSE_K, comparable, spec

from trainer.api import Problem, TrainingSettings, TrialResult, from_bytes, start, to_bytes, train
from trainer.objectives.growl import growl_penalty, row_norms, theta_pattern
from trainer.objectives.sparsity_metrics import sparsity_metrics
from trainer.pack.loop import Pack


def load_weights(result: TrialResult) -> dict[str, bytes]:
    """The bytes of each stored tensor (the file also names the trial)."""
    assert result.weights is not None
    return {name: value.numpy().tobytes() for name, value in load(result.weights).items()}


@pytest.mark.full
def test_without_a_sparsity_preference_nothing_is_pruned(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train([spec((0.0, 0.5, 0.5), short)], problem)
    assert result.measurements.rows.sparsity_rate == 0
    assert result.measurements.rows.parameter_sharing == result.measurements.rows.compression_rate
    assert {epoch.phase for epoch in result.epochs} == {"dense"}
    assert result.measurements.n_epochs == 4


@pytest.mark.full
def test_more_weight_on_sparsity_prunes_more(problem: Problem, short: TrainingSettings) -> None:
    rates = [train([spec((k0, (1 - k0) / 2, (1 - k0) / 2), short)], problem)[0].measurements.rows.sparsity_rate for k0 in (1e-5, 0.02, 0.3)]
    assert rates[0] < rates[2]
    assert rates == sorted(rates)


@pytest.mark.full
def test_the_identities_of_the_metrics_hold(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train([spec(SPARSE_K[0], short)], problem)
    rows = result.measurements.rows
    assert rows is not None
    assert rows.parameter_sharing == pytest.approx(rows.compression_rate * (1 - rows.sparsity_rate), rel=1e-12)
    assert rows.parameter_sharing_params == pytest.approx(rows.compression_rate_params * (1 - rows.sparsity_rate_params), rel=1e-12)
    assert rows.n_rows == 1 + 10 + 180 + 2 * (1 + 500) + 2 * 50


@pytest.mark.full
def test_no_layer_loses_more_than_its_cap(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train([spec((0.9, 0.05, 0.05), short)], problem)
    layers = result.measurements.layer_sparsity
    cap = short.growl.layer_sparsity_max
    assert max(layers.values()) <= cap
    assert layers["trunk.6.weight"] == pytest.approx(cap)
    assert layers["trunk.0.weight"] == layers["heads.0.weight"] == 0


def test_one_model_is_behind_all_measurements(problem: Problem, short: TrainingSettings) -> None:
    """Losses, accuracies, L0 and rates recomputed from the stored weights are the row's."""
    (result,) = train([spec(SPARSE_K[1], short)], problem)
    assert result.weights is not None
    tensors = load(result.weights)
    network = problem.networks["mdmtn"]()
    weights = {name: value for name, value in tensors.items() if not name.endswith(".labels")}
    network.load_state_dict(weights)
    pack = Pack(network, 1, problem, torch.device("cpu"))
    for split_name in ("train", "validation", "test"):
        losses, metrics = pack.evaluate(getattr(problem, split_name))
        for t, task in enumerate(problem.tasks):
            assert result.measurements.losses[split_name][task.name] == pytest.approx(float(losses[0, t]), rel=1e-6)
            # Another kernel than the one that trained: it may decide one sample between two equal outputs otherwise.
            one_sample = 1 / len(getattr(problem, split_name))
            assert result.measurements.metrics[split_name][task.name] == pytest.approx(float(metrics[0, t]), abs=one_sample)
    growl = [f"{name}.weight" for name in network.growl_layers]
    penalty = sum(
        float(growl_penalty(row_norms(weights[name][None]), theta_pattern("spike", weights[name].shape[1], 0.8, 0.2))) for name in growl
    )
    assert result.measurements.sparsity == pytest.approx(penalty, rel=1e-6)
    rows = {name: value for name, value in weights.items() if value.dim() >= 2 and name != "alpha"}
    assert sparsity_metrics(rows).sparsity_rate == result.measurements.rows.sparsity_rate
    for name in growl:
        suppressed = tensors[f"{name}.labels"] < 0
        assert torch.equal(row_norms(weights[name][None])[0] == 0, suppressed)


def test_the_same_specs_give_the_same_results_to_the_bit(problem: Problem, short: TrainingSettings) -> None:
    first, second = (train([spec(SPARSE_K[0], short)], problem)[0] for _ in range(2))
    assert comparable(first) == comparable(second)
    assert first.weights == second.weights


@pytest.mark.full
@pytest.mark.parametrize("model", ["mdmtn", "hps"])
def test_a_neighbour_changes_nothing(problem: Problem, short: TrainingSettings, model: str) -> None:
    """Changing one model's k leaves the others of its pack bit for bit."""
    packs = [train([spec(SPARSE_K[0], short, "a", model), spec(other, short, "b", model)], problem) for other in (SPARSE_K[1], SPARSE_K[3])]
    assert comparable(packs[0][0]) == comparable(packs[1][0])
    assert packs[0][0].weights == packs[1][0].weights
    assert comparable(packs[0][1]) != comparable(packs[1][1])


@pytest.mark.full
def test_a_pack_of_four_agrees_with_packs_of_one(problem: Problem, short: TrainingSettings) -> None:
    """To the bit: how trials are divided into packs changes nothing."""
    together = train([spec(k, short, str(i)) for i, k in enumerate(SPARSE_K)], problem)
    for result, k in zip(together, SPARSE_K, strict=True):
        (alone,) = train([spec(k, short)], problem)
        assert comparable(result) == comparable(alone)
        assert load_weights(result) == load_weights(alone)


@pytest.mark.parametrize("k0_is_zero", [True, False])
@pytest.mark.parametrize("stop", short_cases([3, 0, 1, 2, 4], full_every=2))
def test_resuming_at_any_epoch_gives_the_same_row_to_the_bit(
    problem: Problem, short: TrainingSettings, stop: int, k0_is_zero: bool
) -> None:
    specs = [spec((0.0, 0.5, 0.5), short)] if k0_is_zero else [spec(k, short, str(i)) for i, k in enumerate(SPARSE_K[:2])]
    whole = train(specs, problem)
    training = start(specs, problem)
    for _ in range(stop):
        training.step()
    resumed = start(specs, problem, state=from_bytes(to_bytes(training.state_dict())))
    assert resumed.epoch == stop
    while not resumed.done:
        resumed.step()
    for expected, found in zip(whole, resumed.results(), strict=True):
        assert comparable(expected) == comparable(found)
        assert expected.weights == found.weights


@pytest.mark.full
def test_a_state_can_be_split(problem: Problem, short: TrainingSettings) -> None:
    specs = [spec(k, short, str(i)) for i, k in enumerate(SPARSE_K)]
    training = start(specs, problem)
    training.step()
    part = start([specs[2]], problem, state=training.state_dict())
    while not part.done:
        part.step()
    while not training.done:
        training.step()
    (found,) = part.results()
    expected = training.results()[2]
    assert comparable(found) == comparable(expected)
    assert found.weights == expected.weights


@pytest.mark.full
def test_a_diverging_model_leaves_the_others_alone(problem: Problem, short: TrainingSettings) -> None:
    """A NaN that appears in one model ends that model alone, and its row says what happened."""
    specs = [spec(k, short, str(i)) for i, k in enumerate(SPARSE_K[:2])]
    healthy = train(specs, problem)
    training = start(specs, problem)
    training.step()
    with torch.no_grad():
        training.pack.parameters["trunk.6.weight"][0, 0, 0] = math.nan  # type: ignore[attr-defined]
    while not training.done:
        training.step()
    broken, other = training.results()
    assert broken.state == "diverged"
    assert broken.weights is None
    assert "epoch 2" in (broken.error or "")
    assert math.isnan(broken.measurements.losses["test"]["left"])
    assert comparable(other) == comparable(healthy[1])


def test_a_learning_rate_far_too_large_ends_in_a_row(problem: Problem, short: TrainingSettings) -> None:
    settings = dataclasses.replace(short, learning_rate=1e30)
    (result,) = train([spec((0.0, 0.5, 0.5), settings)], problem)
    assert result.state == "diverged"


@pytest.mark.full
@pytest.mark.parametrize("change", ["weighted_sum", "smooth_chebyshev", "all", "step", "linear", "accuracy", "anchors"])
def test_every_switch_trains(problem: Problem, short: TrainingSettings, change: str) -> None:
    growl, retrain = short.growl, short.retrain
    settings = {
        "weighted_sum": dataclasses.replace(short, scalarization="weighted_sum"),
        "smooth_chebyshev": dataclasses.replace(short, scalarization="smooth_chebyshev"),
        "all": dataclasses.replace(short, retrain=dataclasses.replace(retrain, objectives="all")),
        "step": dataclasses.replace(short, growl=dataclasses.replace(growl, prox="step")),
        "linear": dataclasses.replace(short, growl=dataclasses.replace(growl, pattern="linear")),
        "accuracy": dataclasses.replace(short, selection="accuracy"),
    }.get(change, short)
    (result,) = train([spec(SPARSE_K[0], settings, scaling="anchors" if change == "anchors" else "none")], problem)
    assert result.state == "ok"
    assert all(math.isfinite(result.measurements.losses["test"][task.name]) for task in problem.tasks)


@pytest.mark.full
def test_missing_the_least_sparsity_is_said(problem: Problem, short: TrainingSettings) -> None:
    settings = dataclasses.replace(short, growl=dataclasses.replace(short.growl, sparsity_min=0.7))
    (low,) = train([spec((1e-6, 0.5, 0.499999), settings)], problem)
    assert low.state == "ok"
    assert low.measurements.sparsity_reached is False


@pytest.mark.parametrize(
    ("specs", "rule"),
    [
        (lambda s: [], "at least one trial"),
        (lambda s: [spec(SPARSE_K[0], s, "a"), spec(SPARSE_K[1], dataclasses.replace(s, batch_size=64), "b")], "differ only in"),
        (lambda s: [spec(SPARSE_K[0], s, "a"), spec((0.0, 0.5, 0.5), s, "b")], "k0 = 0 in all"),
        (lambda s: [spec((0.5, 0.5), s)], "3 preferences"),
        (lambda s: [spec(SPARSE_K[0], s, model="resnet")], "models mdmtn, hps"),
    ],
)
def test_specs_that_do_not_fit_are_refused(problem: Problem, short: TrainingSettings, specs: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        start(specs(short), problem)  # type: ignore[operator]


def test_results_before_the_end_are_refused(problem: Problem, short: TrainingSettings) -> None:
    with pytest.raises(RuntimeError, match="done before results"):
        start([spec(SPARSE_K[0], short)], problem).results()
