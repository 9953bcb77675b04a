"""Preference vectors for the gaps of a front, between neighbours and beyond its ends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.pareto.dominance import nondominated
from analysis.pareto.indicators import hypervolume
from analysis.pareto.neighbors import MAX_POINTS, farthest_points, neighbours, to_unit_range

CLOSE = 0.05
"""A vector is expected to give the same point as one that was tried if no entry differs by more than this fraction."""
_MAX_VOLUMES = 4
"""Largest number of objectives for which hypervolumes are compared; with more, they take too long and lengths are compared instead."""
_MARGIN = 0.05
_ZERO = 1e-6
_DIGITS = 4


@dataclass(frozen=True)
class Gap:
    """A gap of a front, and the preference whose trial is expected in its middle."""

    preference: tuple[float, ...]
    """>= 0 and sums to 1; all entries except the largest have at most four digits."""
    between: tuple[int, int]
    """The two ends of the gap: a row of `values`, or -1 - i for the end in objective i, or n_points + j for the middle of the j-th gap
    returned."""
    gain: float
    """Hypervolume that a point in its middle would add, as a fraction of the box between reference point and corner. With more than
    four objectives: the distance between the two ends, each objective divided by its length in the box."""


def fill_gaps(
    values: ArrayLike, preferences: ArrayLike, n: int, origin: ArrayLike, corner: ArrayLike | None = None, tried: ArrayLike | None = None
) -> list[Gap]:
    """Propose preferences for the n most promising gaps of a front, one after the other, each aimed at the middle of its gap.

    A gap lies between two neighbours (`analysis.pareto.neighbors.neighbours`) of the front, or between one of its ends and the point
    that is ideal in one objective and at the corner in the others. The gap whose middle adds the most hypervolume comes first. From then
    on, the middle between two points counts as a point; each end gets only one preference, because its middle may be out of reach.

    The preference is proportional to b_i / (M_i - a_i), where M is the middle and b_i is the share of objective i in the neighbours'
    weighted objectives k_i (F_i - a_i). Where all weighted objectives are equal, as at an interior Chebyshev optimum, this is the ray from
    the reference point a through M. Where one objective never balances (sparsity, which acts through a proximal operator), the preference
    keeps the balance that was observed.

    Args:
        values: shape (n_points, n_objectives), minimised; rows that are not finite or are dominated are left out, and a front of more than
            `neighbors.MAX_POINTS` points is thinned where points are close together.
        preferences: shape (n_points, n_objectives), >= 0; the preference that each point was trained for.
        n: the largest number of gaps to return.
        origin: the reference point a, shape (n_objectives,), in units of the values.
        corner: shape (n_objectives,), the upper bound of the front, as for a hypervolume. If it is None, and in objectives where some point
            is not below it, a value slightly beyond the worst of the front is used.
        tried: shape (n_tried, n_objectives), preferences that need no further trial, besides those of the points.

    Returns:
        At most n gaps, the most promising first; fewer if all other middles are `CLOSE` to a preference that was tried.

    Raises:
        ValueError: the shapes do not match, or n is negative.
    """
    points, k = np.asarray(values, dtype=np.float64), np.asarray(preferences, dtype=np.float64)
    if points.ndim != 2 or k.shape != points.shape or n < 0:
        raise ValueError(
            f"fill_gaps expects values and preferences of one shape and n >= 0, found shapes {points.shape}, {k.shape}, n = {n}"
        )
    done = k if tried is None else np.concatenate([k, np.asarray(tried, dtype=np.float64).reshape(-1, points.shape[1])])
    found: list[Gap] = []
    if not nondominated(points).any():
        return found
    front = _Front(points, k, np.asarray(origin, dtype=np.float64), None if corner is None else np.asarray(corner, dtype=np.float64))
    while len(found) < n and (gap := front.best_gap(done)) is not None:
        front.add(gap, len(points) + len(found))
        done = np.concatenate([done, [gap.preference]])
        found.append(gap)
    return found


class _Front:
    """The points between which gaps are searched: trials, ends, and the middles of proposed gaps."""

    def __init__(
        self, values: NDArray[np.float64], k: NDArray[np.float64], origin: NDArray[np.float64], corner: NDArray[np.float64] | None
    ):
        rows = np.flatnonzero(nondominated(values))
        if len(rows) > MAX_POINTS:
            rows = np.sort(rows[farthest_points(to_unit_range(values[rows]), MAX_POINTS)])
        front = values[rows]
        length, least = np.ptp(front, axis=0), front.min(axis=0)
        # A reference point must be below every value; otherwise the balance is measured from a point slightly below the best value.
        self.origin = np.where(origin < least, origin, least - _MARGIN * np.where(length > 0, length, 1.0))
        beyond = front.max(axis=0) + _MARGIN * np.where(length > 0, length, 1.0)
        self.corner = beyond if corner is None else np.where(corner > front.max(axis=0), corner, beyond)
        weighted = k[rows] * (front - self.origin)
        m = len(self.origin)
        # An objective that no trial on the front was trained for has no end.
        ends = np.flatnonzero(weighted.any(axis=0))
        self.values = np.concatenate([front, np.where(np.eye(m, dtype=bool)[ends], self.origin, self.corner)])
        self.balance = np.concatenate([_shares(weighted), np.full((len(ends), m), np.nan)])
        self.names = [*rows.tolist(), *(-1 - int(i) for i in ends)]
        self.closed: set[int] = set()

    def best_gap(self, done: NDArray[np.float64]) -> Gap | None:
        """Return the most promising gap whose preference has not been tried yet; None if there is none."""
        unit = self.corner - self.origin
        pairs = neighbours(to_unit_range(self.values))
        promised = self._gains(pairs, unit)
        for index in np.argsort(-np.round(promised, 12), kind="stable"):  # gaps of equal gain stay in the order of their points
            i, j = (int(row) for row in pairs[index])
            if not self.closed.isdisjoint((self.names[i], self.names[j])):
                continue
            preference = self._preference(i, j)
            if preference is None:
                continue
            near = np.abs(done - preference) <= CLOSE * np.maximum(done, preference) + _ZERO
            if not near.all(axis=1).any():
                return Gap(tuple(preference.tolist()), (self.names[i], self.names[j]), float(promised[index]))
        return None

    def _gains(self, pairs: NDArray[np.int64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = (self.values - self.origin) / unit
        if scaled.shape[1] > _MAX_VOLUMES:
            return np.asarray(np.sqrt(((scaled[pairs[:, 0]] - scaled[pairs[:, 1]]) ** 2).sum(axis=1)))
        corner = np.ones(scaled.shape[1])
        before = hypervolume(scaled, corner)
        return np.asarray([hypervolume([*scaled, (scaled[i] + scaled[j]) / 2], corner) - before for i, j in pairs], dtype=np.float64)

    def _preference(self, i: int, j: int) -> NDArray[np.float64] | None:
        """Compute the preference for the middle of a gap; None if the balance is not known, or if a number is too small to divide by."""
        with np.errstate(all="ignore"):
            k = self._balance(i, j) / (self._middle(i, j) - self.origin)
            shares = k / k.sum()
        return _rounded(shares) if np.isfinite(shares).all() else None

    def _balance(self, i: int, j: int) -> NDArray[np.float64]:
        """Average the balance of both points. An end has no balance of its own; between two ends, the front's mean balance is used."""
        both = self.balance[[i, j]]
        seen = both[np.isfinite(both).all(axis=1)]
        known = seen if len(seen) else self.balance[np.isfinite(self.balance).all(axis=1)]
        return np.asarray(known.mean(axis=0)) if len(known) else np.full(self.balance.shape[1], np.nan)

    def _middle(self, i: int, j: int) -> NDArray[np.float64]:
        return np.asarray((self.values[i] + self.values[j]) / 2)

    def add(self, gap: Gap, name: int) -> None:
        """Add the middle of a gap as a point; if the gap is at an end of the front, close that end."""
        ends = {end for end in gap.between if end < 0}
        if ends:
            self.closed |= ends
            return
        i, j = (self.names.index(end) for end in gap.between)
        self.values = np.concatenate([self.values, [self._middle(i, j)]])
        self.balance = np.concatenate([self.balance, [self._balance(i, j)]])
        self.names.append(name)


def _shares(weighted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide each row by its sum; NaN where the sum is 0."""
    total = weighted.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(weighted, total, out=np.full_like(weighted, np.nan), where=total > 0))


def _rounded(k: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to four significant digits; the largest entry is adjusted so that the sum is 1."""
    short = np.array([float(f"{entry:.{_DIGITS}g}") for entry in k])
    largest = int(short.argmax())
    short[largest] = round(1 - float(np.delete(short, largest).sum()), 12)
    return short
