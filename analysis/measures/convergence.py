"""How far each trial is from converged: its KKT residual, and its gap to the exact optimum where one is known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.measures.studies import WCAL, study_entries
from analysis.results.table import ResultTable

UNCONVERGED = 0.1
"""A trial counts as unconverged if its KKT residual exceeds this fraction of its largest weighted objective."""
RULE = (
    f"A trial is unconverged when the residual of its optimality conditions, max |max(g - t, -multipliers / penalty)|, is above "
    f"{100 * UNCONVERGED:.0f} % of its largest weighted objective max g."
)
_WITH_MULTIPLIERS = "chebyshev_al"


def residual_share(table: ResultTable) -> NDArray[np.float64]:
    """Compute the KKT residual of each trial as a share of its largest weighted objective.

    Args:
        table: any table.

    Returns:
        Shape (n_trials,), one entry for each row of `table.frame`. NaN where the residual has no meaning: for a method without
        multipliers, for a scalarization other than `chebyshev_al` (a weighted sum does not aim at these conditions), and for a trial
        without a value.
    """
    frame = table.frame
    share = np.full(len(frame), np.nan)
    if not {"residual", "scalarized"} <= set(frame.columns):
        return share
    residual, value = (frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("residual", "scalarized"))
    aims = {name for name, entry in study_entries(table).items() if _aims_at_it(entry)}
    is_meant = np.asarray([(study if isinstance(study, str) else "") in aims for study in frame["study"].to_list()], dtype=bool)
    known = is_meant & np.isfinite(residual) & np.isfinite(value) & (value > 0)
    share[known] = residual[known] / value[known]
    return share


def is_unconverged(table: ResultTable) -> NDArray[np.bool_]:
    """Mark the trials whose `residual_share` is known and above `UNCONVERGED`, shape (n_trials,)."""
    return np.asarray(residual_share(table) > UNCONVERGED)


def _aims_at_it(entry: "dict[str, object]") -> bool:
    training = entry.get("training")
    scalarization = training.get("scalarization") if isinstance(training, dict) else None
    return entry.get("method", WCAL) == WCAL and (scalarization or _WITH_MULTIPLIERS) == _WITH_MULTIPLIERS


EXACT = 1e-3
"""A trial counts as exact if its relative gap to the optimum is at most this."""
_ROUNDING = 1e-12
"""An optimum smaller than this is zero up to rounding and cannot serve as a unit; a smaller gap is shown as 0."""


def gaps(table: ResultTable) -> NDArray[np.float64]:
    """Compute (scalarized - optimum) / |optimum| for each row, a fraction; where the optimum is 0, the plain difference.

    Returns:
        Shape (n_points,), one entry for each row of `table.frame`; NaN where a value is not known. A gap below 0 (beyond rounding) means
        that the optimum or an objective is wrong.
    """
    frame = table.frame[["scalarized", "optimum"]]
    value, optimum = frame.to_numpy(dtype=np.float64, na_value=np.nan).T
    known = np.isfinite(value) & np.isfinite(optimum)
    scale = np.where(np.abs(optimum) > _ROUNDING, np.abs(optimum), 1.0)
    return np.asarray(np.divide(value - optimum, scale, out=np.full(len(frame), np.nan), where=known))


def gap_text(gap: float) -> str:
    """Write a gap with two digits, or 0 if it is within rounding."""
    return f"{gap:.2g}" if abs(gap) > _ROUNDING else "0"


def exactness(table: ResultTable) -> dict[str, Any]:
    """Summarise how close the finished trials are to their exact optima, in plain values that JSON can hold.

    Returns:
        `n_optimum` (number of finished trials whose optimum is known), `n_exact` (how many of these are within `EXACT`), `median_gap`,
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
