"""Which trials' multiplier method came to rest: the KKT residual that each row holds, as a share of its value."""

import numpy as np
from numpy.typing import NDArray

from analysis.studies import WCAL, study_entries
from analysis.table import ResultTable

UNCONVERGED = 0.1
"""A trial whose KKT residual is above this share of its largest weighted objective is called unconverged."""
RULE = (
    f"A trial is unconverged when the residual of its optimality conditions, max |max(g - t, -multipliers / penalty)|, is above "
    f"{100 * UNCONVERGED:.0f} % of its largest weighted objective max g."
)
_WITH_MULTIPLIERS = "chebyshev_al"


def residual_share(table: ResultTable) -> NDArray[np.float64]:
    """KKT residual of each trial, divided by its largest weighted objective.

    Args:
        table: any table.

    Returns:
        Shape (n_trials,), rows of `table.frame`; NaN where it means nothing: a method without multipliers, a scalarization other
        than `chebyshev_al` (a weighted sum does not aim at these conditions), a trial without a value.
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
    """Mark the trials with a `residual_share` above `UNCONVERGED`, shape (n_trials,); where it is not known, none."""
    return np.asarray(residual_share(table) > UNCONVERGED)


def _aims_at_it(entry: "dict[str, object]") -> bool:
    training = entry.get("training")
    scalarization = training.get("scalarization") if isinstance(training, dict) else None
    return entry.get("method", WCAL) == WCAL and (scalarization or _WITH_MULTIPLIERS) == _WITH_MULTIPLIERS
