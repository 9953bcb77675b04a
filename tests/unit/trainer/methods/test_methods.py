"""The methods that are not WC-AL with GrOWL: each by a property of its own paper, and what all of them share with ours."""

import dataclasses
import itertools
import math

import pytest
import torch
from sets import short_cases
from torch import Tensor

from tests.unit.trainer.training.test_two_phase import comparable, load_weights
from trainer.api import (
    Problem,
    State,
    Training,
    TrainingSettings,
    TrialResult,
    TrialSpec,
    from_bytes,
    model_tensors,
    start,
    to_bytes,
    train,
)
from trainer.catalog import METHODS, read_by
from trainer.methods.cosmos import equal_ray
from trainer.methods.kdmtl import Distillation
from trainer.methods.task_gradients import GradientMethod
from trainer.settings import CosmosSettings, DistillationSettings, EvolutionSettings, OnePhaseSettings
from trainer.training.result import PARTS

KS = ((0.0, 0.2, 0.8), (0.0, 0.5, 0.5), (0.0, 0.8, 0.2))
MODEL = {"stl": "stl", "kdmtl": "kdmtl"}
Given = dict[str, Tensor]


def settings_of(method: str, short: TrainingSettings, epochs: int = 3) -> TrainingSettings:
    """SGD for MGDA, as in its paper; Adam for the others."""
    kind, rate = ("sgd", 5e-2) if method == "mgda" else ("adam", 5e-3)
    return dataclasses.replace(
        short,
        optimizer=kind,
        learning_rate=rate,
        one_phase=OnePhaseSettings(epochs=epochs, decay_every=2),
        evolution=EvolutionSettings(generations=epochs, n_samples=64),
    )


def specs_of(method: str, settings: TrainingSettings, seed: int = 0) -> list[TrialSpec]:
    ks = KS if METHODS[method].has_preferences else (None,)
    return [TrialSpec(f"{method}-{i}", MODEL.get(method, "hps"), method, k, seed, settings) for i, k in enumerate(ks)]


@pytest.fixture(scope="module")
def given(problem: Problem) -> dict[str | None, Given]:
    """Kind of what is taken over -> a network's tensors."""
    settings = TrainingSettings(
        batch_size=128,
        learning_rate=1e-2,
        one_phase=OnePhaseSettings(epochs=4),
        retrain=dataclasses.replace(TrainingSettings().retrain, outer_iterations=1),
    )
    tensors: dict[str | None, Given] = {}
    for kind, model, method, k in (
        ("teachers", "stl", "stl", None),
        ("architecture", "hps", "wcal_growl", (0.3, 0.35, 0.35)),
        ("start", "hps", "wcal_growl", (0.0, 0.5, 0.5)),
    ):
        (result,) = train([TrialSpec("given", model, method, k, 0, settings)], problem)
        assert result.weights is not None
        tensors[kind] = model_tensors(result.weights)
    return tensors


def begun(method: str, problem: Problem, short: TrainingSettings, given: dict[str | None, Given], state: State | None = None) -> Training:
    settings = settings_of(method, short)
    return start(specs_of(method, settings), problem, state=state, given=given.get(METHODS[method].inherits))


def finished(training: Training) -> list[TrialResult]:
    while not training.done:
        training.step()
    return training.results()


OTHERS = [method for method in METHODS if method != "wcal_growl"]


@pytest.mark.parametrize("method", short_cases(OTHERS, every=4))
def test_it_goes_on_from_a_checkpoint_to_the_bit(
    method: str, problem: Problem, short: TrainingSettings, given: dict[str | None, Given]
) -> None:
    if method == "moead":
        pytest.importorskip("pymoo", reason="not run: needs pymoo")
    undisturbed = finished(begun(method, problem, short, given))
    training = begun(method, problem, short, given)
    training.step()
    resumed = finished(begun(method, problem, short, given, from_bytes(to_bytes(training.state_dict()))))
    assert len(resumed) == len(undisturbed) == (3 if METHODS[method].has_preferences else 1)
    for ours, theirs in zip(resumed, undisturbed, strict=True):
        assert ours.state == "ok"
        assert comparable(ours) == comparable(theirs)
        assert load_weights(ours) == load_weights(theirs)


