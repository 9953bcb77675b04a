"""What a report embeds: which trials, their columns as JSON, and JSON that is safe inside a script element."""

import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.exactness import gaps
from analysis.table import ResultTable

MAX_ROWS = 20_000
"""Trials that a report embeds; more make a browser slow."""
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


def choose_rows(table: ResultTable, labels: pd.DataFrame, max_rows: int = MAX_ROWS, seed: int = 0) -> Embedded:
    """Choose the trials to embed: all of them, or those near the front, some failures and a sample of the rest.

    Args:
        table: what `read_results` gave.
        labels: what `label_points` returned for it.
        max_rows: more trials than this are thinned.
        seed: of the sample, so that a report can be made twice.
    """
    frame = table.frame
    others = frame[~frame["trial_id"].isin(table.ok.frame["trial_id"])]
    if len(frame) <= max_rows:
        return Embedded(table.ok, labels, others, "")
    shown_others = others.head(max_rows // 10)
    room = max_rows - len(shown_others)
    by_slack = np.argsort(labels["slack"].to_numpy(), kind="stable")
    near, rest = by_slack[: room // 2], by_slack[room // 2 :]
    sample = np.random.default_rng(seed).permutation(rest)[: room - len(near)]
    rows = np.sort(np.concatenate([near, sample]))
    points = replace(table, frame=table.ok.frame.iloc[rows].reset_index(drop=True))
    note = (
        f"{len(rows) + len(shown_others):,} of {len(frame):,} trials are embedded: the {len(near):,} nearest to the front, a sample "
        f"of {len(sample):,} of the other finished ones (seed {seed}) and {len(shown_others):,} of {len(others):,} without a result. "
        "Counts, the summary and the hypervolume are of all trials."
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
    return [_plain(cell) for cell in column]


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
