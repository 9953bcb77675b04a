"""What k means: properties of the Chebyshev values, of the projection, and of the step weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.pareto.dominance import nondominated
from trainer.objectives.lagrangian import EqualityLagrangian
from trainer.objectives.scalarization import (
    STEP_WEIGHTS,
    chebyshev_al_weights,
    chebyshev_values,
    equality_weights,
    project_simplex,
    scalarized,
    smooth_chebyshev_weights,
    weighted_sum_weights,
)
from trainer.settings import LagrangianSettings

EXACT = settings(deadline=None, derandomize=True)


def vectors(n: int) -> st.SearchStrategy[np.ndarray]:
    """Vectors of quarters: sums and differences are exact."""
    return arrays(np.int64, n, elements=st.integers(-40, 40)).map(lambda values: values / 4)


@EXACT
@given(st.integers(1, 6).flatmap(vectors))
def test_projection_is_the_nearest_point_of_the_simplex(values: np.ndarray) -> None:
    """p is optimal iff it is feasible and <v - p, q - p> <= 0 for every vertex q (the variational inequality)."""
    v = torch.from_numpy(values)[None]
    p, threshold = project_simplex(v)
    assert (p >= 0).all()
    torch.testing.assert_close(p.sum(dim=1), torch.ones(1, dtype=torch.float64), rtol=0, atol=1e-12)
    residual = v - p
    vertices = torch.eye(v.shape[1], dtype=torch.float64)
    assert ((residual @ (vertices - p).T) <= 1e-9).all()
    torch.testing.assert_close(p, (v - threshold).clamp(min=0))


def test_without_the_simplex_constraint_the_inequality_fails() -> None:
    """The hypothesis matters: merely clipping at 0 is not the projection."""
    v = torch.tensor([[0.75, 0.75]], dtype=torch.float64)
    clipped = v.clamp(min=0)
    assert float(clipped.sum()) != 1
    assert float(project_simplex(v)[0].sum()) == 1


def augmented_scores(values: np.ndarray, k: np.ndarray, augmentation: float) -> np.ndarray:
    reference = torch.from_numpy(values.min(axis=0)).double()
    g = chebyshev_values(torch.from_numpy(values).double(), torch.from_numpy(k).double()[None], reference, augmentation)
    return g.amax(dim=1).numpy()


POINTS = st.integers(1, 12).flatmap(lambda n: arrays(np.int64, (n, 3), elements=st.integers(0, 8)))
PREFERENCES = arrays(np.int64, 3, elements=st.integers(1, 8))


@EXACT
@given(POINTS, PREFERENCES)
def test_every_augmented_chebyshev_minimiser_is_nondominated(values: np.ndarray, k: np.ndarray) -> None:
    """With augmentation > 0 every minimiser is Pareto optimal (Hotegni et al., appendix A)."""
    scores = augmented_scores(values, k, 2**-10)
    assert nondominated(values)[scores == scores.min()].all()


def test_without_augmentation_a_minimiser_may_be_dominated() -> None:
    """The hypothesis matters: at 0 a minimiser is only weakly Pareto optimal."""
    values, k = np.array([[0, 4, 4], [0, 4, 0], [4, 0, 0]]), np.array([1, 1, 1])
    scores = augmented_scores(values, k, 0.0)
    assert scores[0] == scores.min()
    assert not nondominated(values)[0]


@EXACT
@given(PREFERENCES, arrays(np.float64, 3, elements=st.integers(0, 64).map(lambda i: i / 8)))
def test_the_weighted_sum_is_the_same_code_with_equal_weights(k: np.ndarray, losses: np.ndarray) -> None:
    """p = 1/n and e = 0 give sum_i k_i L_i / n."""
    preference, objectives = torch.from_numpy(k / 1.0)[None], torch.from_numpy(losses)[None]
    g = chebyshev_values(objectives, preference, torch.zeros(3, dtype=torch.float64), 0.0)
    p = weighted_sum_weights(torch.zeros_like(g), 1.0, g)
    torch.testing.assert_close((p * g).sum(), (preference * objectives).sum() / 3)


def test_a_vanishing_penalty_leaves_the_multipliers_and_a_large_one_takes_the_largest_term() -> None:
    multipliers = torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64)
    values = torch.tensor([[0.3, 0.9, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(chebyshev_al_weights(multipliers, 1e-12, values), multipliers, rtol=0, atol=1e-11)
    assert chebyshev_al_weights(multipliers, 1e6, values).tolist() == [[0.0, 1.0, 0.0]]


def test_the_penalty_of_the_paper_is_a_weighted_sum() -> None:
    """mu = 2.5e-8 moves the weights by less than 1e-7: k then has no Chebyshev meaning (why our default differs)."""
    multipliers = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    values = torch.tensor([[0.35, 1.2, 0.9]], dtype=torch.float64)
    weights = chebyshev_al_weights(multipliers, 2.5e-8, values)
    assert float((weights - multipliers).abs().max()) < 1e-7


def test_with_a_vanishing_penalty_the_gradient_is_that_of_the_weighted_sum() -> None:
    """Multipliers fixed at 1/n: the gradient is sum_i (k_i + e sum_j k_j) grad L_i / n, weights k + e for k on the simplex."""
    k, e = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64), 1e-2
    objectives = torch.tensor([[1.5, 0.7, 2.0]], dtype=torch.float64, requires_grad=True)
    g = chebyshev_values(objectives, k, torch.zeros(3, dtype=torch.float64), e)
    multipliers = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    (chebyshev_al_weights(multipliers, 1e-12, g.detach()) * g).sum().backward()
    torch.testing.assert_close(objectives.grad, (k + e) / 3, rtol=0, atol=1e-10)


def test_with_a_large_penalty_the_gradient_is_that_of_the_largest_term() -> None:
    k, e = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64), 1e-2
    objectives = torch.tensor([[1.5, 0.7, 2.0]], dtype=torch.float64, requires_grad=True)
    g = chebyshev_values(objectives, k, torch.zeros(3, dtype=torch.float64), e)
    (chebyshev_al_weights(torch.full((1, 3), 1 / 3, dtype=torch.float64), 1e9, g.detach()) * g).sum().backward()
    largest = 0.3 * torch.tensor([[e, e, 1 + e]], dtype=torch.float64)
    torch.testing.assert_close(objectives.grad, largest, rtol=0, atol=1e-12)


def test_the_papers_weights_are_the_gradient_of_its_equation() -> None:
    """t + multipliers . (g - t) + penalty / 2 ||g - t||^2 by autograd, in g and in t."""
    multipliers = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    g = torch.tensor([[0.3, 0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[0.4]], dtype=torch.float64, requires_grad=True)
    excess = g - t
    (t.sum() + (multipliers * excess).sum() + 3 / 2 * excess.square().sum()).backward()
    weights = equality_weights(multipliers, 3.0, (g - t).detach())
    torch.testing.assert_close(weights, g.grad)
    torch.testing.assert_close(1 - weights.sum(dim=1, keepdim=True), t.grad)
    assert (weights < 0).any(), "an objective below t is pushed up: the inequality form never does that"


def test_the_papers_penalty_makes_its_lagrangian_a_weighted_sum() -> None:
    """After ten outer iterations at mu = 2.5e-8 the weights still are the even ones they started from, to 1e-4."""
    lagrangian = EqualityLagrangian(LagrangianSettings(), 1, 3, torch.device("cpu"), torch.float64)
    assert lagrangian.penalty == 2.5e-8
    for _ in range(10):
        for _ in range(30):
            weights = lagrangian.weigh(slice(0, 1), torch.tensor([[3.5, 1.2, 0.9]], dtype=torch.float64))
            lagrangian.end_step(1e-3)
            lagrangian.count_step()
        lagrangian.update()
    torch.testing.assert_close(weights, torch.full((1, 3), 1 / 3, dtype=torch.float64), rtol=0, atol=1e-4)


def test_smooth_weights_are_the_gradient_of_log_sum_exp() -> None:
    values = torch.tensor([[0.3, 0.9, 0.1]], dtype=torch.float64, requires_grad=True)
    (torch.logsumexp(5 * values, dim=1) / 5).sum().backward()
    torch.testing.assert_close(smooth_chebyshev_weights(torch.zeros(1, 3), 5.0, values.detach()), values.grad)


def test_each_scalarization_chooses_by_what_it_minimises() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64)
    assert float(scalarized("chebyshev_al", values, 1.0)) == 6
    assert float(scalarized("weighted_sum", values, 1.0)) == 3
    assert float(scalarized("smooth_chebyshev", values, 100.0)) == pytest.approx(6)


def test_a_nan_stays_in_its_own_model() -> None:
    values = torch.tensor([[float("nan"), 1.0], [0.5, 1.0]])
    projected = project_simplex(values)[0]
    assert projected[0].isnan().all()
    assert projected[1].tolist() == pytest.approx([0.25, 0.75])


def test_chebyshev_values_by_hand_for_each_model() -> None:
    """Excess (2, 1) and (0, 4) over the reference; a quarter of their sum comes on top; then the preference."""
    objectives = torch.tensor([[3.0, 3.0], [1.0, 6.0]])
    preference = torch.tensor([[0.5, 0.25], [1.0, 2.0]])
    found = chebyshev_values(objectives, preference, torch.tensor([1.0, 2.0]), 0.25)
    assert found.tolist() == [[0.5 * 2.75, 0.25 * 1.75], [1.0, 2 * 5.0]]


def test_the_projection_of_each_row_by_hand() -> None:
    """All entries take part, two of three, one alone."""
    values = torch.tensor([[0.5, 0.25, 0.0], [1.0, 0.5, -1.0], [3.0, 1.0, 0.0]], dtype=torch.float64)
    projected, threshold = project_simplex(values)
    torch.testing.assert_close(threshold, torch.tensor([[-1 / 12], [0.25], [2.0]], dtype=torch.float64))
    torch.testing.assert_close(projected, torch.tensor([[7 / 12, 1 / 3, 1 / 12], [0.75, 0.25, 0], [1, 0, 0]], dtype=torch.float64))
    assert project_simplex(values.float())[0].dtype == torch.float32


def test_the_weights_of_a_step_by_name() -> None:
    assert {
        "chebyshev_al": chebyshev_al_weights,
        "weighted_sum": weighted_sum_weights,
        "smooth_chebyshev": smooth_chebyshev_weights,
    } == STEP_WEIGHTS
    values = torch.tensor([[1.0, 2.0], [4.0, 4.0]], dtype=torch.float64)
    assert weighted_sum_weights(values, 1.0, values).tolist() == [[0.5, 0.5]] * 2
    assert smooth_chebyshev_weights(values, 0.0, values).tolist() == [[0.5, 0.5]] * 2
    torch.testing.assert_close(smooth_chebyshev_weights(values, 2.0, values)[0], torch.tensor([1.0, np.exp(2)]) / (1 + np.exp(2)))


def test_the_smooth_maximum_lies_above_the_maximum_by_the_logarithm_of_how_many_share_it() -> None:
    values = torch.tensor([[2.0, 2.0, 2.0, 2.0], [1.0, -50.0, -50.0, -50.0]], dtype=torch.float64)
    torch.testing.assert_close(scalarized("smooth_chebyshev", values, 4.0), torch.tensor([2 + np.log(4) / 4, 1.0], dtype=torch.float64))
    assert scalarized("paper", values, 4.0).tolist() == [2.0, 1.0]
    assert scalarized("weighted_sum", values, 4.0).tolist() == [2.0, -149 / 4]