@pytest.mark.full
@pytest.mark.parametrize("method", ["epo", "fixed_architecture"])
def test_a_neighbour_in_the_pack_changes_nothing(
    method: str, problem: Problem, short: TrainingSettings, given: dict[str | None, Given]
) -> None:
    settings = settings_of(method, short)
    together = train(specs_of(method, settings), problem, given=given.get(METHODS[method].inherits))
    (alone,) = train(specs_of(method, settings)[2:], problem, given=given.get(METHODS[method].inherits))
    assert load_weights(alone) == load_weights(together[2])


@pytest.mark.parametrize("method", OTHERS)
def test_a_row_has_what_every_row_has(method: str, problem: Problem, short: TrainingSettings, given: dict[str | None, Given]) -> None:
    if method == "moead":
        pytest.importorskip("pymoo", reason="not run: needs pymoo")
    for result in finished(begun(method, problem, short, given)):
        measured, rows = result.measurements, result.measurements.rows
        assert measured.best_epoch is not None
        assert rows is not None
        assert 1 <= measured.best_epoch <= measured.n_epochs == len(result.epochs)
        assert rows.parameter_sharing == pytest.approx(rows.compression_rate * (1 - rows.sparsity_rate), rel=1e-12)
        assert (rows.sparsity_rate > 0) == (method == "fixed_architecture")
        assert measured.sparsity > 0
        assert measured.usage.device_s > 0
        accuracy = result.mean_accuracy("test")
        assert accuracy is not None
        assert 0 <= accuracy <= 1
        assert {part: list(values) for part, values in measured.losses.items()} == {part: ["left", "right"] for part in PARTS}
        assert all(math.isfinite(value) for values in measured.losses.values() for value in values.values())
        assert (measured.convergence is not None) == (method == "fixed_architecture")


@pytest.mark.parametrize("method", ["stl", "mgda", "kdmtl", "epo", "cosmos"])
def test_a_diverged_network_is_said_to_be(method: str, problem: Problem, short: TrainingSettings, given: dict[str | None, Given]) -> None:
    settings = dataclasses.replace(settings_of(method, short), learning_rate=1e30, optimizer="sgd")
    for result in train(specs_of(method, settings), problem, given=given.get(METHODS[method].inherits)):
        assert result.state == "diverged"
        assert result.weights is None
        assert math.isnan(result.measurements.losses["test"]["left"])


@pytest.mark.full
def test_single_task_networks_train_as_if_alone(problem: Problem, short: TrainingSettings) -> None:
    """The second task's labels are no business of the first one's network: its bits stay when they are shuffled."""
    shuffled = dataclasses.replace(
        problem,
        train=dataclasses.replace(
            problem.train, targets=torch.stack([problem.train.targets[:, 0], problem.train.targets[:, 1].flip(0)], dim=1)
        ),
    )
    first, second = (train(specs_of("stl", settings_of("stl", short)), data)[0] for data in (problem, shuffled))
    weights = [load_weights(result) for result in (first, second)]
    assert weights[0]["trunks.0.6.weight"] == weights[1]["trunks.0.6.weight"]
    assert weights[0]["trunks.1.6.weight"] != weights[1]["trunks.1.6.weight"]


