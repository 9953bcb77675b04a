"""Which preference vector stands for a study: the best one on validation data, over all its seeds."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.method_trials import LineTrials, Preference


@dataclass(frozen=True)
class Chosen:
    """The preference that a line shows."""

    preference: Preference
    rows: tuple[int, ...]
    """Its rows of `table.ok.frame`, one a seed that finished."""
    n_incomplete: int
    """Preferences of the line that some seed has no result for."""


def chosen_preference(trials: LineTrials, quality: NDArray[np.float64]) -> Chosen:
    """The preference of the highest mean quality over seeds.

    Only preferences with a result for every seed of the study are compared: a mean over fewer seeds is another number.
    Where none is complete, those with the most seeds are compared, and `n_incomplete` tells.

    Args:
        trials: of one line.
        quality: what `choosing.quality` says of `table.ok.frame` on *validation* data, shape (n_rows,), higher is better.

    Returns:
        Of equal ones the first in the order of the plan.
    """
    rows = {
        preference: tuple(trials.rows[preference, seed] for seed in trials.seeds if (preference, seed) in trials.rows)
        for preference in trials.preferences
    }
    most = max(len(found) for found in rows.values())
    compared = [preference for preference, found in rows.items() if len(found) == most]
    best = max(compared, key=lambda preference: _mean(quality, rows[preference]))  # max keeps the first of equal ones
    return Chosen(best, rows[best], sum(len(found) < len(trials.seeds) for found in rows.values()))


def _mean(quality: NDArray[np.float64], rows: tuple[int, ...]) -> float:
    """Mean over seeds, the same in whatever order; what was not measured is never best."""
    values = [float(quality[row]) for row in rows]
    return math.fsum(values) / len(values) if values and all(map(math.isfinite, values)) else -math.inf
