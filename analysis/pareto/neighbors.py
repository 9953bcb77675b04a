"""Which points of a front are neighbours."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_POINTS = 400
"""Larger fronts are thinned to this many points, because the work grows with the cube of their number."""


def neighbours(values: ArrayLike) -> NDArray[np.int64]:
    """Find the pairs of points with no third point in the ball between them (the Gabriel graph).

    In two objectives the neighbours on a front are consecutive points; with more objectives each point has several neighbours.

    Args:
        values: shape (n_points, n_objectives), finite, in comparable units: divide objectives by their range first (`to_unit_range`). The
            first of several equal rows represents them all. If there are more than `MAX_POINTS` rows, only those farthest from each other
            are kept.

    Returns:
        Shape (n_pairs, 2): row indices of `values`, the smaller one first, in ascending order. Every compared point is in at least one
        pair.

    Raises:
        ValueError: `values` does not have two dimensions, or a value is not finite.

    Source: Gabriel and Sokal, Systematic Zoology 18(3), 1969.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"neighbours expects finite values of shape (n_points, n_objectives), found shape = {points.shape}")
    _, first = np.unique(points, axis=0, return_index=True)
    rows = np.sort(first)
    if len(rows) > MAX_POINTS:
        rows = np.sort(rows[farthest_points(points[rows], MAX_POINTS)])
    chosen = points[rows]
    square = ((chosen[:, None] - chosen[None]) ** 2).sum(axis=2)
    pairs = []
    for i in range(len(rows) - 1):
        later = np.arange(i + 1, len(rows))
        # A third point l is inside the ball with diameter ij when |il|^2 + |jl|^2 < |ij|^2.
        is_free = ~(square[i] + square[later] < square[i, later][:, None] * (1 - 1e-12)).any(axis=1)
        pairs += [(rows[i], rows[j]) for j in later[is_free]]
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)


def to_unit_range(values: ArrayLike) -> NDArray[np.float64]:
    """Subtract the smallest value of each objective and divide by its range; an objective in which all points are equal becomes 0.

    Args:
        values: shape (n_points, n_objectives), finite.

    Returns:
        Shape (n_points, n_objectives), within [0, 1].
    """
    points = np.asarray(values, dtype=np.float64)
    if not len(points):
        return points
    least, length = points.min(axis=0), np.ptp(points, axis=0)
    return np.asarray((points - least) / np.where(length > 0, length, 1.0))


def farthest_points(points: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Choose n points, each the farthest from those chosen before it, starting with the smallest value of the first objective.

    Args:
        points: shape (n_points, n_objectives), finite, in comparable units.
        n: at most n_points.

    Returns:
        Row indices, shape (n,), in the order of choice.
    """
    chosen = [int(points[:, 0].argmin())]
    distance = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < n:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return np.asarray(chosen, dtype=np.int64)
