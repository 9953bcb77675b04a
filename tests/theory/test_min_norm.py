"""The min-norm point against brute force, its optimality conditions, and what it promises: every loss decreases."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from trainer.methods.min_norm import min_norm_weights

EXACT = settings(deadline=None, derandomize=True, max_examples=200)
INTEGERS = st.integers(-4, 4).map(float)


def gradients(n_tasks: st.SearchStrategy[int], elements: st.SearchStrategy[float] = INTEGERS) -> st.SearchStrategy[np.ndarray]:
    """Shape (n_tasks, 1 to 6 parameters); integers make equal, parallel, opposite and zero gradients frequent."""
    return st.tuples(n_tasks, st.integers(1, 6)).flatmap(lambda shape: arrays(np.float64, shape, elements=elements))


def weights_of(g: np.ndarray, dtype: torch.dtype = torch.float64) -> np.ndarray:
    g_tensor = torch.from_numpy(g).to(dtype)
    found = min_norm_weights((g_tensor @ g_tensor.T)[None])
    assert found.dtype == dtype
    return found[0].double().numpy()


def violation(g: np.ndarray, w: np.ndarray) -> float:
    """By how much the optimality conditions fail, relative to the product of the gradients' lengths: 0 at the min-norm point.

    g_t . d >= d . d for every t, and equality where w_t > 0.
    """
    d, lengths = w @ g, np.linalg.norm(g, axis=1)
    excess = g @ d - d @ d
    scale = np.maximum(lengths * lengths.min(), np.finfo(np.float64).tiny)
    return float(max((-excess / scale).max(), (w * np.abs(excess) / scale).max()))


def simplex_grid(n_tasks: int, n_parts: int) -> np.ndarray:
    """All weights that are multiples of 1 / n_parts."""
    cuts = itertools.combinations(range(n_parts + n_tasks - 1), n_tasks - 1)
    return np.array([np.diff([-1, *cut, n_parts + n_tasks - 1]) - 1 for cut in cuts]) / n_parts


@pytest.mark.full
@EXACT
@given(gradients(st.integers(1, 6), st.floats(-4, 4, width=32)))
def test_the_optimality_conditions_hold(g: np.ndarray) -> None:
    w = weights_of(g)
    assert (w >= 0).all()
    assert w.sum() == pytest.approx(1, abs=1e-12)
    if np.linalg.norm(g, axis=1).min() == 0:
        assert np.linalg.norm(w @ g) == 0
    else:
        assert violation(g, w) < 1e-6


@pytest.mark.full
@EXACT
@given(gradients(st.integers(2, 6)))
def test_equal_parallel_opposite_and_zero_gradients_are_no_exception(g: np.ndarray) -> None:
    """Integer gradients are degenerate more often than not; their Gram matrix is exact."""
    d = weights_of(g) @ g
    assert (g @ d >= d @ d - 1e-9).all()


@pytest.mark.parametrize(("n_tasks", "n_parts"), [(2, 2000), (3, 300), (4, 60)])
def test_no_point_of_a_fine_simplex_is_shorter(n_tasks: int, n_parts: int) -> None:
    """Brute force over 2,001, 45,451 and 39,711 weights; and the best of them is near, so the grid is fine enough to tell."""
    grid, rng = simplex_grid(n_tasks, n_parts), np.random.default_rng(0)
    interior = 0
    for _ in range(40):
        g = rng.normal(size=(n_tasks, 5)) + rng.normal(size=5)
        w = weights_of(g)
        least, brute = float(np.linalg.norm(w @ g)), float(np.linalg.norm(grid @ g, axis=1).min())
        assert least <= brute + 1e-12
        assert brute <= least + 2 * np.linalg.norm(g, axis=1).max() * n_tasks / n_parts
        interior += bool((w > 0).all())
    assert interior > 0


def test_the_three_cases_of_two_gradients() -> None:
    """The foot of the perpendicular, or the shorter of the two where that lies outside the segment."""
    g = torch.tensor([[[1.0, 1.0], [1.0, -1.0]], [[1.0, 0.0], [3.0, 1.0]], [[3.0, 1.0], [1.0, 0.0]], [[0.0, 3.0], [1.0, 0.0]]])
    found = min_norm_weights(g @ g.transpose(1, 2))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0], [0.1, 0.9]]))


@EXACT
@given(gradients(st.just(2), st.floats(-4, 4, width=32)))
def test_two_tasks_in_closed_form_are_the_general_solver(g: np.ndarray) -> None:
    """A third task that repeats the second leaves the point where it is."""
    pair, triple = weights_of(g) @ g, weights_of(np.vstack([g, g[1:]])) @ np.vstack([g, g[1:]])
    np.testing.assert_allclose(pair, triple, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("g", "expected"),
    [
        ([[1.0, 2.0], [1.0, 2.0]], [0.5, 0.5]),
        ([[0.0, 0.0], [1.0, 2.0]], [1.0, 0.0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0.5, 0.5]),
        ([[1.0, 2.0], [-3.0, -6.0]], [0.75, 0.25]),
        ([[1.0, 2.0], [2.0, 4.0]], [1.0, 0.0]),
        ([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.5, 0.5]),
        ([[4.0, 0.0], [-1.0, 0.0], [9.0, 3.0]], [0.2, 0.8, 0.0]),
        ([[2.0, 4.0], [1.0, 2.0], [3.0, 6.0]], [0.0, 1.0, 0.0]),
        ([[7.0]], [1.0]),
    ],
)
def test_degenerate_gradients(g: list[list[float]], expected: list[float]) -> None:
    np.testing.assert_allclose(weights_of(np.array(g)), expected, rtol=0, atol=1e-7)


@pytest.mark.full
@EXACT
@given(gradients(st.integers(2, 5), st.floats(-4, 4, width=32)), st.sampled_from([2.0**-200, 2.0**-60, 2.0**60, 2.0**200]))
def test_the_unit_of_the_losses_does_not_matter(g: np.ndarray, scale: float) -> None:
    """To the bit for powers of two: only the proportions of the gradients count."""
    normal = np.where(np.abs(g) < 2**-20, 0, g)
    np.testing.assert_array_equal(weights_of(normal * scale), weights_of(normal))


@EXACT
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_gradients_of_very_different_length(seed: int, n_tasks: int) -> None:
    """From 1e-8 to 1e8 in one model: the conditions hold relative to the shortest gradient, not to the longest."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(n_tasks, 8)) * 10 ** rng.uniform(-8, 8, size=(n_tasks, 1))
    w = weights_of(g)
    d, shortest = w @ g, np.linalg.norm(g, axis=1).min()
    assert np.linalg.norm(d) <= shortest * (1 + 1e-9)
    assert ((g @ d - d @ d) / np.linalg.norm(g, axis=1) >= -1e-9 * shortest).all()


