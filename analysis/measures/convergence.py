"""How far each trial is from converged: its residuals, a search from its final point, and its gap to the exact optimum where known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.measures.studies import WCAL, study_entries
from analysis.results.table import ResultTable

UNCONVERGED = 0.1
"""A trial counts as unconverged if a residual exceeds this fraction of the largest weighted objective among the same objectives."""
IMPROVABLE = 0.003
"""Where a search from the final point is possible, a trial counts as unconverged if the search lowers max g by more than this fraction."""
RULE = (
    f"A trial is unconverged when a residual is above {100 * UNCONVERGED:.0f} % of the largest weighted objective max g among the same "
    "objectives: max |max(g - t, -multipliers / penalty)| over the objectives of the last phase, or max g - sum of multipliers * g over "
    "all objectives of the problem as stated. On analytic problems a search from the final point decides instead: the trial is unconverged "
    f"when the search lowers max g by more than {100 * IMPROVABLE:.1f} %. Without it, an unmarked trial need not be optimal."
)
_WITH_MULTIPLIERS = "chebyshev_al"


def residual_share(table: ResultTable) -> NDArray[np.float64]:
    """Compute the larger of each trial's two residuals, as a share of the largest weighted objective among the same objectives.

    The residual of the last phase is divided by the largest objective of that phase, and the residual over all objectives by the largest
    of all (docs/store.md).

    Args:
        table: any table.

    Returns:
        Shape (n_trials,), one entry for each row of `table.frame`. NaN where the residual has no meaning: for a method without
        multipliers, for a scalarization other than `chebyshev_al` (a weighted sum does not aim at these conditions), for a trial
        without a value, and for a row of an earlier version that does not say what the largest objective was.
    """
    of_phase, of_all = (_share(table, *names) for names in (("residual", "largest"), ("residual_stated", "largest_stated")))
    return np.asarray(np.where(_is_meant(table), np.fmax(of_phase, of_all), np.nan))


def improvements(table: ResultTable) -> NDArray[np.float64]:
    """Return by how much a search from each trial's final point lowered max g, a fraction, shape (n_trials,).

    NaN where there was no search (the losses depend on data, or the row is of an earlier version), and for methods and scalarizations that
    do not aim at the least max g.
    """
    return np.asarray(np.where(_is_meant(table), _column(table, "improvement"), np.nan))


def _column(table: ResultTable, name: str) -> NDArray[np.float64]:
    if name not in table.frame.columns:
        return np.full(len(table.frame), np.nan)
    return np.asarray(table.frame[name].to_numpy(dtype=np.float64, na_value=np.nan))


def _share(table: ResultTable, residual: str, largest: str) -> NDArray[np.float64]:
    value, unit = _column(table, residual), _column(table, largest)
    known = np.isfinite(value) & np.isfinite(unit) & (unit > 0)
    return np.asarray(np.divide(value, unit, out=np.full(len(value), np.nan), where=known))


def _is_meant(table: ResultTable) -> NDArray[np.bool_]:
    aims = {name for name, entry in study_entries(table).items() if _aims_at_it(entry)}
    return np.asarray([(study if isinstance(study, str) else "") in aims for study in table.frame["study"].to_list()], dtype=bool)


def is_unconverged(table: ResultTable) -> NDArray[np.bool_]:
    """Mark the trials that do not solve the problem as stated, as far as their rows show it, shape (n_trials,).

    Where a search from the final point is known, it decides: `improvements` above `IMPROVABLE`. Otherwise a trial is marked if its
    `residual_share` is known and above `UNCONVERGED`; a trial that is not marked is balanced, which does not show that it is optimal.
    """
    searched = improvements(table)
    return np.asarray(np.where(np.isfinite(searched), searched > IMPROVABLE, residual_share(table) > UNCONVERGED))


def unconverged_texts(table: ResultTable) -> list[str]:
    """Say of each trial that `is_unconverged` marks why, and return an empty text for the others, shape (n_trials,)."""
    searched, share = improvements(table), residual_share(table)
    return [
        ""
        if not marked
        else f"a search lowers max g by {100 * found:.2g} %"
        if found == found
        else f"residual {100 * of_it:.0f} % of max g"
        for marked, found, of_it in zip(is_unconverged(table), searched, share, strict=True)
    ]


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
