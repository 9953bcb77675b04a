"""The gradients' cosine of two quadratics |x|^2 and |x - b|^2, which geometry gives exactly."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.api import TrainingSettings, TrialSpec, train
from trainer.catalog import PROBLEMS
from trainer.problems.analytic.networks import Quadratics
from trainer.problems.analytic.options import QuadraticsOptions
from trainer.settings import RetrainSettings, SparsifySettings
from trainer.training.gradient_cosine import gradient_cosines

N = 4
ENTRY = PROBLEMS["analytic/quadratics"]
PROBLEM = ENTRY.build(ENTRY.options(n_variables=N))


def cosine_at(x: list[float]) -> float | None:
    network = Quadratics(QuadraticsOptions(n_variables=N))
    point = {"x": torch.tensor(x, dtype=torch.float64)}
    found = gradient_cosines(network, point, {}, PROBLEM.tasks, PROBLEM.validation.in_order(1), lambda name, gradient: gradient)
    assert found is not None
    return found[0]


@settings(deadline=None, derandomize=True)
@given(x=st.lists(st.integers(-8, 8), min_size=N, max_size=N))
def test_it_is_the_angle_between_the_ways_from_the_two_minima(x: list[int]) -> None:
    """The gradients at x are 2 x and 2 (x - b), b = (1/2, 1/2, 1/2, 1/2) for four variables; at a minimum there is none."""
    numbers = [value / 4 for value in x]
    a, b = numbers, [value - 0.5 for value in numbers]
    if not any(a) or not any(b):
        assert cosine_at(numbers) is None
    else:
        exact = sum(u * v for u, v in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
        assert cosine_at(numbers) == pytest.approx(exact, abs=1e-14)


@pytest.mark.parametrize(("x", "exact"), [([0.25] * N, -1.0), ([2.0] * N, 1.0), ([0.5, 0.5, 0.0, 0.0], 0.0)])
def test_between_the_minima_they_are_opposite_beyond_them_alike_and_on_thales_sphere_at_right_angles(x: list[float], exact: float) -> None:
    assert cosine_at(x) == exact


@pytest.mark.full
def test_a_trial_that_reached_the_front_has_opposite_gradients_and_one_that_did_not_has_not() -> None:
    """All interior Pareto points lie between the minima; the start does not."""
    plain = TrainingSettings(
        optimizer="sgd",
        batch_size=1,
        learning_rate=0.005,
        learning_rate_decay=1.0,
        augmentation=0.0,
        scalarization="weighted_sum",
        sparsify=SparsifySettings(outer_iterations=1, epochs=1),
    )
    ks = [(0.0, 0.3, 0.7), (0.0, 0.8, 0.2)]

    def cosines(n_epochs: int) -> list[float]:
        own = dataclasses.replace(plain, retrain=RetrainSettings(outer_iterations=n_epochs, epochs=1))
        specs = [TrialSpec(str(i), "point", "wcal_growl", k, 0, own) for i, k in enumerate(ks)]
        return [result.measurements.gradient_cosine[0] for result in train(specs, PROBLEM)]

    assert cosines(24) == pytest.approx([-1.0] * 2, abs=1e-5)
    assert max(cosines(1)) > -0.99