def test_each_single_task_network_is_of_its_own_best_epoch(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train(specs_of("stl", dataclasses.replace(settings_of("stl", short, 8), learning_rate=5e-2)), problem)
    for t, task in enumerate(("left", "right")):
        assert result.measurements.losses["validation"][task] == min(epoch.validation_losses[t] for epoch in result.epochs)


def test_a_short_step_of_mgda_lowers_every_loss(problem: Problem, short: TrainingSettings) -> None:
    """On the batch whose gradients it weighs; the plain sum at the same length raises one of the losses at some point."""
    settings = dataclasses.replace(
        settings_of("mgda", short), batch_size=512, learning_rate=1e-3, one_phase=OnePhaseSettings(epochs=8, momentum=0)
    )
    training = start(specs_of("mgda", settings), problem)
    assert isinstance(training, GradientMethod)
    losses = []
    for _ in range(8):
        training.step()
        losses.append(training.pack.evaluate(problem.train)[0][0])
    assert all((after < before).all() for before, after in itertools.pairwise(losses))


@pytest.mark.full
def test_epo_comes_nearer_to_its_ray_than_the_plain_mean(problem: Problem, short: TrainingSettings) -> None:
    """k_1 L_1 / k_2 L_2 is 1 on the ray of k."""
    results = train(specs_of("epo", dataclasses.replace(settings_of("epo", short, 15), batch_size=64)), problem)
    for k, result in zip(KS, results, strict=True):
        ratio = (k[1] * result.measurements.losses["train"]["left"]) / (k[2] * result.measurements.losses["train"]["right"])
        assert abs(math.log(ratio)) < abs(math.log(k[1] / k[2])) / 2 + 0.1


def shared_gradient(training: Distillation, problem: Problem) -> Tensor:
    training.pack.clear_gradients()
    inputs, targets = next(iter(problem.train.in_order(128)))
    training._backward(inputs, targets, torch.Generator())
    gradient = training.pack.parameters["trunk.6.weight"].grad
    assert gradient is not None
    return gradient[0].clone()


def test_distillation_moves_the_shared_features(problem: Problem, short: TrainingSettings, given: dict[str | None, Given]) -> None:
    """With weights of 0 the trunk has the gradient of plain hard parameter sharing; with others it has not, and the adaptors learn."""
    found = {}
    for weights in ((0.0, 0.0), (0.5, 0.5)):
        settings = dataclasses.replace(settings_of("kdmtl", short), distillation=DistillationSettings(weights))
        training = start(specs_of("kdmtl", settings), problem, given=given["teachers"])
        assert isinstance(training, Distillation)
        found[weights] = shared_gradient(training, problem)
        adaptor = training.pack.parameters["adaptors.0.0.weight"].grad
        assert adaptor is not None
        assert bool(adaptor.any()) == any(weights)
        network = training.pack.members[0]
        assert all(parameter.grad is None for parameter in training._teachers.parameters())
    inputs, targets = next(iter(problem.train.in_order(128)))
    parameter = network.get_parameter("trunk.6.weight")
    losses = [task.loss(output, targets[:, t]) for t, (task, output) in enumerate(zip(problem.tasks, network(inputs), strict=True))]
    (plain,) = torch.autograd.grad(sum(losses), parameter)  # type: ignore[arg-type]
    torch.testing.assert_close(found[0.0, 0.0], plain)
    assert not torch.allclose(found[0.5, 0.5], plain, rtol=1e-3)


@pytest.mark.full
def test_the_attentions_of_mtan_become_different(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train(
        [TrialSpec("a", "mtan", "wcal_growl", (0.0, 0.5, 0.5), 0, dataclasses.replace(short, scalarization="weighted_sum"))], problem
    )
    weights = load_weights(result)
    for name in weights:
        if name.startswith("attentions.0.") and name.endswith("weight"):
            assert weights[name] != weights[name.replace("attentions.0.", "attentions.1.")]


@pytest.mark.full
def test_cosmos_with_k_swapped_swaps_the_trade_off(problem: Problem, short: TrainingSettings) -> None:
    settings = dataclasses.replace(
        settings_of("cosmos", short, 40), batch_size=64, learning_rate_decay=0.95, cosmos=CosmosSettings(cosine=5.0)
    )
    left, _, right = (result.measurements for result in train(specs_of("cosmos", settings), problem))  # k = (.2, .8) and (.8, .2)
    assert right.losses["validation"]["left"] < left.losses["validation"]["left"]
    assert left.losses["validation"]["right"] < right.losses["validation"]["right"]
    assert left.best_epoch == right.best_epoch


@pytest.mark.parametrize("k", [(0.2, 0.8), (0.5, 0.3, 0.2), (1.0, 0.0)])
def test_on_the_ray_of_cosmos_the_weighted_losses_are_equal(k: tuple[float, ...]) -> None:
    preference = torch.tensor(k)
    weighted = preference * equal_ray(preference)
    torch.testing.assert_close(weighted, weighted[:1].expand(len(k)))


@pytest.mark.full
def test_one_training_of_cosmos_does_not_depend_on_the_vectors(problem: Problem, short: TrainingSettings) -> None:
    """Another trial in the pack moves the choice of the epoch alone: with one epoch the network is the same."""
    settings = settings_of("cosmos", short, 1)
    few, many = (train(specs_of("cosmos", settings)[:n], problem) for n in (1, 3))
    assert load_weights(few[0]) == load_weights(many[0])
    assert few[0].measurements.losses["test"]["left"] == many[0].measurements.losses["test"]["left"]


def test_a_fixed_architecture_keeps_its_rows_of_zeros_and_ties_nothing(
    problem: Problem, short: TrainingSettings, given: dict[str | None, Given]
) -> None:
    for result in finished(begun("fixed_architecture", problem, short, given)):
        assert result.weights is not None
        weights = model_tensors(result.weights)
        for name in ("trunk.3.weight", "trunk.6.weight"):
            ours, theirs = ((tensors[name] != 0).transpose(0, 1).flatten(1).any(dim=1) for tensors in (weights, given["architecture"]))
            assert torch.equal(ours, theirs)
            assert not ours.all()
            assert (weights[f"{name}.labels"] == -1).all()


@pytest.mark.parametrize(
    ("method", "model", "k", "message"),
    [
        ("mgda", "hps", (0.0, 0.5, 0.5), "has no preference"),
        ("epo", "hps", None, "has a preference"),
        ("epo", "hps", (0.2, 0.4, 0.4), "does not prune"),
        ("kdmtl", "kdmtl", None, "inherits teachers"),
        ("nothing", "hps", None, "has methods"),
        ("stl", "hps", None, "expects the model stl"),
    ],
)
def test_what_does_not_fit_is_refused(method: str, model: str, k: tuple[float, ...] | None, message: str, problem: Problem) -> None:
    with pytest.raises(ValueError, match=message):
        start([TrialSpec("a", model, method, k, 0, TrainingSettings())], problem)


def test_distillation_has_a_weight_a_task(problem: Problem, short: TrainingSettings, given: dict[str | None, Given]) -> None:
    settings = dataclasses.replace(settings_of("kdmtl", short), distillation=DistillationSettings((0.1,)))
    with pytest.raises(ValueError, match=r"one number a task \(2\)"):
        start(specs_of("kdmtl", settings), problem, given=given["teachers"])


@pytest.mark.parametrize("method", METHODS)
def test_settings_that_a_method_does_not_read_are_not_among_those_it_reads(method: str) -> None:
    read = read_by(method, TrainingSettings())
    assert "growl" in read
    assert "data_share" not in read
    assert "data_share" in read_by(method, TrainingSettings(data_share=0.5))
    assert ("tying" in read) == (method == "wcal_growl")
    assert ("one_phase" in read) == (method in ("stl", "mgda", "kdmtl", "epo", "cosmos"))


def test_a_share_of_the_data_is_its_beginning(problem: Problem, short: TrainingSettings) -> None:
    half = dataclasses.replace(
        problem, train=dataclasses.replace(problem.train, inputs=problem.train.inputs[:256], targets=problem.train.targets[:256])
    )
    by_share = train([TrialSpec("a", "hps", "wcal_growl", KS[1], 0, dataclasses.replace(short, data_share=0.5))], problem)
    by_hand = train([TrialSpec("a", "hps", "wcal_growl", KS[1], 0, short)], half)
    assert load_weights(by_share[0]) == load_weights(by_hand[0])
