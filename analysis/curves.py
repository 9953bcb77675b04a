"""What a report embeds of the trials' epochs: a few curves each, thinned, of the trials that people look at first."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.report_data import Embedded
from analysis.table import ResultTable

MAX_CURVE_VALUES = 250_000
"""Numbers of all curves together, about 7 bytes each in the page."""
MAX_EPOCHS = 60
"""Epochs of one trial that are embedded; longer curves are thinned evenly."""
SPARSITY = -1
"""`task` of a line that belongs to sparsity."""
_DIGITS = 4


@dataclass(frozen=True)
class _Line:
    """One curve of a panel."""

    panel: str
    name: str
    task: int
    """Its index, which gives the colour; `SPARSITY` for sparsity's own."""
    is_dashed: bool
    of: Callable[[pd.DataFrame], NDArray[np.float64]]
    """Values of some epochs, shape (n_epochs,)."""


def embedded_curves(table: ResultTable, embedded: Embedded) -> dict[str, Any]:
    """The curves for JSON: of the trials without a result and of the front first, then by distance from the front.

    Args:
        table: what `read_results` gave; its epochs are read from the folder.
        embedded: the report's trials.

    Returns:
        Empty when there are none. Else `lines`: `panel`, `name`, `task` and `dashed` of each, in the order of panels; and `trials`:
        row of the report -> `epochs`, `retrain` (the first epoch after sparsifying, None where there is none) and `values`, a list a line
        of 4 digits, None where a value is not known or not finite.
    """
    lines = _lines(table)
    row_of = dict(_chosen(embedded, len(lines) + 1))
    epochs = table.read_epochs(row_of)
    if epochs.empty:
        return {}
    known = [(line, values) for line in lines if np.isfinite(values := line.of(epochs)).any()]
    shown = [{"panel": line.panel, "name": line.name, "task": line.task, "dashed": line.is_dashed} for line, _ in known]
    places = epochs.groupby("trial_id", sort=False).indices
    trials = {row_of[str(name)]: _trial(epochs.iloc[own], [values[own] for _, values in known]) for name, own in places.items()}
    return {"lines": shown, "trials": trials} if shown else {}


def _chosen(embedded: Embedded, n_values: int) -> list[tuple[str, int]]:
    """(trial, its row in the report) of those whose curves there is room for, an epoch taking `n_values`."""
    ordered = _by_interest(embedded)
    known = pd.concat([embedded.points.frame["n_epochs"], embedded.others["n_epochs"]]).to_numpy(dtype=np.float64, na_value=np.nan)
    n_epochs = np.fmin(known, MAX_EPOCHS)[[row for _, row in ordered]]
    room = MAX_CURVE_VALUES / n_values
    return ordered[: int(np.searchsorted(np.cumsum(np.where(n_epochs > 0, n_epochs, MAX_EPOCHS)), room, side="right"))]


def _by_interest(embedded: Embedded) -> list[tuple[str, int]]:
    """(trial, its row in the report), those that need explaining or deciding first."""
    points = embedded.points.frame["trial_id"].to_list()
    failed = [(str(name), len(points) + i) for i, name in enumerate(embedded.others["trial_id"])]
    order = np.argsort(embedded.labels["slack"].to_numpy(dtype=np.float64), kind="stable").tolist()
    return [*failed, *((str(points[i]), i) for i in order)]


def _lines(table: ResultTable) -> list[_Line]:
    lines = []
    for task, name in enumerate(table.tasks):
        lines += [
            _Line("Loss", f"{name}, {split}", task, split == "train", _column(f"loss.{split}.{name}")) for split in ("validation", "train")
        ]
    for task, name in enumerate(table.tasks):
        lines.append(_Line("Validation accuracy", name, task, False, _column(f"accuracy.validation.{name}")))
    if table.sparsity_objective is not None:
        lines.append(_Line("Sparsity rate", "SR", SPARSITY, False, _column("sparsity_rate")))
        lines.append(_Line("Multipliers", "sparsity", SPARSITY, False, _multiplier(SPARSITY, len(table.tasks))))
    for task, name in enumerate(table.tasks):
        lines.append(_Line("Multipliers", name, task, False, _multiplier(task, len(table.tasks))))
    return lines


def _column(name: str) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    def values(epochs: pd.DataFrame) -> NDArray[np.float64]:
        return epochs[name].to_numpy(dtype=np.float64, na_value=np.nan) if name in epochs else np.full(len(epochs), np.nan)

    return values


def _multiplier(task: int, n_tasks: int) -> Callable[[pd.DataFrame], NDArray[np.float64]]:
    """Of a task or of sparsity; an epoch has those of the tasks alone, or sparsity's before them."""

    def of_epoch(cell: Any) -> float:
        n_found = len(cell) if isinstance(cell, (list, tuple, np.ndarray)) else 0
        place = task + n_found - n_tasks
        value = cell[place] if n_found in (n_tasks, n_tasks + 1) and place >= 0 else None
        return float(value) if isinstance(value, (int, float, np.number)) else np.nan

    def values(epochs: pd.DataFrame) -> NDArray[np.float64]:
        return np.array([of_epoch(cell) for cell in epochs["multipliers"]]) if "multipliers" in epochs else np.full(len(epochs), np.nan)

    return values


def _trial(epochs: pd.DataFrame, lines: list[NDArray[np.float64]]) -> dict[str, Any]:
    """One trial's curves, its epochs in order."""
    places = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_EPOCHS)).round().astype(np.int64))
    phases = epochs["phase"].to_list() if "phase" in epochs else []
    numbers = epochs["epoch"].to_list()
    after = next((int(numbers[i]) for i in range(1, len(phases)) if phases[i] == "retrain" and phases[i - 1] != "retrain"), None)
    return {
        "epochs": [int(numbers[i]) for i in places],
        "retrain": after,
        "values": [[_rounded(value) for value in values[places].tolist()] for values in lines],
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
