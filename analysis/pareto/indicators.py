"""Quality indicators of a whole front."""

import moocore
import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

MAX_EXACT_OBJECTIVES = 5
"""With more objectives than this, the hypervolume is estimated: the exact one takes seconds for 90 points in eight objectives, and hours
beyond that."""
_N_DIRECTIONS = 100_000
NO_REFERENCE = "there is no reference yet; `sweep run` fixes it once every trial of the grid file has ended"
"""The sentence that says why a sweep has no hypervolume."""


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """Compute the volume that a set of points dominates below a reference point; higher is better.

    Args:
        values: shape (n_points, n_objectives), minimised. Rows that are not finite, and rows that are not better than
            the reference in every objective, contribute nothing.
        reference: shape (n_objectives,), the corner that bounds the volume.

    Returns:
        The volume, in the product of the objectives' units; 0.0 without points. For more than `MAX_EXACT_OBJECTIVES` objectives it
        is a deterministic estimate, accurate to about three digits.

    Raises:
        ValueError: the shapes do not match, or the reference is not finite.

    Source of the estimate: Deng and Zhang, IEEE Transactions on Evolutionary Computation 23(5), 2019.
    """
    corner = np.asarray(reference, dtype=np.float64)
    points = _as_set(values, len(corner) if corner.ndim == 1 else 0)
    if not np.isfinite(corner).all():
        raise ValueError(f"hypervolume expects a finite reference, found reference = {reference!r}")
    inside = points[(points < corner).all(axis=1)]
    if not len(inside):
        return 0.0
    if len(corner) == 1:
        return float(corner[0] - inside.min())
    if len(corner) <= MAX_EXACT_OBJECTIVES:
        return float(moocore.hypervolume(inside, ref=corner))
    # Directions are sampled evenly, so the estimate needs objectives on a common scale.
    span = corner - inside.min(axis=0)
    scaled = (inside - corner) / span
    estimate = moocore.hv_approx(scaled, ref=np.zeros(len(corner)), nsamples=_N_DIRECTIONS, method="DZ2019-HW")
    return float(estimate * np.prod(span))


def n_beyond(values: ArrayLike, reference: ArrayLike) -> int:
    """Count the points that add nothing to the hypervolume because they are not better than the reference in every objective.

    Args:
        values: shape (n_points, n_objectives), minimised; rows that are not finite do not count.
        reference: shape (n_objectives,).

    Raises:
        ValueError: the shapes do not fit.
    """
    corner = np.asarray(reference, dtype=np.float64)
    points = _as_set(values, len(corner) if corner.ndim == 1 else 0)
    return int((points >= corner).any(axis=1).sum())


def beyond_text(n_points: int) -> str:
    """Write a clause about the points counted by `n_beyond`; empty if there are none."""
    what = "trial lies" if n_points == 1 else "trials lie"
    return f"{n_points:,} finished {what} beyond the reference and add nothing" if n_points else ""


def igd_plus(values: ArrayLike, true_front: ArrayLike) -> float:
    """Compute IGD+, the mean distance from a known front to a set of points in the objectives where the points are worse; lower is better.

    Args:
        values: shape (n_points, n_objectives), minimised; rows that are not finite are left out.
        true_front: shape (n_reference, n_objectives), at least one row.

    Returns:
        The distance, in the objectives' units; infinite without points.

    Raises:
        ValueError: the shapes do not match, or the front is empty or not finite.

    Source: Ishibuchi et al., EMO 2015.
    """
    front = np.asarray(true_front, dtype=np.float64)
    if front.ndim != 2 or not front.size or not np.isfinite(front).all():
        raise ValueError(f"igd_plus expects a finite, non-empty front of shape (n_reference, n_objectives), found shape = {front.shape}")
    points = _as_set(values, front.shape[1])
    return float(moocore.igd_plus(points, ref=front)) if len(points) else float("inf")


def epsilon_additive(values: ArrayLike, others: ArrayLike) -> float:
    """Compute how far a set of points must be shifted, equally in every objective, to weakly dominate another set; lower is better.

    Args:
        values: shape (n_points, n_objectives), minimised; rows that are not finite are left out.
        others: shape (n_others, n_objectives), likewise. All objectives must be in comparable units.

    Returns:
        max over others of min over points of max over objectives of (point - other). It is at most 0 if every other point is weakly
        dominated; infinite without points, and minus infinity without others.

    Raises:
        ValueError: the shapes do not fit.

    Source: Zitzler et al., IEEE Transactions on Evolutionary Computation 7(2), 2003.
    """
    n_objectives = np.asarray(others).shape[-1] if np.ndim(others) == 2 else 0
    points, goals = _as_set(values, n_objectives), _as_set(others, n_objectives)
    if not len(goals):
        return float("-inf")
    return float(moocore.epsilon_additive(points, ref=goals)) if len(points) else float("inf")


def spread(values: ArrayLike) -> float:
    """Measure how unevenly a front is filled: 0 if all points are equally far from their nearest neighbour; lower is better.

    Args:
        values: shape (n_points, n_objectives), minimised: the points of a front. Rows that are not finite are left out, and equal rows
            count once.

    Returns:
        sum |d_i - mean d| / (n_points mean d), where d_i is the Euclidean distance from point i to the nearest other point, with each
        objective divided by its range. NaN for fewer than three points.

    Raises:
        ValueError: `values` does not have two dimensions.

    Source: the spread of Zhou et al., CEC 2006, without its term for the distance to the true extremes, which are not known here.
    """
    points = np.unique(_as_set(values, np.shape(values)[-1] if np.ndim(values) == 2 else 0), axis=0)
    if len(points) < 3:
        return float("nan")
    lengths = np.ptp(points, axis=0)
    scaled = points[:, lengths > 0] / lengths[lengths > 0]
    nearest = cKDTree(scaled).query(scaled, k=2)[0][:, 1]
    return float(np.abs(nearest - nearest.mean()).sum() / (len(points) * nearest.mean()))


def _as_set(values: ArrayLike, n_objectives: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != n_objectives or n_objectives == 0:
        raise ValueError(f"an indicator expects points of shape (n_points, {n_objectives}), found shape = {points.shape}")
    return points[np.isfinite(points).all(axis=1)]
