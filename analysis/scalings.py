"""Trials of one front must have solved problems of one scaling; this says which did not."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.manifest import ResultsError
from analysis.table import ResultTable

RELATIVE_TOLERANCE = 1e-3
"""Anchors and reference points that differ by no more than this are the same: they are single-precision numbers."""
_MAX_IDS = 3
_MAX_SCALINGS = 5

Scaling = tuple[tuple[float, ...], tuple[float, ...]]
"""Anchors and reference point of a trial."""


def check_one_scaling(table: ResultTable) -> None:
    """Refuse finished trials of one study whose objectives were scaled or shifted differently.

    A preference means another thing under another scaling, so their trials answer different questions. Rows without
    anchors (of schema 1) are not compared; a row without a reference point has the origin.

    Raises:
        ResultsError: the message names the values, the trials and what to do.
    """
    frame = table.ok.frame
    scalings: dict[str, dict[Scaling, list[str]]] = {}
    columns = (frame[name].to_list() for name in ("study", "trial_id", "anchors", "reference_point"))
    for study, trial_id, anchors, reference in zip(*columns, strict=True):
        scale = _numbers(anchors)
        if scale is None:
            continue
        scaling = (scale, _numbers(reference) or (0.0,) * len(scale))
        scalings.setdefault(study if isinstance(study, str) else "", {}).setdefault(scaling, []).append(str(trial_id))
    for study, found in scalings.items():
        groups = _merge_alike(found)
        if len(groups) > 1:
            raise ResultsError(_message(table, study, groups))


def _numbers(value: Any) -> tuple[float, ...] | None:
    """A list as stored, None when there is none or it holds something unknown."""
    if value is None or not hasattr(value, "__len__") or isinstance(value, str) or not len(value):
        return None
    numbers = np.asarray(value, dtype=np.float64)
    return tuple(numbers.tolist()) if np.isfinite(numbers).all() else None


def _merge_alike(found: dict[Scaling, list[str]]) -> dict[Scaling, list[str]]:
    groups: dict[Scaling, list[str]] = {}
    for scaling, trials in found.items():
        same = next((known for known in groups if all(_alike(a, b) for a, b in zip(known, scaling, strict=True))), scaling)
        groups.setdefault(same, []).extend(trials)
    return groups


def _alike(left: Sequence[float], right: Sequence[float]) -> bool:
    if len(left) != len(right):
        return False
    a, b = np.asarray(left), np.asarray(right)
    return bool((np.abs(a - b) <= RELATIVE_TOLERANCE * np.maximum(np.abs(a), np.abs(b))).all())


def _message(table: ResultTable, study: str, groups: dict[Scaling, list[str]]) -> str:
    names = ("anchors", "reference point")
    first = next(iter(groups))
    differing = [i for i in range(2) if not all(_alike(first[i], other[i]) for other in groups)]
    lines = []
    for scaling, trials in sorted(groups.items(), key=lambda item: -len(item[1]))[:_MAX_SCALINGS]:
        values = ", ".join(f"{names[i]} ({', '.join(f'{value:.6g}' for value in scaling[i])})" for i in differing)
        more = ", ..." if len(trials) > _MAX_IDS else ""
        lines.append(f"  {values}: {len(trials)} {'trial' if len(trials) == 1 else 'trials'} ({', '.join(trials[:_MAX_IDS])}{more})")
    if len(groups) > _MAX_SCALINGS:
        lines.append(f"  and {len(groups) - _MAX_SCALINGS} more")
    what = f"study {study!r}" if study else "its study"
    return "\n".join(
        [
            f"{table.place}: {what} mixes trials of {len(groups)} scalings, which have no common front",
            *lines,
            "  hint: keep one scaling a folder: train the others into a folder of their own (`sweep run grid.yaml --out DIR`),"
            " or train all of them again with one scaling",
        ]
    )
