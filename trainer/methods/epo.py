"""Exact Pareto optimal search (EPO): the direction of a step, and a training that uses it."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from trainer.methods.min_norm import min_norm_weights
from trainer.methods.task_gradients import GradientMethod, TaskGradients
from trainer.objectives.scalarization import chebyshev_values

Vector = NDArray[np.float64]
"""Shape (n_tasks,)."""
_TINY = np.finfo(np.float64).tiny


def non_uniformity(losses: Vector, preference: Vector) -> float:
    """Compute mu = sum_t h_t log(n h_t) with h = r l / sum(r l), the Kullback-Leibler divergence of h from uniform.

    Args:
        losses: l, shape (n_tasks,), >= 0.
        preference: r, shape (n_tasks,), >= 0, not all 0.

    Returns:
        mu >= 0 in nats, up to rounding; 0 exactly where all r_t l_t are equal (or all are 0). For two tasks whose r_t l_t
        differ by a small share s, mu is s^2 / 8.

    Source: Mahapatra and Rajan, ICML 2020.
    """
    shares = _shares(losses, preference)
    return float((shares * np.log(len(shares) * shares.clip(min=_TINY))).sum())


def epo_weights(losses: Vector, preference: Vector, gram: NDArray[np.float64], tolerance: float = 1e-4) -> Vector:
    """Compute the weights alpha of the step x <- x - step * sum_t alpha_t g_t by one linear program over the simplex.

    Let C = G G^T, and let a_t = r_t (log(n h_t) - mu) be the anchor, which is the gradient of mu in the losses up to a factor. To first
    order and up to a factor each, a step along G^T alpha lowers loss t by (C alpha)_t and mu by a . C alpha.

    In balance mode (mu > tolerance), alpha lowers mu the most. The loss of the task with the largest r_t l_t must not increase, and losses
    that a step along G^T a would not lower may increase by at most as much as in that step. The search may therefore climb along the front,
    but less and less as it approaches the ray. If every task's own step increases mu (the gradients agree), no loss may increase, and alpha
    lowers the largest r_t l_t the most. In this case we depart from the authors' code, which uses the alpha that increases mu the least:
    near the minimiser of a task whose minimum is 0, that is the task's own step, so that the search would end in this minimiser, far from
    the ray.

    In descent mode, alpha lowers the sum of the losses the most, while no loss increases and mu does not increase (or, if every task's own
    step increases mu, it increases by no more than the smallest of these increases).

    If no alpha satisfies the conditions of descent mode, the condition on mu is dropped. Without it, and in balance mode, the
    min-norm point satisfies all conditions; it is returned if the solver finds no point because of rounding.

    Args:
        losses: l, shape (n_tasks,), >= 0.
        preference: r, shape (n_tasks,), >= 0, not all 0; it is divided by its sum. A task with r_t = 0 gets the weight 0, and
            the search runs over the other tasks. A single task gets the weight 1.
        gram: C, shape (n_tasks, n_tasks), inner products of the task gradients, in any unit.
        tolerance: the largest mu, in nats, at which the losses count as being on the ray. The default is that of the authors'
            code, with which r_t l_t of two tasks differ by up to 3 %; 1e-7 means 0.1 %.

    Returns:
        alpha, shape (n_tasks,), on the simplex. NaN where a loss or a gradient is not finite.

    Raises:
        ValueError: a shape or a sign is violated; the message names the value.

    Source: Mahapatra and Rajan, ICML 2020; both linear programs as in their code (descent mode in its restricted form).
    """
    losses, preference, gram = (np.asarray(value, dtype=np.float64) for value in (losses, preference, gram))
    _check(losses, preference, gram, tolerance)
    alpha, chosen = np.zeros(len(losses)), np.flatnonzero(preference > 0)
    losses, preference, gram = losses[chosen], preference[chosen] / preference.sum(), gram[np.ix_(chosen, chosen)]
    is_known = np.isfinite(losses).all() and np.isfinite(gram).all()
    alpha[chosen] = _search(losses, preference, gram, tolerance) if is_known else np.nan
    return alpha


def _search(losses: Vector, preference: Vector, gram: NDArray[np.float64], tolerance: float) -> Vector:
    """Compute `epo_weights` for preferences > 0 that sum to 1 and for finite numbers."""
    if len(losses) == 1:
        return np.ones(1)
    gram = gram / max(gram.diagonal().max(), _TINY)
    mu = non_uniformity(losses, preference)
    anchor = preference * (np.log(len(losses) * _shares(losses, preference).clip(min=_TINY)) - mu)
    lowers_mu = gram @ anchor  # by each task's own step; since C is symmetric, also the decrease of the losses in a step along G^T a
    if mu > tolerance:
        weighted = preference * losses
        if (lowers_mu > 0).any():
            alpha = _best(lowers_mu, gram, _least_descent(lowers_mu, weighted))
        else:
            alpha = _best(gram[weighted.argmax()], gram, np.zeros(len(losses)))
    else:
        keeps_mu = np.vstack([gram, lowers_mu])
        alpha = _best(gram.sum(axis=0), keeps_mu, np.append(np.zeros(len(losses)), min(0.0, lowers_mu.max())))
        if alpha is None:
            alpha = _best(gram.sum(axis=0), gram, np.zeros(len(losses)))
    return min_norm_weights(torch.from_numpy(gram)[None])[0].numpy() if alpha is None else alpha


def _least_descent(descent_along_anchor: Vector, weighted_losses: Vector) -> Vector:
    """Return the least decrease of each loss in balance mode, shape (n_tasks,); negative values permit an increase, -inf any change."""
    least = np.where(descent_along_anchor > 0, -np.inf, descent_along_anchor)
    return np.where(weighted_losses == weighted_losses.max(), 0.0, least)


def _best(gain: Vector, rows: NDArray[np.float64], least: Vector) -> Vector | None:
    """Return the alpha on the simplex that maximises gain . alpha subject to rows @ alpha >= least; None if there is none."""
    held = np.isfinite(least)
    gain = gain / max(np.abs(gain).max(), _TINY)  # the solver's tolerances are absolute
    solution = linprog(-gain, A_ub=-rows[held], b_ub=-least[held], A_eq=np.ones((1, len(gain))), b_eq=[1.0], method="highs")
    if solution.x is None or not np.isfinite(solution.x).all():
        return None
    alpha = solution.x.clip(min=0)
    return np.asarray(alpha / alpha.sum())


def _shares(losses: Vector, preference: Vector) -> Vector:
    """Compute h = r l / sum(r l); uniform where all r l are 0."""
    weighted = preference * losses
    total = weighted.sum()
    return np.asarray(weighted / total) if total > 0 else np.full(len(weighted), 1 / len(weighted))


def _check(losses: Vector, preference: Vector, gram: NDArray[np.float64], tolerance: float) -> None:
    n_tasks = len(preference) if preference.ndim == 1 else 0
    if not n_tasks or losses.shape != (n_tasks,) or gram.shape != (n_tasks, n_tasks):
        raise ValueError(
            "epo_weights expects losses and preference (n_tasks,) and gram (n_tasks, n_tasks), "
            f"found shapes {losses.shape}, {preference.shape}, {gram.shape}"
        )
    if not (preference >= 0).all() or not 0 < preference.sum() < np.inf:
        raise ValueError(f"epo_weights expects preference >= 0, finite and not all 0, found preference = {preference.tolist()}")
    if (losses < 0).any():
        raise ValueError(f"epo_weights expects losses >= 0, found losses = {losses.tolist()}")
    if not tolerance >= 0:
        raise ValueError(f"epo_weights expects tolerance >= 0, found tolerance = {tolerance}")


class EPO(GradientMethod):
    """Weights the tasks in each step by a linear program: first towards equal k_t L_t, then along the ray on which they are equal.

    The gradients are those of the whole network, and the weights sum to the number of tasks, as in the authors' experiments.

    Source: Mahapatra and Rajan, ICML 2020.
    """

    def _combine(self, network: int, gradients: TaskGradients) -> None:
        preference = self.specs[network].preference
        assert preference is not None
        gram = gradients.gram(range(len(gradients.parameters)))
        weights = epo_weights(gradients.losses.double().cpu().numpy(), torch.tensor(preference[1:]).double().numpy(), gram.numpy())
        weights = (weights * len(weights)).tolist()
        for p in range(len(gradients.parameters)):
            gradients.add(p, weights)

    def _scores(self, losses: Tensor, metrics: Tensor) -> list[Tensor]:
        if self._settings.selection == "accuracy":
            return super()._scores(losses, metrics)
        preference = torch.tensor([spec.preference for spec in self.specs], dtype=torch.float64)[:, 1:]
        values = chebyshev_values(losses, preference, torch.zeros(losses.shape[1], dtype=torch.float64), 0.0)
        return [-values.amax(dim=1)]
