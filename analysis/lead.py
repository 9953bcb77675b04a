"""By how much one point is better than another, in its own unit for each objective, and the largest such lead over a point."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 128  # leads of one block over another stay in a core's cache


def lead(worse: NDArray[np.float64], better: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """(worse - better) / unit; without a unit any lead is enough for every eps, and any lag too much."""
    with np.errstate(over="ignore"):
        difference = worse - better
        if unit == 0:
            return np.where(difference >= 0, np.inf, -np.inf)
        return np.asarray(difference / unit)


def largest_lead(points: NDArray[np.float64], front: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """max over front rows j of min over objectives m of (points_im - front_jm) / unit_m, shape (n_points,).

    Only the exact front needs to be asked: subtraction and division round monotonically, so whoever beats a point by
    eps is itself beaten, or equalled, by a front point that leads by as much.
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
                break  # no point of that block, nor of those after it, leads by more
            np.maximum(best, _least_lead(chunk, blocks[number], unit).max(axis=1), out=best)
        leads[rows] = best
    return leads


def _least_lead(worse: NDArray[np.float64], better: NDArray[np.float64], unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """min over objectives of the lead of each `better` row over each `worse` row, shape (n_worse, n_better)."""
    least = np.full((len(worse), len(better)), np.inf)
    for m in range(len(unit)):
        np.minimum(least, lead(worse[:, None, m], better[None, :, m], unit[m]), out=least)
    return least


def _blocks(points: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Rows of neighbours, at most `_BLOCK` a block: halved along the objective that spans most of its range, as long as there are more."""
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
    """The same for two objectives in O(n log n).

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
