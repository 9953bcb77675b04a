"""Exact Pareto optimal search, by descent with exact gradients: on known fronts it ends where all r_t l_t are equal."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sets import short_cases

from trainer.methods.epo import epo_weights, non_uniformity
from trainer.methods.min_norm import min_norm_weights
from trainer.problems.analytic import exact

EXACT = settings(deadline=None, derandomize=True, max_examples=100)
Problem = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""x of shape (n_variables,) to losses of shape (n_tasks,) and gradients of shape (n_tasks, n_variables)."""


def quadratics(centres: np.ndarray, least: float = 0.0) -> Problem:
    """Squared distances to the centres, shape (n_tasks, n_variables)."""
    return lambda x: (((x - centres) ** 2).sum(axis=1) + least, 2 * (x - centres))


def wells(centres: np.ndarray) -> Problem:
    """1 - exp(-distance^2): Fonseca and Fleming's problem for two centres; its front is not convex."""

    def problem(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        depth = np.exp(-((x - centres) ** 2).sum(axis=1))
        return 1 - depth, 2 * depth[:, None] * (x - centres)

    return problem


def two_centres(function: str, n_variables: int) -> np.ndarray:
    """As in trainer.problems.analytic: distance 1 apart for the quadratics and 2 for vlmop2."""
    ends = {"quadratics": (0.0, 1.0), "vlmop2": (1.0, -1.0)}[function]
    return np.array(ends)[:, None] * np.full(n_variables, n_variables**-0.5)


def search(
    problem: Problem, x: np.ndarray, preference: np.ndarray, n_steps: int = 300, weigh: Callable[..., np.ndarray] = epo_weights
) -> np.ndarray:
    """Where a search ends whose step falls from 0.3 to 0.003, mode by mode at 1e-8 nats."""
    for i in range(n_steps):
        losses, g = problem(x)
        x = x - 0.3 * 0.01 ** (i / n_steps) * weigh(losses, preference, g @ g.T, 1e-8) @ g
    return x


def spread(problem: Problem, x: np.ndarray, preference: np.ndarray) -> float:
    """Relative difference of the largest and the least r_t l_t: 0 on the ray."""
    weighted = preference * problem(x)[0]
    return float(weighted.max() / weighted.min() - 1)


def shortest(problem: Problem, x: np.ndarray) -> float:
    """Length of the min-norm point of the gradients: 0 where x is Pareto critical."""
    _, g = problem(x)
    return float(np.linalg.norm(min_norm_weights(torch.from_numpy(g @ g.T)[None])[0].numpy() @ g))


@pytest.mark.parametrize(
    "side", short_cases(["first task's minimiser", "second task's minimiser", "beyond the first", "aside"], full_every=3)
)
@pytest.mark.parametrize("share", short_cases([0.05, 0.5, 0.8], full_every=2))
@pytest.mark.parametrize(("function", "n_variables"), [("quadratics", 10), ("vlmop2", 2), ("vlmop2", 10)])
def test_two_tasks_end_at_the_exact_point(function: str, n_variables: int, share: float, side: str) -> None:
    """Convex and non-convex front, starts on both sides of the ray: r_1 l_1 = r_2 l_2 and their exact value, to 1e-3."""
    centres, preference = two_centres(function, n_variables), np.array([share, 1 - share])
    problem = (quadratics if function == "quadratics" else wells)(centres)
    along = {"first task's minimiser": 0.1, "second task's minimiser": 0.9, "beyond the first": -0.3, "aside": 0.5}[side]
    away = 0.4 if side == "aside" else 0.05
    noise = np.random.default_rng(0).normal(size=n_variables)
    x = search(problem, (1 - along) * centres[0] + along * centres[1] + away * noise / np.linalg.norm(noise), preference)
    assert spread(problem, x, preference) < 1e-3
    assert (preference * problem(x)[0]).max() == pytest.approx(exact.optimum(function, preference.tolist()), rel=1e-3)
    assert shortest(problem, x) < 1e-3


@pytest.mark.parametrize("preference", [(1, 1, 1), (0.2, 0.3, 0.5)])
@pytest.mark.parametrize("landscape", [quadratics, wells])
@pytest.mark.parametrize("start", short_cases(range(4), full_every=3))
def test_three_tasks_end_on_the_ray(landscape: Callable[[np.ndarray], Problem], preference: tuple[float, ...], start: int) -> None:
    """Three centres in 5 variables; from beside each minimiser, and from the middle of the other sides."""
    problem, r = landscape(0.7 * np.eye(3, 5)), np.array(preference)
    near = 0.7 * np.vstack([0.8 * np.eye(3, 5) + 0.05, np.full(5, 0.6)])[start]
    x = search(problem, near, r, n_steps=600)
    assert spread(problem, x, r) < 2e-3
    assert shortest(problem, x) < 5e-3


@pytest.mark.full
def test_beside_a_minimiser_with_loss_zero_the_search_goes_on() -> None:
    """Why we depart from the authors' code there: its choice, the step that unbalances least, ends in that minimiser."""

    def published(losses: np.ndarray, preference: np.ndarray, gram: np.ndarray, tolerance: float) -> np.ndarray:
        shares = preference * losses / (preference @ losses)
        lowers_mu = gram @ (preference * (np.log(2 * shares) - non_uniformity(losses, preference)))
        if non_uniformity(losses, preference) > tolerance and (lowers_mu <= 0).all():  # gradients agree
            return np.eye(2)[lowers_mu.argmax()]
        return epo_weights(losses, preference, gram, tolerance)

    centres, r = two_centres("quadratics", 2), np.array([0.5, 0.5])
    problem, x = quadratics(centres), np.array([-0.1, -0.25])
    assert problem(search(problem, x, r, weigh=published))[0][0] < 1e-9
    assert spread(problem, search(problem, x, r), r) < 1e-3


@pytest.mark.full
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_ray_that_misses_the_front_ends_at_its_nearer_end(share: float) -> None:
    """Losses 1 to 2: l_1 / l_2 = 9 is nowhere. The search comes within 5 % of the end where it is 2, and stays near the front."""
    preference = np.array([share, 1 - share])
    problem = quadratics(two_centres("quadratics", 3), least=1.0)
    losses, _ = problem(search(problem, np.array([0.5, 0.1, 0.4]), preference, n_steps=600))
    assert losses.max() / losses.min() == pytest.approx(2, rel=0.05)
    assert (losses[0] > losses[1]) == (share < 0.5)


@pytest.mark.full
def test_a_task_without_preference_has_no_weight() -> None:
    """The other two meet on their own ray, as if it were not there; and one task alone is plain gradient descent."""
    centres = 0.7 * np.eye(3, 4)
    problem, pair = quadratics(centres), quadratics(centres[:2])
    x = np.array([0.4, 0.1, 0.6, 0.2])
    losses, g = problem(x)
    np.testing.assert_array_equal(epo_weights(losses, np.array([0.0, 0.0, 2.0]), g @ g.T), [0, 0, 1])
    r = np.array([0.3, 0.7, 0.0])
    assert epo_weights(losses, r, g @ g.T)[2] == 0
    end = search(problem, x, r)
    np.testing.assert_allclose(end, search(pair, x, r[:2]), rtol=0, atol=1e-6)  # two products of another size round differently
    assert spread(pair, end, r[:2]) < 1e-3


@st.composite
def states(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses (some 0), preference (some 0), gradients (some equal, zero or opposite)."""
    n_tasks = draw(st.integers(1, 5))
    losses = np.array(draw(st.lists(st.sampled_from([0.0, 1e-12, 0.25, 1.0, 2.0, 8.0]), min_size=n_tasks, max_size=n_tasks)))
    preference = np.array(draw(st.lists(st.integers(0, 4).map(float), min_size=n_tasks, max_size=n_tasks)))
    g = np.array(draw(st.lists(st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3), min_size=n_tasks, max_size=n_tasks)))
    return losses, preference if preference.any() else np.ones(n_tasks), g


@pytest.mark.full
@EXACT
@given(states(), st.sampled_from([0.0, 1e-4, 10.0]), st.sampled_from([1e-30, 1.0, 1e30]))
def test_weights_are_on_the_simplex(state: tuple[np.ndarray, np.ndarray, np.ndarray], tolerance: float, scale: float) -> None:
    losses, preference, g = state
    alpha = epo_weights(losses, preference, scale * g @ g.T, tolerance)
    assert (alpha >= 0).all()
    assert alpha.sum() == pytest.approx(1, abs=1e-12)
    assert (alpha[preference == 0] == 0).all()


@pytest.mark.full
@EXACT
@given(states())
def test_in_descent_mode_no_loss_rises(state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """A tolerance that is never passed; loss t changes by -(C alpha)_t."""
    losses, _, g = state
    gram = g @ g.T
    assert (gram @ epo_weights(losses, np.ones(len(losses)), gram, tolerance=10.0) >= -1e-5 * max(1, gram.max())).all()


@pytest.mark.full
@EXACT
@given(states())
def test_in_balance_mode_the_largest_weighted_loss_does_not_rise(state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    losses, _, g = state
    gram, r = g @ g.T, np.ones(len(losses))
    if len(losses) > 1 and non_uniformity(losses, r) > 1e-4:
        assert (gram @ epo_weights(losses, r, gram))[losses == losses.max()].min() >= -1e-5 * max(1, gram.max())


@pytest.mark.full
def test_where_descent_and_balance_exclude_each_other_descent_is_kept() -> None:
    """With three tasks and more it may be that some step lowers mu, but none that raises no loss: the fallback."""
    rng, n_excluded = np.random.default_rng(0), 0
    for _ in range(200):
        g, losses, r = rng.normal(size=(4, 3)), rng.random(4), np.ones(4)
        gram, shares = g @ g.T, losses / losses.sum()
        alpha = epo_weights(losses, r, gram, tolerance=10.0)
        assert (gram @ alpha >= -1e-5).all()
        lowers_mu = gram @ (np.log(4 * shares) - non_uniformity(losses, r))
        n_excluded += bool(lowers_mu @ alpha < min(0.0, lowers_mu.max()) - 1e-3)
    assert n_excluded > 0


def test_balance_may_climb_and_descent_may_not() -> None:
    """On the front only a rise of the other loss leads to the ray: the ascent is what the tolerance decides."""
    problem, r = quadratics(two_centres("quadratics", 2)), np.array([0.5, 0.5])
    losses, g = problem(np.full(2, 0.2 * 2**-0.5))
    falls = g @ g.T @ epo_weights(losses, r, g @ g.T)
    assert falls[0] < -1e-3 < 1e-3 < falls[1]
    np.testing.assert_allclose(g.T @ epo_weights(losses, r, g @ g.T, tolerance=10.0), 0, atol=1e-6)


def test_the_tolerance_in_nats_as_a_difference() -> None:
    """1e-4 is 2.8 % for two tasks, 1e-7 is 0.09 %; exact to second order."""
    for mu in (1e-4, 1e-7):
        assert non_uniformity(np.array([1 + np.sqrt(8 * mu) / 2, 1 - np.sqrt(8 * mu) / 2]), np.ones(2)) == pytest.approx(mu, rel=1e-2)


@EXACT
@given(states())
def test_non_uniformity_is_zero_on_the_ray_alone(state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """>= 0, at most log n, and 0 exactly where all r_t l_t are equal."""
    losses, preference, _ = state
    mu = non_uniformity(losses, preference)
    assert -1e-12 <= mu <= np.log(len(losses)) + 1e-12
    assert (mu < 1e-12) == bool(np.ptp(preference * losses) == 0)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_broken_loss_gives_no_weights(broken: float) -> None:
    assert np.isnan(epo_weights(np.array([broken, 1.0]), np.ones(2), np.eye(2))).all()
    assert np.isnan(epo_weights(np.ones(2), np.ones(2), np.diag([broken, 1.0]))).all()


@pytest.mark.parametrize(
    ("losses", "preference", "gram", "message"),
    [
        ([1, 1], [1, 1, 1], np.eye(3), r"found shapes \(2,\), \(3,\), \(3, 3\)"),
        ([1, 1], [1, 1], np.eye(3), r"found shapes"),
        ([], [], np.zeros((0, 0)), r"found shapes"),
        ([1, 1], [1, -1], np.eye(2), r"preference = \[1\.0, -1\.0\]"),
        ([1, 1], [0, 0], np.eye(2), r"not all 0, found preference"),
        ([-0.5, 1], [1, 1], np.eye(2), r"losses >= 0, found losses = \[-0\.5, 1\.0\]"),
    ],
)
def test_errors_name_the_value(losses: list[float], preference: list[float], gram: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epo_weights(np.array(losses), np.array(preference), gram)


def test_a_tolerance_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="tolerance >= 0, found tolerance = -1"):
        epo_weights(np.ones(2), np.ones(2), np.eye(2), tolerance=-1)
