"""The data that a report embeds for its scripts: selected trials, their columns, and their training curves."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.convergence import gaps
from analysis.results.columns import accuracy_column, loss_column
from analysis.results.json_text import json_value
from analysis.results.parquet import MAPPINGS
from analysis.results.table import ResultTable

MAX_VALUES = 24_000
"""Limit of trials times objectives: 8,000 trials with three objectives, at about 1 kB each. A larger file is slow to send and to open; the
size of a trial grows with the number of objectives."""
MAX_FRONT_POINTS = 1_500
"""Largest number of embedded points of the exact front."""
_NOT_EMBEDDED = ("versions", "pack_id")


@dataclass(frozen=True)
class Embedded:
    """The trials that a report embeds: finished ones first, in the table's order, then the others."""

    points: ResultTable
    """The finished trials; row i of its frame is row i of the report."""
    labels: pd.DataFrame
    """What `label_points` returned for them, in the same order."""
    others: pd.DataFrame
    """The trials without a usable result: diverged, failed, not finite."""
    note: str
    """A sentence that says what was left out; empty if nothing was."""


def choose_rows(table: ResultTable, labels: pd.DataFrame, max_rows: int | None = None, seed: int = 0) -> Embedded:
    """Choose the trials to embed: all of them, or the front, those nearest to it, a sample of the rest and some failures.

    A tenth of the places for finished trials always goes to a random sample of the rest, and at least half are filled by distance from the
    front. Trials at the same distance are sampled too, and so is a front that does not fit.

    Args:
        table: what `read_results` gave.
        labels: what `label_points` returned for it.
        max_rows: the largest number of trials to embed; default: as many as fit into `MAX_VALUES` values.
        seed: seed of the samples, so that a report is reproducible.
    """
    max_rows = MAX_VALUES // max(3, len(table.objectives)) if max_rows is None else max_rows
    frame = table.frame
    others = frame[~table.is_ok]
    if len(frame) <= max_rows:
        return Embedded(table.ok, labels, others, "")
    shown_others = others.head(max_rows // 10)
    room = min(max_rows - len(shown_others), len(labels))
    kept = labels["kept"].to_numpy(dtype=bool)
    rng = np.random.default_rng(seed)
    by_slack = np.lexsort((rng.permutation(len(labels)), labels["slack"].to_numpy()))
    n_near = min(max(room // 2, int(kept.sum())), room - room // 10)
    near, sample = by_slack[:n_near], rng.permutation(by_slack[n_near:])[: room - n_near]
    rows = np.sort(np.concatenate([near, sample]))
    points = replace(table, frame=table.ok.frame.iloc[rows].reset_index(drop=True))
    n_front, n_embedded = int(kept.sum()), int(kept[near].sum())
    front = f"all {n_front:,}" if n_embedded == n_front else f"{n_embedded:,} of the {n_front:,}"
    note = (
        f"{len(rows) + len(shown_others):,} of {len(frame):,} trials are embedded in this page: {front} on the front, "
        f"{n_near - n_embedded:,} nearest to it, a sample of {len(sample):,} of the {len(labels) - n_near:,} other finished ones "
        f"(seed {seed}) and {len(shown_others):,} of {len(others):,} without a result. The figures, the table of trials and its CSV "
        "contain no others; counts, the summary, methods, health and the hypervolume cover all trials."
    )
    return Embedded(points, labels.iloc[rows].reset_index(drop=True), shown_others, note)


def to_columns(embedded: Embedded) -> dict[str, Any]:
    """Convert the embedded trials to columns for JSON: `{"all": value}` if all rows agree, otherwise a list; empty columns are left out.

    The columns are those of the store, those of `label_points`, and `gap` (from `gaps`) where an optimum is known.
    """
    labels = embedded.labels[["group", "slack", "cluster"]].assign(gap=gaps(embedded.points))
    points = pd.concat([embedded.points.frame.reset_index(drop=True), labels], axis=1)
    others = embedded.others.drop(columns=[name for name in labels if name in embedded.others])
    frames = [frame for frame in (points, others) if len(frame)]
    columns: dict[str, Any] = {}
    for name in points.columns:
        if name in _NOT_EMBEDDED:
            continue
        cells = [cell for frame in frames for cell in (_cells(frame[name]) if name in frame else [None] * len(frame))]
        if name in MAPPINGS:
            cells = [None if cell is None else json.loads(cell) for cell in cells]
        present = [cell for cell in cells if cell is not None]
        if present:
            columns[name] = {"all": cells[0]} if all(cell == cells[0] for cell in cells) else cells
    return columns


def exact_front_columns(table: ResultTable) -> dict[str, list[float]]:
    """Convert the exact front to columns of the objectives, thinned evenly to `MAX_FRONT_POINTS`; empty if it is not known."""
    front = table.true_front
    if front is None:
        return {}
    rows = np.unique(np.linspace(0, len(front) - 1, min(len(front), MAX_FRONT_POINTS)).round().astype(np.int64))
    return {o["column"]: front[rows, i].tolist() for i, o in enumerate(table.objectives)}


def _cells(column: "pd.Series[Any]") -> list[Any]:
    """Convert a column for JSON; columns of numbers are converted at once."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        values = column.to_numpy()
        return [cell if known else None for cell, known in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)]
    return [json_value(cell) for cell in column.to_list()]


MAX_CURVE_VALUES = 250_000
"""Largest number of values of all curves together, about 7 bytes each in the page."""
MAX_EPOCHS = 60
"""Largest number of embedded epochs of one trial; longer curves are thinned evenly."""
SPARSITY = -1
"""`task` of a line that belongs to sparsity."""
_DIGITS = 4


@dataclass(frozen=True)
class _Line:
    """One curve of a panel."""

    panel: str
    name: str
    task: int
    """Index of the task, which determines the colour; `SPARSITY` for a line that belongs to sparsity."""
    is_dashed: bool
    of: Callable[[pd.DataFrame], NDArray[np.float64]]
    """Computes the values of some epochs, shape (n_epochs,)."""


def embedded_curves(table: ResultTable, embedded: Embedded) -> dict[str, Any]:
    """Convert curves for JSON, as many as fit: failed trials come first, then the others by distance from the front.

    Args:
        table: what `read_results` gave; its epochs are read from the folder.
        embedded: the report's trials.

    Returns:
        An empty dict if there are no curves. Otherwise `lines`, with `panel`, `name`, `task` and `dashed` of each line in the order of the
        panels, and `trials`, which maps a row of the report to `epochs`, `retrain` (the first epoch after sparsifying; None if there is
        none) and `values`: one list for each line, rounded to 4 digits, with None where a value is not known or not finite.
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
    """Return (trial, its row in the report) for the trials whose curves fit, given `n_values` values per epoch."""
    ordered = _by_interest(embedded)
    known = pd.concat([embedded.points.frame["n_epochs"], embedded.others["n_epochs"]]).to_numpy(dtype=np.float64, na_value=np.nan)
    n_epochs = np.fmin(known, MAX_EPOCHS)[[row for _, row in ordered]]
    room = MAX_CURVE_VALUES / n_values
    return ordered[: int(np.searchsorted(np.cumsum(np.where(n_epochs > 0, n_epochs, MAX_EPOCHS)), room, side="right"))]


def _by_interest(embedded: Embedded) -> list[tuple[str, int]]:
    """Return (trial, its row in the report) for all trials: failed ones first, then by distance from the front."""
    points = embedded.points.frame["trial_id"].to_list()
    failed = [(str(name), len(points) + i) for i, name in enumerate(embedded.others["trial_id"])]
    order = np.argsort(embedded.labels["slack"].to_numpy(dtype=np.float64), kind="stable").tolist()
    return [*failed, *((str(points[i]), i) for i in order)]


def _lines(table: ResultTable) -> list[_Line]:
    lines = []
    for task, name in enumerate(table.tasks):
        lines += [
            _Line("Loss", f"{name}, {split}", task, split == "train", _column(loss_column(split, name)))
            for split in ("validation", "train")
        ]
    for task, name in enumerate(table.tasks):
        lines.append(_Line("Validation accuracy", name, task, False, _column(accuracy_column("validation", name))))
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
    """Return a function that reads the multiplier of a task or of sparsity, which comes first if an epoch has it."""

    def of_epoch(cell: Any) -> float:
        n_found = len(cell) if isinstance(cell, (list, tuple, np.ndarray)) else 0
        place = task + n_found - n_tasks
        value = cell[place] if n_found in (n_tasks, n_tasks + 1) and place >= 0 else None
        return float(value) if isinstance(value, (int, float, np.number)) else np.nan

    def values(epochs: pd.DataFrame) -> NDArray[np.float64]:
        return np.array([of_epoch(cell) for cell in epochs["multipliers"]]) if "multipliers" in epochs else np.full(len(epochs), np.nan)

    return values


def _trial(epochs: pd.DataFrame, lines: list[NDArray[np.float64]]) -> dict[str, Any]:
    """Convert one trial's curves, with its epochs in order."""
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
