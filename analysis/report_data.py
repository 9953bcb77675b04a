"""What a report embeds: which trials, their columns as JSON, and JSON that is safe inside a script element."""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.column_types import MAPPINGS
from analysis.exactness import gaps
from analysis.table import ResultTable

MAX_VALUES = 24_000
"""Trials times objectives that a report embeds: 8,000 trials of three objectives, about 1 kB each. More make a file that is slow to
send and to open; what a trial takes grows with the objectives."""
MAX_FRONT_POINTS = 1_500
"""Points of the exact front that a report embeds."""
_NOT_EMBEDDED = ("versions", "pack_id")


@dataclass(frozen=True)
class Embedded:
    """The trials of a report: finished ones first, in the table's order, then the others."""

    points: ResultTable
    """The finished trials that are embedded; row i of its frame is row i of the report."""
    labels: pd.DataFrame
    """What `label_points` said of them, in the same order."""
    others: pd.DataFrame
    """Embedded trials without a usable result: diverged, failed, not finite."""
    note: str
    """What was left out, for people; empty when nothing was."""


def choose_rows(table: ResultTable, labels: pd.DataFrame, max_rows: int | None = None, seed: int = 0) -> Embedded:
    """Choose the trials to embed: all of them, or the front, those nearest to it, a sample of the rest and some failures.

    Of the places for finished trials a tenth is always a sample of all that are left; at least half goes by distance from
    the front. Of trials at the same distance, and of a front that is larger than its places, a sample is taken too.

    Args:
        table: what `read_results` gave.
        labels: what `label_points` returned for it.
        max_rows: more trials than this are thinned; default: so that there are at most `MAX_VALUES` values.
        seed: of the samples, so that a report can be made twice.
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
        f"(seed {seed}) and {len(shown_others):,} of {len(others):,} without a result. The pictures, the table of trials and its CSV "
        "hold no others; counts, the summary, methods, health and the hypervolume are of all trials."
    )
    return Embedded(points, labels.iloc[rows].reset_index(drop=True), shown_others, note)


def to_columns(embedded: Embedded) -> dict[str, Any]:
    """Columns of the embedded trials for JSON: `{"all": value}` where all rows agree, else a list; empty ones left out.

    Beside the store's columns there are those of `label_points`, and the `gap` of `gaps` where an optimum is known.
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
    """The exact front as columns of the objectives, thinned evenly to `MAX_FRONT_POINTS`; empty where it is not known."""
    front = table.true_front
    if front is None:
        return {}
    rows = np.unique(np.linspace(0, len(front) - 1, min(len(front), MAX_FRONT_POINTS)).round().astype(np.int64))
    return {o["column"]: front[rows, i].tolist() for i, o in enumerate(table.objectives)}


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&` can end it or open another; NaN and infinity are null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _cells(column: "pd.Series[Any]") -> list[Any]:
    """A column as JSON has it; numbers, which are most of it, all at once."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        values = column.to_numpy()
        return [cell if known else None for cell, known in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)]
    return [_plain(cell) for cell in column.to_list()]


def _plain(value: Any) -> Any:
    """A value as JSON has it, at full precision; what is not finite or not measured is None."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        pairs = bool(value) and all(isinstance(item, tuple) and len(item) == 2 for item in value)
        return {str(key): _plain(item) for key, item in value} if pairs else [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, pd.Timestamp) else str(value)
