"""How close each trial came to the best value that its preference allows, where that value is known exactly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.table import ResultTable

EXACT = 1e-3
"""A trial whose relative gap to its optimum is at most this much is called exact."""
_ROUNDING = 1e-12
"""An optimum smaller than this is zero up to rounding and gives no unit; a gap smaller than this is shown as 0."""


def gaps(table: ResultTable) -> NDArray[np.float64]:
    """(scalarized - optimum) / |optimum| of every row, a fraction; the plain difference where the optimum is 0.

    Returns:
        Shape (n_points,), one a row of `table.frame`; NaN where a value is not known. Below 0 (beyond rounding) a trial
        beats its exact optimum, which cannot be: then the optimum or an objective is wrong.
    """
    frame = table.frame[["scalarized", "optimum"]]
    found, optimum = frame.to_numpy(dtype=np.float64, na_value=np.nan).T
    known = np.isfinite(found) & np.isfinite(optimum)
    scale = np.where(np.abs(optimum) > _ROUNDING, np.abs(optimum), 1.0)
    return np.asarray(np.divide(found - optimum, scale, out=np.full(len(frame), np.nan), where=known))


def gap_text(gap: float) -> str:
    """A gap for people: two digits, and 0 for what is rounding."""
    return f"{gap:.2g}" if abs(gap) > _ROUNDING else "0"


def exactness(table: ResultTable) -> dict[str, Any]:
    """How exact the finished trials of a sweep are, plain values ready for JSON.

    Returns:
        `n_optimum` (finished trials whose optimum is known), `n_exact` (of these, within `EXACT`), `median_gap`,
        `largest_gap` (the one farthest from 0) and `largest_gap_trial` with `largest_gap_k`; all but `n_optimum` are None
        when no optimum is known.
    """
    ok = table.ok
    gap = gaps(ok)
    known = np.flatnonzero(np.isfinite(gap))
    facts = dict.fromkeys(("n_exact", "median_gap", "largest_gap", "largest_gap_trial", "largest_gap_k"))
    if not len(known):
        return {"n_optimum": 0, **facts}
    sizes = np.abs(gap[known])
    worst = known[int(sizes.argmax())]
    row = ok.frame.iloc[worst]
    return {
        "n_optimum": len(known),
        "n_exact": int((sizes <= EXACT).sum()),
        "median_gap": float(np.median(gap[known])),
        "largest_gap": float(gap[worst]),
        "largest_gap_trial": str(row["trial_id"]),
        "largest_gap_k": [float(share) for share in row["k"]] if isinstance(row["k"], (list, np.ndarray)) else None,
    }
