"""Training noise: how much losses differ between two trainings with the same preference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results.columns import share_columns
from analysis.results.table import ResultTable

MIN_DIFFERENCES = 3
"""Smallest number of differences between trials that suffices for an estimate."""
_DECIMALS = 9
_NORMAL_QUARTILE = 0.6744897501960817
"""The median of |z| of a standard normal z."""


@dataclass(frozen=True)
class Noise:
    """The standard deviation of each loss that is due only to training noise."""

    deviations: NDArray[np.float64]
    """Shape (n_tasks,), in units of each loss; NaN where it is not known."""
    source: str
    """How the noise was estimated: `seeds`, `neighbours`, or empty if it is not known."""


def training_noise(table: ResultTable, rows: NDArray[np.int64], clusters: NDArray[np.int64]) -> Noise:
    """Estimate the noise of the task objectives among some trials of one study.

    With several seeds, it is the pooled standard deviation of trials with the same preference vector. With one seed, each trial of
    a sparsity cluster is compared with the straight line between its two neighbours in the task's share of the tasks' preferences,
    so that the slope of a front does not count as noise. Each distance is divided by the standard deviation that it would have under
    independent unit noise; the estimate is the median of these ratios / 0.674.

    Args:
        table: a table of finished trials only.
        rows: positions of the trials in its frame, shape (n_rows,).
        clusters: the sparsity cluster of each of these rows, shape (n_rows,).

    Source: Gasser, Sroka and Jennen-Steinmetz, Biometrika 73(3), 1986, with the median in place of the mean.
    """
    columns = [o["column"] for o in table.task_objectives]
    values, frame = table.values(columns)[rows], table.frame.iloc[rows]
    k = frame[share_columns(len(table.tasks))].to_numpy(dtype=np.float64, na_value=np.nan)
    if (of_seeds := _between_seeds(values, k)) is not None:
        return Noise(of_seeds, "seeds")
    shares = k[:, 1:] / k[:, 1:].sum(axis=1, keepdims=True)
    places = [table.tasks.index(o["name"]) if o["name"] in table.tasks else i for i, o in enumerate(table.task_objectives)]
    deviations = np.array([_between_neighbours(values[:, i], shares[:, t], clusters) for i, t in enumerate(places)])
    return Noise(deviations, "neighbours" if np.isfinite(deviations).any() else "")


def _between_seeds(values: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Pooled deviations, shape (n_tasks,); None if too few preference vectors were trained more than once."""
    groups = pd.DataFrame(values).groupby([*np.round(k, _DECIMALS).T], dropna=False)
    n_free = len(values) - groups.ngroups
    if n_free < MIN_DIFFERENCES:
        return None
    rest = values - groups.transform("mean").to_numpy(dtype=np.float64)
    return np.asarray(np.sqrt((rest**2).sum(axis=0) / n_free))


def _between_neighbours(values: NDArray[np.float64], share: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    distances: list[float] = []
    for cluster in np.unique(clusters):
        members = np.flatnonzero((clusters == cluster) & np.isfinite(share))
        order = members[np.argsort(share[members], kind="stable")]
        x, y = share[order], values[order]
        span = x[2:] - x[:-2]
        weight = np.where(span > 0, (x[2:] - x[1:-1]) / np.where(span > 0, span, 1), 0.5)
        residual = weight * y[:-2] + (1 - weight) * y[2:] - y[1:-1]
        distances += (np.abs(residual) / np.sqrt(weight**2 + (1 - weight) ** 2 + 1)).tolist()
    return float(np.median(distances) / _NORMAL_QUARTILE) if len(distances) >= MIN_DIFFERENCES else float("nan")


def sources_text(sources: Sequence[str]) -> str:
    """Say how the noise of some studies was estimated."""
    texts = {
        "seeds": "the pooled standard deviation of trials with the same k and different seeds",
        "neighbours": "estimated from the distances between trials and their neighbours in k, because there is only one seed",
    }
    return "; or ".join(texts[source] for source in dict.fromkeys(sources) if source in texts)
