"""Trials that are stopped early are called converged only if they solve the problem as stated."""

from functools import cache

import numpy as np
import pytest
import torch

from tests.bench.certificate import FAR, NEAR, RULES, StoppedTrial, errors_of, stopped_trials
from trainer.objectives.certificate import StatedProblem, improvement, stated_multipliers, stated_residual

*_, CERTIFICATE = RULES.values()


@cache
def trials() -> list[StoppedTrial]:
    """56 trials of all seven problems, eight for each; long schedules are cut so that the test takes seconds."""
    return list(stopped_trials(56, seed=5, most_outer=16))


def test_no_trial_far_from_its_optimum_is_called_converged_and_few_near_it_unconverged() -> None:
    """The measured distance is the whole one: the search finds the optimum itself, also from corners of a non-convex front."""
    far, near = [one for one in trials() if one.gap > FAR], [one for one in trials() if one.gap <= NEAR]
    assert len(far) >= 10
    assert len(near) >= 5
    falsely_converged, falsely_unconverged = errors_of(CERTIFICATE, trials())
    assert falsely_converged == 0
    assert falsely_unconverged <= 0.05 * len(near)


def test_equal_objectives_alone_show_nothing() -> None:
    """The hypothesis is needed: every rule that reads residuals only calls some trial converged that is far from its optimum."""
    assert all(errors_of(rule, trials())[0] > 0 for name, rule in RULES.items() if "residual" in name)


def test_no_search_finds_less_than_the_optimum() -> None:
    for one in trials():
        assert one.convergence.improvement is not None
        assert -1e-9 <= one.convergence.improvement <= one.gap + 1e-6


def box(n: int) -> dict[str, np.ndarray]:
    return {"low": np.zeros(n), "high": np.ones(n)}


def test_a_stationary_corner_of_a_concave_front_is_left() -> None:
    """At (0, 1) of f2 = 1 - f1^2 the gradient of the largest objective vanishes, and it can be lowered to 0.309."""
    problem = StatedProblem(lambda x: torch.stack([0.5 * x[0], 0.5 * (1 - x[0] ** 2)]), **box(1))
    assert improvement(problem, torch.zeros(1, dtype=torch.float64)) == pytest.approx(0.5 / 0.30901699 - 1, rel=1e-6)


def test_a_solution_cannot_be_improved_and_a_zero_optimum_has_no_unit() -> None:
    problem = StatedProblem(lambda x: torch.stack([x[0] ** 2, (1 - x[0]) ** 2]), **box(1))
    assert improvement(problem, torch.tensor([0.5], dtype=torch.float64)) < 1e-9
    zero = StatedProblem(lambda x: torch.stack([x[0], 0 * x[0]]), **box(1))
    assert improvement(zero, torch.tensor([0.25], dtype=torch.float64)) == pytest.approx(0.25)


def test_sparsity_keeps_its_multiplier_and_the_tasks_share_the_rest() -> None:
    combined = stated_multipliers(0.5, torch.tensor([0.25, 0.75]))
    assert combined.tolist() == [0.5, 0.125, 0.375]
    residual, spread = stated_residual(torch.tensor([4.0, 2.0, 8.0]), combined, torch.tensor([0.2, 0.4, 0.4]))
    assert (residual, spread) == (8 - (2 + 0.25 + 3), 6.0)
    assert stated_residual(torch.tensor([0.0, 2.0, 2.0]), torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.0, 0.5, 0.5])) == (0.0, 0.0)
