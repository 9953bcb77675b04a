"""Two points of a front that deserve a first look, the knee and the compromise, each defined by a rule."""

import numpy as np
from numpy.typing import ArrayLike

from analysis.pareto.neighbors import to_unit_range

KNEE_RULE = (
    "Knee: the point farthest below the plane through the front's corners, each of them the worst in one objective and the best "
    "in the others; objectives are divided by their range on the front. A front that nowhere lies below the plane has no knee."
)
COMPROMISE_RULE = (
    "Compromise: the point whose largest distance to the ideal point over the objectives is least, each divided by its range on the front."
)
_TOLERANCE = 1e-9


def knee(values: ArrayLike) -> int | None:
    """Find the knee of a front: the point where giving up more of one objective stops paying off in the others.

    Args:
        values: shape (n_points, n_objectives), minimised and finite: the points of a front.

    Returns:
        The row that is farthest below the plane sum z_i = 1, where z_i is objective i minus its smallest value, divided by its range. (In
        two objectives the plane is the line through the ends.) None for fewer than three points, or if no point lies below the plane.

    Source: Das, Structural Optimization 18, 1999 (the bulge below the hull of the minima). We replace the minima by the corners of the
    range, so that the plane exists even if one point is best in two objectives.
    """
    scaled = to_unit_range(values)
    if len(scaled) < 3:
        return None
    sums = scaled.sum(axis=1)
    row = int(sums.argmin())
    return row if sums[row] < 1 - _TOLERANCE else None


def compromise(values: ArrayLike) -> int | None:
    """Find the point of a front that is nearest to the ideal point in the Chebyshev distance.

    Args:
        values: shape (n_points, n_objectives), minimised and finite: the points of a front.

    Returns:
        The row with the smallest max_i z_i (z as in `knee`), and among equal rows the one with the smallest sum; None without points.
    """
    scaled = to_unit_range(values)
    return int(np.lexsort((scaled.sum(axis=1), scaled.max(axis=1)))[0]) if scaled.size else None
