"""Preference vectors to train next, chosen to fill the gaps of a study's front (`sweep suggest`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.decision_front import of_study
from analysis.measures.studies import Study, check_one_scaling, compared_studies
from analysis.measures.study_indicators import box_of
from analysis.pareto.gaps import Gap, fill_gaps
from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable


@dataclass(frozen=True)
class Suggestion:
    """A preference vector whose trial is expected to fall into a gap of the front."""

    preference: tuple[float, ...]
    """In the order of a grid file: sparsity first if the problem has that objective, then the tasks."""
    between: tuple[str, str]
    """The two ends of the gap, as text: trial ids, `the end in OBJECTIVE`, or `suggestion I`."""
    gain: float
    """The hypervolume that the trial is expected to add, as in `analysis.pareto.gaps.Gap`."""


def suggest(table: ResultTable, n: int = 10, study: str | None = None) -> list[Suggestion]:
    """Suggest preference vectors for the most promising gaps of a study's front (`analysis.pareto.gaps.fill_gaps`).

    Trials with the same preference and different seeds count as one point with their mean objectives. Volumes are bounded by the
    nadir of the manifest's box. In objectives without one, and in sparsity, whose preference acts on the GrOWL norm of this architecture
    while the box counts a share of the network, they are bounded by the worst values on the front.

    Args:
        table: any table.
        n: the largest number of suggestions.
        study: the study's name; default: the only study with preferences.

    Returns:
        The suggestions, most promising first; fewer than n if all other vectors were tried, are planned, or failed before.

    Raises:
        ResultsError: the study does not exist or is ambiguous, it has fewer than two points with a preference, or its trials have different
            scalings.
    """
    check_one_scaling(table)
    chosen = _study(table, study)
    skip = 0 if table.sparsity_objective is not None else 1
    mine = table.ok.frame[of_study(table.ok, chosen.name)]
    values = table.ok.values()[of_study(table.ok, chosen.name)]
    has_k = np.array([not _is_none(k) and len(k) == values.shape[1] + skip for k in mine["k"]], dtype=bool)
    mine, values = mine[has_k], values[has_k]
    points, k, names = _means(mine, values, skip)
    if len(points) < 2:
        raise ResultsError(
            f"{table.place}: {len(points)} preferences over the {len(table.objectives)} objectives with a finished trial, two expected\n"
            "  hint: run a small grid first"
        )
    box = box_of(table)
    is_same = np.array([axis == o["column"] for axis, o in zip(table.axes, table.objectives, strict=True)])
    corner = None if box is None else np.where(is_same, box.nadir, np.nan)  # NaN: bounded by the front
    filled = fill_gaps(points, k, n, _origin(mine, skip, len(table.objectives)), corner, _tried(table, chosen.name, skip))
    return [Suggestion(gap.preference, _between(gap, names, table), gap.gain) for gap in filled]


def _study(table: ResultTable, name: str | None) -> Study:
    frame = table.frame
    with_k = {study if isinstance(study, str) else "" for study, k in zip(frame["study"], frame["k"], strict=True) if not _is_none(k)}
    known = [study for study in compared_studies(table) if study.name in with_k]
    names = ", ".join(study.name for study in known)
    if not known:
        raise ResultsError(f"{table.place}: no trial with a preference\n  hint: only methods that take a preference have gaps to fill")
    if name is None and len(known) > 1:
        raise ResultsError(
            f"{table.place}: {len(known)} studies with preferences, one expected\n  hint: name it with `--study`, one of {names}"
        )
    found = next((study for study in known if name is None or study.name == name), None)
    if found is None:
        raise ResultsError(f"{table.place}: no study {name!r} with preferences\n  hint: those with preferences are {names}")
    return found


def _means(frame: pd.DataFrame, values: NDArray[np.float64], skip: int) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """The mean objectives of each preference, the preferences, and the id of each preference's first trial."""
    rows: dict[tuple[float, ...], list[int]] = {}
    for row, k in enumerate(frame["k"].to_list()):
        rows.setdefault(tuple(round(float(share), 12) for share in k[skip:]), []).append(row)
    ids = frame["trial_id"].to_list()
    points = np.array([values[members].mean(axis=0) for members in rows.values()]).reshape(len(rows), values.shape[1])
    return points, np.array(list(rows)).reshape(len(rows), values.shape[1]), [str(ids[members[0]]) for members in rows.values()]


def _origin(frame: pd.DataFrame, skip: int, n_objectives: int) -> NDArray[np.float64]:
    """The reference point, converted from units of the anchors (as stored) to the objectives' own units."""
    anchors, reference = (next((list(cell) for cell in frame[name] if not _is_none(cell)), None) for name in ("anchors", "reference_point"))
    if reference is None:
        return np.zeros(n_objectives)
    return np.asarray(np.array(reference[skip:]) * np.array((anchors or [1.0] * len(reference))[skip:]), dtype=np.float64)


def _tried(table: ResultTable, study: str, skip: int) -> NDArray[np.float64]:
    """The preferences of all trials of a study, finished or not, including those that are only planned."""
    rows = table.frame[of_study(table, study)]
    planned = [trial.get("k") for trial in (table.plan or {}).get("trials", []) if isinstance(trial, dict) and trial.get("study") == study]
    vectors = [vector for k in [*rows["k"].to_list(), *planned] if (vector := _numbers(k)) is not None]
    return np.array([vector[skip:] for vector in vectors if len(vector) == len(table.objectives) + skip]).reshape(-1, len(table.objectives))


def _numbers(k: object) -> NDArray[np.float64] | None:
    """A stored preference as an array; None if there is none, or if a damaged plan holds something else."""
    if not isinstance(k, (list, tuple, np.ndarray)):
        return None
    try:
        return np.asarray(k, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None


def _between(gap: Gap, names: Sequence[str], table: ResultTable) -> tuple[str, str]:
    def name(end: int) -> str:
        if end < 0:
            return f"the end in {table.objectives[-1 - end]['name']}"
        return names[end] if end < len(names) else f"suggestion {end - len(names) + 1}"

    return name(gap.between[0]), name(gap.between[1])


def _is_none(cell: object) -> bool:
    return cell is None or isinstance(cell, float)


def suggestions_text(table: ResultTable, suggestions: Sequence[Suggestion]) -> str:
    """Write one line for each vector with the ends of its gap, or a sentence that says there is none.

    Args:
        table: the table that `suggest` was called with.
        suggestions: what `suggest` returned for it.
    """
    if not suggestions:
        return "no gap is left that a new preference vector would fill"
    names = ", ".join(str(objective["name"]) for objective in table.objectives)
    lines = [f"# k = ({names}), share of the hypervolume's box that it promises, between"]
    for one in suggestions:
        vector = ", ".join(f"{share:.6g}" for share in one.preference)
        lines.append(f"[{vector}]  {one.gain:.3g}  {one.between[0]} and {one.between[1]}")
    return "\n".join(lines)


def suggestions_json(suggestions: Sequence[Suggestion]) -> str:
    """Write a JSON list of objects with `preference`, `between` and `gain`."""
    return json.dumps([{"preference": list(s.preference), "between": list(s.between), "gain": s.gain} for s in suggestions], indent=1)
