"""Quality indicators of a whole front."""

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

MAX_EXACT_OBJECTIVES = 5
"""With more objectives than this, the hypervolume is estimated: the exact one takes seconds for 90 points in eight objectives, and hours
beyond that."""
_N_DIRECTIONS = 100_000


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


@dataclass(frozen=True)
class Box:
    """The range of each objective between a stated ideal and a stated nadir, in which fronts are compared as shares.

    Objectives of different units become comparable when each is divided by its range: 0 is the ideal and 1 the nadir. Neither may be
    derived from the points that are measured; otherwise a better front would change the measure of another one.
    """

    ideal: tuple[float, ...]
    """Shape (n_objectives,), minimised, in the objectives' units."""
    nadir: tuple[float, ...]
    """Shape (n_objectives,), minimised, worse than the ideal in every objective: the corner that bounds the hypervolume."""

    def __post_init__(self) -> None:
        low, high = np.asarray(self.ideal, dtype=np.float64), np.asarray(self.nadir, dtype=np.float64)
        if low.ndim != 1 or not low.size or low.shape != high.shape or not (np.isfinite(low) & np.isfinite(high)).all():
            raise ValueError(f"Box expects a finite ideal and nadir of one shape (n_objectives,), found {self.ideal} and {self.nadir}")
        if not (low < high).all():
            raise ValueError(f"Box expects ideal < nadir in every objective, found ideal = {self.ideal}, nadir = {self.nadir}")
        object.__setattr__(self, "ideal", tuple(low.tolist()))
        object.__setattr__(self, "nadir", tuple(high.tolist()))

    def positions(self, values: ArrayLike) -> NDArray[np.float64]:
        """Divide each objective by its range: 0 at the ideal, 1 at the nadir, negative or above 1 outside of the box.

        Args:
            values: shape (n_points, n_objectives), minimised.

        Returns:
            Shape (n_points, n_objectives), without a unit.
        """
        low, high = np.array(self.ideal), np.array(self.nadir)
        return np.asarray((np.asarray(values, dtype=np.float64) - low) / (high - low))

    def hypervolume(self, values: ArrayLike) -> float:
        """Compute the share of the box that a set of points dominates, in [0, 1]; higher is better.

        Args:
            values: shape (n_points, n_objectives), minimised. Rows that are not finite, and rows that are not better than the nadir in
                every objective, contribute nothing. Where a row is better than the ideal, it counts as if it were equal to it.

        Returns:
            The share; 0.0 without points. For more than `MAX_EXACT_OBJECTIVES` objectives it is an estimate, as in `hypervolume`.

        Raises:
            ValueError: the shapes do not match.
        """
        points = _as_set(values, len(self.ideal))
        return min(1.0, hypervolume(np.maximum(self.positions(points), 0.0), np.ones(len(self.ideal))))

    def igd_plus(self, values: ArrayLike, true_front: ArrayLike) -> float:
        """Compute `igd_plus` with each objective divided by its range in the box."""
        return igd_plus(self.positions(_as_set(values, len(self.ideal))), self.positions(_as_set(true_front, len(self.ideal))))

    def n_beyond(self, values: ArrayLike) -> int:
        """Count the points that are worse than the nadir in some objective, and so add nothing to the hypervolume.

        Points on the border add nothing either but are not counted: networks that keep every row lie there.
        """
        return int((_as_set(values, len(self.ideal)) > np.array(self.nadir)).any(axis=1).sum())

    def n_below(self, values: ArrayLike) -> int:
        """Count the points that are better than the ideal in some objective, where they count as if they were equal to it."""
        return int((_as_set(values, len(self.ideal)) < np.array(self.ideal)).any(axis=1).sum())

    def part(self, objectives: Sequence[int]) -> "Box":
        """Return the box of some of the objectives, named by their positions."""
        return Box(tuple(self.ideal[i] for i in objectives), tuple(self.nadir[i] for i in objectives))


def beyond_text(n_points: int, n_below: int = 0, n_unknown: int = 0) -> str:
    """Write a clause about the points counted by `Box.n_beyond` and `Box.n_below`, and about those without a position; empty if none."""
    parts = []
    if n_points:
        parts.append(f"{_trials(n_points)} {'lies' if n_points == 1 else 'lie'} beyond the nadir and {_adds(n_points)} nothing")
    if n_below:
        what = "is better than the ideal in some objective and counts" if n_below == 1 else "are better than the ideal somewhere and count"
        parts.append(f"{_trials(n_below)} {what} as equal to it")
    if n_unknown:
        parts.append(f"{_trials(n_unknown)} without a measured share of the network {_adds(n_unknown)} nothing")
    return "; ".join(parts)


def _trials(n: int) -> str:
    return f"{n:,} finished {'trial' if n == 1 else 'trials'}"


def _adds(n: int) -> str:
    return "adds" if n == 1 else "add"


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
