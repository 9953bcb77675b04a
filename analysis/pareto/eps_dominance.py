"""Additive epsilon-dominance among many points: by how much each point is dominated, and which points are dominated."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 128  # block size at which the leads of one block over another stay in a core's cache


def lead(worse: NDArray[np.float64], better: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """Compute (worse - better) / unit; where the unit is 0, any lead counts as infinite and any lag as minus infinity.

    Args:
        worse: values of one objective, of any shape that broadcasts with `better`.
        better: values of the same objective.
        unit: >= 0; what a lead of 1 means in this objective.
    """
    with np.errstate(over="ignore"):
        difference = worse - better
        if unit == 0:
            return np.where(difference >= 0, np.inf, -np.inf)
        return np.asarray(difference / unit)


def largest_lead(points: NDArray[np.float64], front: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute max over front rows j of min over objectives m of (points_im - front_jm) / unit_m, shape (n_points,).

    It suffices to compare with the exact front: subtraction and division round monotonically, so any row that leads a point by eps is
    dominated or equalled by a front row that leads by at least as much.

    Args:
        points: shape (n_points, n_objectives), finite, minimised.
        front: shape (n_front, n_objectives), finite; the exact front of the set.
        unit: shape (n_objectives,), >= 0; what a lead of 1 means in each objective.
    """
    front = np.unique(front, axis=0)
    if not len(points):
        return np.zeros(0)
    if points.shape[1] == 2:
        return _largest_lead_2d(points, front, unit)
    leads = np.full(len(points), -np.inf)
    blocks = [front[rows] for rows in _blocks(front)]
    corners = np.array([block.min(axis=0) for block in blocks])
    for rows in _blocks(points):
        chunk = points[rows]
        best = np.full(len(rows), -np.inf)
        bounds = _least_lead(chunk.max(axis=0)[None, :], corners, unit)[0]
        for number in np.argsort(-bounds, kind="stable"):
            if bounds[number] <= best.min():
                break  # no point of this block or a later one leads by more
            np.maximum(best, _least_lead(chunk, blocks[number], unit).max(axis=1), out=best)
        leads[rows] = best
    return leads


