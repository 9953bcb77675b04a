"""Empirical attainment functions of fronts from several seeds: surfaces, and differences between two groups of fronts."""

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.pareto.dominance import nondominated

PERCENTILES = (25.0, 50.0, 75.0)
_MAX_OBJECTIVES = 3


def attainment_surface(values: ArrayLike, sets: ArrayLike, percentiles: Sequence[float] = PERCENTILES) -> NDArray[np.float64]:
    """Compute the non-dominated corners of the region that a given share of several fronts attains.

    Args:
        values: shape (n_points, n_objectives), minimised; two or three objectives. Rows that are not finite are left out.
        sets: shape (n_points,), the front (the seed) that each point belongs to.
        percentiles: percentiles of the fronts, in (0, 100]; 50 is the median surface, which half of the fronts weakly dominate.

    Returns:
        Shape (n_corners, n_objectives + 1), the percentile in the last column; sorted by percentile, then by the objectives.

    Raises:
        ValueError: there are not two or three objectives, the shapes do not match, or a percentile is out of range.

    Source: Fonseca, Guerreiro, Lopez-Ibanez and Paquete, EMO 2011 (computation).
    """
    points, names = np.asarray(values, dtype=np.float64), np.asarray(sets)
    if points.ndim != 2 or not 2 <= points.shape[1] <= _MAX_OBJECTIVES or names.shape != points.shape[:1]:
        rule = f"points of shape (n_points, 2 or {_MAX_OBJECTIVES}) and sets of shape (n_points,)"
        raise ValueError(f"attainment_surface expects {rule}, found shapes = {points.shape}, {names.shape}")
    wrong = [percentile for percentile in percentiles if not 0 < percentile <= 100]
    if wrong:
        raise ValueError(f"attainment_surface expects percentiles in (0, 100], found {wrong[0]}")
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        return np.zeros((0, points.shape[1] + 1))
    _, numbers = np.unique(names[finite], return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    found = np.asarray(moocore.eaf(points[finite][order], numbers[order], percentiles=list(percentiles)))
    return found[np.lexsort((*found[:, -2::-1].T, found[:, -1]))]


@dataclass(frozen=True, eq=False)
class AttainmentDifference:
    """How much more often one group of fronts attains a point than another group, on a grid of cells in two objectives."""

    x: NDArray[np.float64]
    """Edges of the cells in the first objective, shape (n_x + 1,), ascending; minimised."""
    y: NDArray[np.float64]
    """Edges of the cells in the second objective, shape (n_y + 1,), ascending; minimised."""
    share: NDArray[np.float64]
    """Shape (n_y, n_x): share of the first group's fronts that attain the cell minus that of the second group; within [-1, 1]."""


def attainment_difference(first: Sequence[ArrayLike], second: Sequence[ArrayLike]) -> AttainmentDifference:
    """Compute where one group of fronts attains more than another.

    Args:
        first: the fronts of the first group, one for each seed, shape (n_points, 2), minimised; rows that are not finite are left out.
        second: the fronts of the second group, likewise; the number of seeds may differ.

    Returns:
        The difference, which is exact on its cells. Nothing changes beyond the largest coordinates, so the last cells stand for all worse
        points.

    Raises:
        ValueError: a front has another shape, or there is no point at all.

    Source: Lopez-Ibanez, Paquete and Stuetzle, 2010 (differences of empirical attainment functions).
    """
    groups = [[_front(points) for points in group] for group in (first, second)]
    everything = np.concatenate([points for group in groups for points in group] or [np.zeros((0, 2))])
    if not len(everything):
        raise ValueError("attainment_difference expects at least one finite point, found none")
    edges = [_edges(everything[:, axis]) for axis in (0, 1)]
    x, y = (edge[:-1] for edge in edges)
    shares = [np.mean([_attained(points, x, y) for points in group], axis=0) if group else np.zeros((len(y), len(x))) for group in groups]
    return AttainmentDifference(edges[0], edges[1], np.asarray(shares[0] - shares[1]))


def _front(points: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(points, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"attainment_difference expects fronts of shape (n_points, 2), found shape = {found.shape}")
    return found[nondominated(found)]


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all coordinates in order, and one more that lies a twentieth of the range beyond the last."""
    edges = np.unique(values)
    return np.append(edges, edges[-1] + (0.05 * (edges[-1] - edges[0]) or 1.0))


def _attained(points: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where some point is at least as good as the lower corner of a cell, shape (n_y, n_x)."""
    order = np.argsort(points[:, 0], kind="stable")
    best = np.minimum.accumulate(points[order, 1]) if len(points) else np.zeros(0)
    n_left = np.searchsorted(points[order, 0], x, side="right")
    least = np.concatenate([[np.inf], best])[n_left]
    return np.asarray(y[:, None] >= least[None, :], dtype=np.float64)
