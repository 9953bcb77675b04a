"""Whether a point solves the weighted Chebyshev problem as stated: its residual over all objectives, and a search for a better point.

That the objectives with a positive multiplier are equal is necessary for a solution, and far from sufficient: points off the front have
it too, and so do the corners of a non-convex front, where the gradient vanishes as well. Where the objectives depend on the variables
alone, a search from the final point therefore decides (`improvement`). tests/bench/certificate.py compares it with other rules.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

MAX_VARIABLES = 200
"""Largest number of variables that are searched: the cost of a step of the search grows with its third power."""
_NO_UNIT = 1e-9
"""A smaller value is zero up to rounding and cannot serve as a unit."""
_SHARES = (0.1, 0.4)
"""How far, as a share of the way, the search's other starts lie from the final point towards random points of the box."""
_SEED = 0
_MAX_STEPS = 100
_ROUNDS = 3
"""Rounds of the search with sparsity."""
_EXPONENTS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
"""Common logarithms of the lengths of its first steps, and of the odds of the weight of sparsity in them."""
_LARGEST_EXPONENT = 6.0


def stated_multipliers(sparsity: float, last: Tensor) -> Tensor:
    """Combine the multipliers of two phases to those of the problem over all objectives.

    Args:
        sparsity: the multiplier of sparsity at the end of the last phase that had it among its objectives; 0 if none had.
        last: multipliers of the tasks at the end of the last phase, shape (n_tasks,), on the simplex.

    Returns:
        Shape (1 + n_tasks,), on the simplex: sparsity keeps its multiplier, and the tasks share the rest as in the last phase.
    """
    return torch.cat([last.new_tensor([sparsity]), (1 - sparsity) * last])


def stated_residual(values: Tensor, multipliers: Tensor, preference: Tensor) -> tuple[float, float]:
    """Measure how unequal the objectives of the problem as stated are at a point.

    Args:
        values: g of all objectives under the full preference vector, shape (n_objectives,).
        multipliers: shape (n_objectives,), on the simplex (`stated_multipliers`).
        preference: k, shape (n_objectives,).

    Returns:
        residual: max g - sum_i multipliers_i g_i, >= 0, in units of g. It vanishes exactly where only the largest objectives have a
            positive multiplier. If all g are convex and the point minimises the weighted sum, it bounds the distance from the optimum.
        spread: largest minus smallest g_i among the objectives with k_i > 0, in units of g.
    """
    wanted = values[preference > 0]
    return max(0.0, float(values.max() - multipliers @ values)), float(wanted.max() - wanted.min())


@dataclass(frozen=True)
class StatedProblem:
    """The problem min max_i g_i(x) over a box, for variables x as one vector, float64."""

    values: Callable[[Tensor], Tensor]
    """x of shape (n_variables,) -> g of shape (n_objectives,), differentiable where the sparsity objective is not among them."""
    low: NDArray[np.float64]
    """Lower bounds, shape (n_variables,); -inf where there is none."""
    high: NDArray[np.float64]
    """Upper bounds, shape (n_variables,)."""
    shrink: Callable[[Tensor, float], Tensor] | None = None
    """(x, step) -> the proximal operator of step times the sparsity objective at x; None if k0 = 0."""
    slope: Callable[[Tensor, float], tuple[Tensor, float]] | None = None
    """(x, p0) -> the gradient of the smooth part of sum_i p_i g_i, and the weight of the sparsity objective in this sum, where p0 is the
    weight of g_0 and the tasks share 1 - p0 in proportion to their multipliers. None if k0 = 0."""

    def largest(self, x: Tensor) -> float:
        """Return max_i g_i(x)."""
        with torch.no_grad():
            return float(self.values(x).max())