def _least_lead(worse: NDArray[np.float64], better: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the minimum over objectives of the lead of each `better` row over each `worse` row, shape (n_worse, n_better)."""
    least = np.full((len(worse), len(better)), np.inf)
    for m in range(len(unit)):
        np.minimum(least, lead(worse[:, None, m], better[None, :, m], unit[m]), out=least)
    return least


def _blocks(points: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Split rows into blocks of at most `_BLOCK` nearby points, by halving along the objective that spans most of its range."""
    blocks, waiting = [], [np.arange(len(points))]
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.maximum(np.ptp(points, axis=0), np.finfo(np.float64).tiny)
        while waiting:
            rows = waiting.pop()
            if len(rows) <= _BLOCK:
                blocks.append(rows)
                continue
            widest = int(np.argmax(np.ptp(points[rows], axis=0) / scale))
            half = len(rows) // 2
            order = rows[np.argpartition(points[rows, widest], half)]
            waiting += [order[:half], order[half:]]
    return blocks


def _largest_lead_2d(points: NDArray[np.float64], front: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute `largest_lead` for two objectives in O(n log n).

    Along the front, sorted by the first objective, the lead in the first falls and the lead in the second rises, so the
    largest minimum of the two lies at their crossing, which bisection finds.
    """
    low, high = np.zeros(len(points), dtype=np.int64), np.full(len(points), len(front))
    while (low < high).any():
        middle = np.minimum((low + high) // 2, len(front) - 1)
        falls = lead(points[:, 0], front[middle, 0], unit[0])
        rises = lead(points[:, 1], front[middle, 1], unit[1])
        before = (falls > rises) & (low < high)
        low, high = np.where(before, middle + 1, low), np.where(before, high, np.minimum(middle, high))
    leads = np.full(len(points), -np.inf)
    for j in (np.maximum(low - 1, 0), np.minimum(low, len(front) - 1)):
        smaller = np.minimum(lead(points[:, 0], front[j, 0], unit[0]), lead(points[:, 1], front[j, 1], unit[1]))
        leads = np.maximum(leads, smaller)
    return leads


_CHUNK_CELLS = 1_000_000


def beaten(points: NDArray[np.float64], front: NDArray[np.float64], unit: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Mark the points that some front row leads by `least` or more in every objective.

    Args:
        points: shape (n_points, n_objectives), finite, minimised.
        front: shape (n_front, n_objectives), finite, at least one row.
        unit: shape (n_objectives,), >= 0: what a lead of 1 means in each objective; with unit 0, any lead is infinite.
        least: the lead, > 0.

    Returns:
        Shape (n_points,): whether some row j has `lead(F_im, front_jm, unit_m)` >= least for every m.
    """
    ranks = np.empty(front.shape, dtype=np.int64)
    counts = np.empty(points.shape, dtype=np.int64)
    for m in range(points.shape[1]):
        values, ranks[:, m] = np.unique(front[:, m], return_inverse=True)
        counts[:, m] = _n_leading(points[:, m], values, unit[m], least)
    return _some_below(counts, ranks)


def _n_leading(points: NDArray[np.float64], values: NDArray[np.float64], unit: float, least: float) -> NDArray[np.int64]:
    """Count how many of the sorted `values` lead each point by `least`; these are the first ones.

    Where rounding makes the first guess wrong, bisection finds the count.
    """

    def leads(rows: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.bool_]:
        return lead(points[rows], values[np.clip(place, 0, n - 1)], unit) >= least

    n, rows = len(values), np.arange(len(points))
    guess = _places(values, points - least * unit)
    low = np.where((guess > 0) & leads(rows, guess - 1), guess, 0)
    high = np.where((guess < n) & leads(rows, guess), n, guess)
    while len(rows := np.flatnonzero(low < high)):
        middle = (low[rows] + high[rows]) >> 1
        enough = leads(rows, middle)
        low[rows], high[rows] = np.where(enough, middle + 1, low[rows]), np.where(enough, high[rows], middle)
    return low


def _places(values: NDArray[Any], asked: NDArray[Any]) -> NDArray[np.int64]:
    """Count how many of the sorted `values` are at most each number in `asked`; looking the numbers up in order is several times faster."""
    order = np.argsort(asked)
    places = np.empty(len(asked), dtype=np.int64)
    places[order] = np.searchsorted(values, asked[order], side="right")
    return places


def _some_below(counts: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each row of `counts`, find out whether some row of `ranks` is below it in every column."""
    n_objectives = counts.shape[1]
    result = np.zeros(len(counts), dtype=bool)
    rows = np.flatnonzero((counts > 0).all(axis=1))
    if n_objectives == 1:
        result[rows] = True
    elif n_objectives == 2:
        result[rows] = _some_below_3(np.pad(counts[rows], ((0, 0), (0, 1)), constant_values=1), np.pad(ranks, ((0, 0), (0, 1))))
    else:
        rows = rows[_some_below_3(counts[rows, :3], ranks[:, :3])]  # a necessary condition, and sufficient for three objectives
        result[rows] = True if n_objectives == 3 else _some_below_pairwise(counts[rows], ranks)
    return result


def _some_below_3(counts: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Solve `_some_below` for three columns.

    The rows that are below in the first column form a prefix, which consists of a few blocks of 1, 2, 4, ... rows.

    Inside a block that is sorted by the second column, the rows that are below in the second column form a prefix too. The smallest value
    of that prefix in the third column shows whether one of its rows is also below there.
    """
    ranks = ranks[np.argsort(ranks[:, 0], kind="stable")]
    n, beyond = len(ranks), int(ranks.max()) + 1
    prefix = _places(ranks[:, 0], counts[:, 0] - 1)
    result = np.zeros(len(counts), dtype=bool)
    undecided = np.arange(len(counts))
    order = np.argsort(ranks[:, 1], kind="stable")
    for level in reversed(range(n.bit_length())):  # large blocks settle most rows
        order = order[np.argsort(order >> level, kind="stable")]  # each block keeps its place; its rows are sorted among themselves
        keys = (order >> level) * (beyond + 1) + ranks[order, 1]
        least = np.full(-(-n >> level) << level, beyond)
        least[:n] = ranks[order, 2]
        least = np.minimum.accumulate(least.reshape(-1, 1 << level), axis=1).ravel()
        asked = undecided[(prefix[undecided] >> level) & 1 == 1]
        of_block = (prefix[asked] >> level) - 1
        stop = _places(keys, of_block * (beyond + 1) + counts[asked, 1] - 1)
        is_below = (stop > of_block << level) & (least[np.maximum(stop - 1, 0)] < counts[asked, 2])
        result[asked[is_below]] = True
        undecided = undecided[~result[undecided]]
    return result


def _some_below_pairwise(counts: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Solve `_some_below` for any number of columns by comparing all pairs."""
    result = np.zeros(len(counts), dtype=bool)
    step = max(1, _CHUNK_CELLS // len(ranks))
    for start in range(0, len(counts), step):
        chunk = counts[start : start + step]
        below = np.ones((len(chunk), len(ranks)), dtype=bool)
        for m in range(counts.shape[1]):
            below &= ranks[None, :, m] < chunk[:, None, m]
        result[start : start + step] = below.any(axis=1)
    return result