@EXACT
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_in_float32_the_point_is_exact_to_its_rounding(seed: int, n_tasks: int) -> None:
    g = np.random.default_rng(seed).normal(size=(n_tasks, 50)).astype(np.float32).astype(np.float64)
    w = weights_of(g, torch.float32)
    assert violation(g, w) < 1e-5
    assert np.linalg.norm(w @ g) == pytest.approx(np.linalg.norm(weights_of(g) @ g), rel=1e-5)


def descend(n_tasks: int, combine: str) -> tuple[np.ndarray, Tensor]:
    """Losses of n_tasks quadratics in 6 variables along a descent of 200 steps, and the last direction."""
    generator = torch.Generator().manual_seed(n_tasks)
    centres = torch.randn(n_tasks, 6, generator=generator, dtype=torch.float64)
    curvature = 0.5 + torch.rand(n_tasks, 6, generator=generator, dtype=torch.float64)
    x = 4 * torch.randn(6, generator=generator, dtype=torch.float64)
    history = []
    for _ in range(200):
        g = curvature * (x - centres)
        history.append((0.5 * curvature * (x - centres) ** 2).sum(dim=1))
        w = min_norm_weights((g @ g.T)[None])[0] if combine == "min_norm" else torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64)
        x = x - 0.2 * w @ g
    return torch.stack(history).numpy(), w @ g


@pytest.mark.parametrize("n_tasks", [2, 3, 5])
def test_every_loss_decreases_until_no_direction_is_left(n_tasks: int) -> None:
    """Two to five quadratics: no loss ever rises, and the descent ends at a Pareto-critical point."""
    losses, last = descend(n_tasks, "min_norm")
    assert (np.diff(losses, axis=0) <= 1e-12).all()
    assert float(last.norm()) < 1e-3


def test_with_even_weights_some_loss_rises() -> None:
    """The weights matter: the plain mean of the same gradients raises a loss on its way."""
    losses, _ = descend(3, "mean")
    assert (np.diff(losses, axis=0) > 1e-3).any()


@pytest.mark.parametrize("n_tasks", [2, 3])
def test_a_nan_stays_in_its_own_model(n_tasks: int) -> None:
    gram = torch.eye(n_tasks).repeat(3, 1, 1)
    gram[1, 0, 0] = torch.nan
    gram[2, 0, 0] = torch.inf
    found = min_norm_weights(gram)
    torch.testing.assert_close(found[0], torch.full((n_tasks,), 1 / n_tasks))
    assert found[1:].isnan().all()


@pytest.mark.parametrize("n_tasks", [1, 2, 4])
def test_no_models_have_no_weights(n_tasks: int) -> None:
    assert min_norm_weights(torch.zeros(0, n_tasks, n_tasks)).shape == (0, n_tasks)


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 3), (1, 0, 0)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(n_models, n_tasks, n_tasks\), found shape"):
        min_norm_weights(torch.zeros(shape))
