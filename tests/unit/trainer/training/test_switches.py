"""Every switch of the method: it trains, it survives a stop, and it does what its name says."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from sets import short_cases
from trial_specs import SPARSE_K, comparable, spec

from trainer.api import Problem, TrainingSettings, from_bytes, start, to_bytes, train
from trainer.catalog import PROBLEMS
from trainer.objectives.growl import row_norms
from trainer.objectives.prox_step import STEP_RULES, ProxStep

GROWL = ("pattern", "prox", "step_rule", "masks", "removal")
SWITCHES: dict[str, dict[str, Any]] = {
    "weighted_sum": {"scalarization": "weighted_sum"},
    "smooth_chebyshev": {"scalarization": "smooth_chebyshev"},
    "paper": {"scalarization": "paper"},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "linear": {"pattern": "linear"},
    "pld": {"pattern": "pld"},
    "prox per step": {"prox": "step"},
    "masks at the phase's end": {"prox": "step", "masks": "phase"},
    "row_rms": {"step_rule": "row_rms"},
    "layer_rms": {"step_rule": "layer_rms"},
    "plain": {"step_rule": "plain"},
    "balance": {"removal": "balance"},
    "retrain all": {"objectives": "all"},
    "accuracy": {"selection": "accuracy"},
    "no phase 2": {"retrain_outer": 0},
}


def switched(short: TrainingSettings, changes: dict[str, Any]) -> TrainingSettings:
    top = {name: value for name, value in changes.items() if name in {field.name for field in dataclasses.fields(short)}}
    growl = dataclasses.replace(short.growl, **{name: changes[name] for name in GROWL if name in changes})
    retrain = dataclasses.replace(
        short.retrain,
        objectives=changes.get("objectives", short.retrain.objectives),
        outer_iterations=changes.get("retrain_outer", short.retrain.outer_iterations),
    )
    return dataclasses.replace(short, growl=growl, retrain=retrain, **top)


IN_EVERY_RUN = ("balance", "weighted_sum", "paper", "linear", "prox per step", "layer_rms", "retrain all", "no phase 2")


@pytest.mark.parametrize(
    "name", short_cases([name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.slow) for name in SWITCHES], every=40)
)
def test_every_switch_trains_and_resumes_to_the_bit(problem: Problem, short: TrainingSettings, name: str) -> None:
    settings = switched(short, SWITCHES[name])
    specs = [spec(k, settings, str(i)) for i, k in enumerate(SPARSE_K[:2])]
    whole = train(specs, problem)
    assert {result.state for result in whole} == {"ok"}
    assert all(math.isfinite(result.measurements.losses["test"]["left"]) for result in whole)
    for stop in (1, 2):
        training = start(specs, problem)
        for _ in range(stop):
            training.step()
        resumed = start(specs, problem, state=from_bytes(to_bytes(training.state_dict())))
        while not resumed.done:
            resumed.step()
        for expected, found in zip(whole, resumed.results(), strict=True):
            assert comparable(expected) == comparable(found)
            assert expected.weights == found.weights


BALANCED_K0 = (0.01, 0.3, 0.95)


@pytest.mark.full
@pytest.mark.parametrize("name", ["prox per step", "row_rms"])
def test_more_weight_on_sparsity_prunes_more(problem: Problem, short: TrainingSettings, name: str) -> None:
    settings = switched(short, SWITCHES[name])
    rates = [train([spec((k0, (1 - k0) / 2, (1 - k0) / 2), settings)], problem)[0].measurements.rows.sparsity_rate for k0 in (1e-5, 0.5)]
    assert rates[0] < rates[1]


def test_with_balance_k0_places_the_trial_between_the_dense_end_and_the_limits(problem: Problem, short: TrainingSettings) -> None:
    """Sparsity rises with k0, no layer is at its limit in the middle."""
    settings = dataclasses.replace(switched(short, {"removal": "balance"}), sparsify=dataclasses.replace(short.sparsify, epochs=3))
    specs = [dataclasses.replace(spec((k0, (1 - k0) / 2, (1 - k0) / 2), settings, f"{k0}"), scaling="anchors") for k0 in BALANCED_K0]
    measured = [result.measurements for result in train(specs, problem)]
    rates = [one.rows.sparsity_rate for one in measured]
    assert rates == sorted(rates)
    assert rates[0] == 0
    assert measured[0].layers_at_limit == 0
    assert rates[-1] > 0.5
    assert measured[-1].layers_at_limit == 4
    assert 0.05 < rates[1] < rates[-1] - 0.05
    assert measured[1].layers_at_limit == 0


def test_rows_may_come_back_until_the_phase_ends(problem: Problem, short: TrainingSettings) -> None:
    """With `masks: phase` gradients fill a suppressed row again; with `masks: epoch` it stays zero."""
    for masks, comes_back in (("epoch", False), ("phase", True)):
        settings = switched(short, {"prox": "epoch", "masks": masks})
        training: Any = start([spec(SPARSE_K[1], settings)], problem)
        training.step()
        name = "trunk.6.weight"
        with torch.no_grad():
            training.pack.parameters[name][0, :, 0] = 0
        training.structure.mask_zero_rows(is_fixed=masks == "epoch")
        training._train_epoch()
        assert (float(row_norms(training.pack.parameters[name])[0, 0]) > 0) is comes_back


def test_without_phase_2_nothing_is_tied(problem: Problem, short: TrainingSettings) -> None:
    (result,) = train([spec(SPARSE_K[1], switched(short, {"retrain_outer": 0}))], problem)
    assert result.measurements.n_epochs == 2
    assert {epoch.phase for epoch in result.epochs} == {"sparsify"}
    assert result.measurements.usage.wall_s_retrain == 0
    n_zero = result.measurements.rows.sparsity_rate * result.measurements.rows.n_rows
    n_layers_with_zeros = sum(share > 0 for share in result.measurements.layer_sparsity.values())
    n_unique = result.measurements.rows.n_rows - n_zero + n_layers_with_zeros
    assert result.measurements.rows.compression_rate == pytest.approx(result.measurements.rows.n_rows / n_unique)


def test_the_step_rules_by_hand() -> None:
    """Two rows with second moments 1 and 9: rms of the layer is sqrt(5); idle rows are measured shorter."""
    moments = torch.tensor([[1.0, 9.0], [1.0, 9.0]])  # (out, in): columns are rows of GrOWL
    step = torch.tensor([2.0])
    length, scale = STEP_RULES["layer_rms"](step, [moments])
    assert float(length) == pytest.approx(2 / math.sqrt(5))
    assert scale is None
    length, scale = STEP_RULES["row_rms"](step, [moments])
    assert scale is not None
    assert float(length) == pytest.approx(2 / math.sqrt(5))
    assert scale[0].tolist() == pytest.approx([1 / math.sqrt(5), 3 / math.sqrt(5)])
    assert STEP_RULES["plain"](step, []) == (step, None)


def test_the_step_builds_up_and_is_corrected_for_adams_bias() -> None:
    prox_step = ProxStep("layer_rms", 1, torch.device("cpu"), torch.float64)
    for _ in range(3):
        prox_step.add(0.1, torch.tensor([2.0], dtype=torch.float64))
    raw = torch.full((2, 2), 4 * 0.001, dtype=torch.float64)  # after one step Adam holds a thousandth of the square 4
    assert float(prox_step.of_layer([raw], correction=0.001)[0]) == pytest.approx(0.6 / 2)
    prox_step.reset()
    assert float(prox_step.length) == 0


@pytest.mark.full
@pytest.mark.parametrize("size", [1, 4, pytest.param(16, marks=pytest.mark.slow)])
def test_packs_of_any_size_agree_to_the_bit(problem: Problem, short: TrainingSettings, size: int) -> None:
    """The tolerance is zero: models share no tensor and every update runs on one model's own, aligned memory."""
    vectors = [(k0, (1 - k0) * share, (1 - k0) * (1 - share)) for k0 in (0.01, 0.03, 0.06, 0.1) for share in (0.2, 0.4, 0.6, 0.8)]
    asked = [0, 5, 10, 15][: max(1, size // 4)]
    together = train([spec(k, short, str(i)) for i, k in enumerate(vectors[:size])], problem)
    for i in [index for index in asked if index < size]:
        (alone,) = train([spec(vectors[i], short, str(i))], problem)
        assert comparable(together[i]) == comparable(alone)
        assert together[i].weights == alone.weights


@pytest.mark.parametrize("name", ["zdt2", "dtlz2", "owl"])
def test_vectorised_packs_agree_to_rounding(name: str) -> None:
    """A pack of analytic problems is one vectorised call in float64: packs of 1, 4 and 16 agree to 1e-12 over 40 steps."""
    entry = PROBLEMS[f"analytic/{name}"]
    options = entry.options(n_steps=20)
    facts = options.facts()
    settings = TrainingSettings(
        batch_size=1,
        optimizer="sgd",
        learning_rate=0.02,
        augmentation=0,
        sparsify=dataclasses.replace(TrainingSettings().sparsify, outer_iterations=2, epochs=1),
        retrain=dataclasses.replace(TrainingSettings().retrain, outer_iterations=0, epochs=1),
        growl=dataclasses.replace(TrainingSettings().growl, prox="step", masks="phase", sparsity_min=0),
    )
    built = entry.build(options)
    n_shares = len(facts.tasks) - (not facts.has_sparsity)
    vectors = []
    for i in range(16):
        shares = [(1 + i) / 40] * n_shares
        vectors.append((*shares, 1 - sum(shares)) if facts.has_sparsity else (0.0, *shares, 1 - sum(shares)))
    packs = {n: train([spec(k, settings, str(i), model="point") for i, k in enumerate(vectors[:n])], built) for n in (1, 4, 16)}
    for n in (1, 4):
        for small, large in zip(packs[n], packs[16], strict=False):
            for task in facts.tasks:
                loss, expected = (result.measurements.losses["validation"][task] for result in (small, large))
                assert loss == pytest.approx(expected, rel=1e-12, abs=1e-14)
            assert small.measurements.backend == "vmap"
