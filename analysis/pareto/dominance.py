"""Which points are on the front, how far the others are from it, and clusters of similar sparsity.

Everywhere `values` has shape (n_points, n_objectives) and is minimised. Rows with a value that is not finite are removed first: they are
never kept and dominate nothing. (A single NaN makes moocore's result wrong for *other* rows.)
"""

from typing import Literal, get_args

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.pareto.eps_dominance import beaten, largest_lead

Mode = Literal["absolute", "ideal", "range"]


def nondominated(values: ArrayLike) -> NDArray[np.bool_]:
    """Mark the exact Pareto front.

    Args:
        values: shape (n_points, n_objectives), minimised.

    Returns:
        Shape (n_points,): True for a finite row if no other row is at least as good in every objective and better in one. Equal
        rows get equal marks.

    Raises:
        ValueError: `values` does not have two dimensions, or has no objective.
    """
    points = _as_points(values)
    finite = np.isfinite(points).all(axis=1)
    if finite.all() and len(points):
        return _front_of_finite(points)
    mask = np.zeros(len(points), dtype=bool)
    if finite.any():
        mask[finite] = _front_of_finite(points[finite])
    return mask


def eps_nondominated(values: ArrayLike, eps: ArrayLike = 0.0, mode: Mode = "absolute") -> NDArray[np.bool_]:
    """Mark the points that no other point beats by eps or more in every objective.

    Row i is dropped if some row j differs from it and F_j <= F_i - eps in every objective (computed as F_i - F_j >= eps). eps is a
    tolerance for noise in training, so a larger eps keeps *more* points.

    Args:
        values: shape (n_points, n_objectives), minimised.
        eps: >= 0, a scalar or shape (n_objectives,), in units of the objective for `absolute`, otherwise a fraction.
        mode: what eps is relative to: nothing, the absolute value of the ideal point (the paper's rule) or the range of the exact
            front. In the latter two an objective whose ideal value or range is 0 has no tolerance.

    Returns:
        Shape (n_points,). eps = 0 gives exactly `nondominated`; a larger eps never drops a point; at least one point is kept if a
        row is finite; for scalar eps the result equals `slack(values, mode) <= eps`.

    Raises:
        ValueError: eps is negative or not finite, a shape is wrong, or the mode is unknown; the message names it.
    """
    points = _as_points(values)
    tolerance = _as_eps(eps, points.shape[1])
    mask = nondominated(points)
    unit = _unit_on_front(points[mask], mode)
    if tolerance.ndim == 0 and tolerance == 0:
        return mask
    rest = ~mask & np.isfinite(points).all(axis=1)
    if rest.any():
        unit, least = (unit, float(tolerance)) if tolerance.ndim == 0 else (unit * tolerance, 1.0)
        mask[rest] = ~beaten(points[rest], points[mask], unit, least)
    return mask


def slack(values: ArrayLike, mode: Mode = "absolute", unit: ArrayLike | None = None) -> NDArray[np.float64]:
    """Compute the smallest scalar eps at which each point is kept.

    Args:
        values: shape (n_points, n_objectives), minimised.
        mode: as in `eps_nondominated`.
        unit: shape (n_objectives,), >= 0: what eps = 1 means in each objective; default: as `mode` defines it.

    Returns:
        Shape (n_points,): 0 on the exact front; elsewhere the floating-point number right above
        max over j of min over m of (F_im - F_jm) / unit_m, because at that number itself the point is dropped; infinite if no eps
        keeps the point (it is not finite, or dominated in objectives without tolerance). A slider in a report needs only the
        comparison `slack <= eps`.

    Raises:
        ValueError: the unit is negative or not finite, a shape is wrong, or the mode is unknown.
    """
    points = _as_points(values)
    front = nondominated(points)
    if unit is None:
        scale = _unit_on_front(points[front], mode)
    else:
        scale = np.broadcast_to(_as_eps(unit, points.shape[1], "unit"), points.shape[1:])
    rest = ~front & np.isfinite(points).all(axis=1)
    result = np.where(front, 0.0, np.inf)
    result[rest] = np.nextafter(np.maximum(largest_lead(points[rest], points[front], scale), 0.0), np.inf)
    return result