def improvement(problem: StatedProblem, x: Tensor) -> float:
    """Search for a point with a smaller max_i g_i, starting from a final point.

    The search is deterministic. Without sparsity it is sequential quadratic programming on min {t : g_i(x) <= t} from the point itself and
    from two points that lie a tenth and four tenths of the way from it to random points of the box, because at a corner of a non-convex
    front the gradient vanishes. With sparsity it consists of proximal gradient steps of several lengths and weights.

    Args:
        problem: the problem; it must not depend on data.
        x: the final point, shape (n_variables,).

    Returns:
        (max g at the point - least max g found) / |least max g found|, >= 0; the plain difference where the least value is zero. It is a
        lower bound of the relative distance from the optimum: if it is small, nothing better was found, which proves nothing unless the
        problem is convex.
    """
    value = problem.largest(x)
    search = _smooth_search if problem.shrink is None else _proximal_search
    least = min([value, *search(problem, x)])
    return (value - least) / (abs(least) if abs(least) > _NO_UNIT else 1.0)


def _smooth_search(problem: StatedProblem, x: Tensor) -> Iterator[float]:
    start = x.detach().numpy()
    for place in (start, *_other_starts(problem, start)):
        yield _descend(problem, place)


def _other_starts(problem: StatedProblem, start: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    low = np.where(np.isfinite(problem.low), problem.low, start - 1)
    high = np.where(np.isfinite(problem.high), problem.high, start + 1)
    for share, unit in zip(_SHARES, np.random.default_rng(_SEED).random((len(_SHARES), len(start))), strict=True):
        yield start + share * (low + unit * (high - low) - start)


def _descend(problem: StatedProblem, start: NDArray[np.float64]) -> float:
    """Return the least max g that sequential quadratic programming meets on its way from a start."""
    cache: dict[bytes, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    unit = abs(problem.largest(torch.from_numpy(start))) or 1.0

    def evaluated(z: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        place = np.clip(z[:-1], problem.low, problem.high)
        key = place.tobytes()
        if key not in cache:
            x = torch.from_numpy(place).requires_grad_()
            g = problem.values(x)
            rows = [torch.autograd.grad(one, x, retain_graph=True)[0].numpy() for one in g]
            cache[key] = g.detach().numpy() / unit, np.stack(rows) / unit
        return cache[key]

    first, _ = evaluated(np.append(start, 0.0))
    last = np.append(np.zeros(len(start)), 1.0)
    minimize(
        lambda z: z[-1],
        np.append(start, first.max()),
        jac=lambda z: last,
        bounds=[*zip(problem.low, problem.high, strict=True), (None, None)],
        constraints={
            "type": "ineq",
            "fun": lambda z: z[-1] - evaluated(z)[0],
            "jac": lambda z: np.column_stack([-evaluated(z)[1], np.ones(len(first))]),
        },
        method="SLSQP",
        options={"maxiter": _MAX_STEPS, "ftol": 1e-9},
    )
    return unit * min(float(values.max()) for values, _ in cache.values())


def _proximal_search(problem: StatedProblem, x: Tensor) -> Iterator[float]:
    """Yield the least max g after each round of proximal gradient steps; a round takes the best length and weight of a step."""
    low, high = torch.from_numpy(problem.low), torch.from_numpy(problem.high)
    best, place = problem.largest(x), x.detach()

    def moved(choice: NDArray[np.float64]) -> Tensor:
        """Take the step from `place` whose length and odds of sparsity have these common logarithms."""
        assert problem.shrink is not None
        assert problem.slope is not None
        exponent, odds = np.clip(choice, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        gradient, of_sparsity = problem.slope(place, float(1 / (1 + 10.0**-odds)))
        length = 10.0**exponent
        return problem.shrink(place - length * gradient, length * of_sparsity).clamp(low, high)

    def value_of(choice: NDArray[np.float64]) -> float:
        return problem.largest(moved(choice))

    choice = min((np.array(one) for one in product(_EXPONENTS, _EXPONENTS)), key=value_of)
    for _ in range(_ROUNDS):
        choice = minimize(value_of, choice, method="Nelder-Mead", options={"maxfev": _MAX_STEPS, "xatol": 1e-6, "fatol": 1e-12}).x
        if value_of(choice) < best:
            best, place = value_of(choice), moved(choice)
        yield best