def unit_of_eps(values: ArrayLike, mode: Mode = "absolute") -> NDArray[np.float64]:
    """Compute what eps = 1 means in each objective: 1, |ideal point|, or the range of the exact front; shape (n_objectives,).

    Args:
        values: shape (n_points, n_objectives), minimised.
        mode: as for `eps_nondominated`.

    Raises:
        ValueError: the mode is unknown.
    """
    points = _as_points(values)
    return _unit_on_front(points[nondominated(points)], mode)


def thin_front(values: ArrayLike, eps: ArrayLike) -> NDArray[np.bool_]:
    """Mark a sparse selection of the exact front: at most one point in each eps-box, from non-dominated boxes.

    Args:
        values: shape (n_points, n_objectives), minimised.
        eps: >= 0, a scalar or shape (n_objectives,): edge length of a box, in units of the objective; 0 means no boxes in that
            objective.

    Returns:
        Shape (n_points,), a subset of `nondominated` that becomes sparser as eps grows; in each box the point nearest to the lower corner
        is kept, together with rows equal to it.

    Raises:
        ValueError: eps is negative or not finite, or a shape is wrong.

    Source: Laumanns et al., Evolutionary Computation 10(3), 2002 (epsilon-Pareto sets).
    """
    points = _as_points(values)
    edge = np.broadcast_to(_as_eps(eps, points.shape[1]), points.shape[1:])
    mask = nondominated(points)
    front, row_of = np.unique(points[mask], axis=0, return_inverse=True)
    if not len(front):
        return mask
    safe = np.where(edge > 0, edge, 1.0)
    boxes = np.where(edge > 0, np.floor(front / safe), front)
    offset = (((front - boxes * safe) / safe) ** 2)[:, edge > 0].sum(axis=1)
    order = np.lexsort((np.arange(len(front)), offset))
    _, first = np.unique(boxes[order], axis=0, return_index=True)
    chosen = np.zeros(len(front), dtype=bool)
    chosen[order[first]] = True
    chosen &= _front_of_finite(boxes)
    mask[mask] = chosen[row_of.ravel()]
    return mask


def sparsity_clusters(sparsity_rate: ArrayLike, width: float = 0.02) -> NDArray[np.int64]:
    """Cluster points by sparsity rate: sort them and cut where the gap between neighbours exceeds a width.

    Args:
        sparsity_rate: shape (n_points,), fractions.
        width: > 0, a fraction.

    Returns:
        Labels, shape (n_points,): 0 for the least sparse cluster, then ascending; -1 where the rate is not finite. The partition
        does not depend on the order of the rows.

    Raises:
        ValueError: width is not a positive number.
    """
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"sparsity_clusters expects width > 0, found width = {width}")
    rates = np.asarray(sparsity_rate, dtype=np.float64).ravel()
    labels = np.full(len(rates), -1, dtype=np.int64)
    finite = np.flatnonzero(np.isfinite(rates))
    order = finite[np.argsort(rates[finite], kind="stable")]
    labels[order] = np.cumsum(np.diff(rates[order], prepend=rates[order][:1]) > width)
    return labels


def _as_points(values: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"a front expects values of shape (n_points, n_objectives), found shape = {points.shape}")
    return points


def _as_eps(eps: ArrayLike, n_objectives: int, name: str = "eps") -> NDArray[np.float64]:
    tolerance = np.asarray(eps, dtype=np.float64)
    if tolerance.shape not in ((), (n_objectives,)):
        raise ValueError(f"a front expects {name} as a scalar or of shape ({n_objectives},), found shape = {tolerance.shape}")
    if not (np.isfinite(tolerance) & (tolerance >= 0)).all():
        raise ValueError(f"a front expects {name} >= 0 and finite, found {name} = {eps!r}")
    return tolerance


def _unit_on_front(front: NDArray[np.float64], mode: Mode) -> NDArray[np.float64]:
    """Compute `unit_of_eps` of a set from its exact front, which consists of these rows."""
    if mode not in get_args(Mode):
        raise ValueError(f"eps expects mode one of {', '.join(get_args(Mode))}, found mode = {mode!r}")
    if mode == "absolute" or not len(front):
        return np.ones(front.shape[1])
    if mode == "ideal":
        return np.asarray(np.abs(front.min(axis=0)))
    return np.asarray(front.max(axis=0) - front.min(axis=0))


def _front_of_finite(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    if points.shape[1] == 1:
        return np.asarray(points[:, 0] == points[:, 0].min())
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=bool)
