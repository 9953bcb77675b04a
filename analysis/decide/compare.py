"""The comparison of two sweeps' fronts (`sweep compare`), as numbers, as text and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.figures.attainment import difference_figure
from analysis.figures.base import axis_of
from analysis.measures.attainment import attainment_columns
from analysis.measures.decision_front import of_study
from analysis.measures.studies import Study, compared_studies
from analysis.pareto.attainment import attainment_difference
from analysis.pareto.dominance import nondominated
from analysis.pareto.indicators import beyond_text, epsilon_additive, hypervolume, n_beyond
from analysis.pareto.intervals import CONFIDENCE, Estimate, bootstrap_difference, bootstrap_mean
from analysis.results.columns import SPARSITY_OBJECTIVE, SPARSITY_RATE
from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable

ROWS_KEPT = "1 - sparsity_rate"
"""Replaces the sparsity objective when two architectures are compared."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison: the fronts of a study's seeds."""

    name: str
    """The sweep's name, followed by the study's if it has several."""
    of_seed: dict[int, NDArray[np.float64]]
    """Seed -> objectives of its finished trials, shape (n_points, n_objectives), minimised."""
    hypervolume: Estimate
    """Mean over the seeds, with a bootstrap interval if there are several."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`; numbers are averages over seeds."""

    first: Side
    second: Side
    objectives: tuple[str, ...]
    """The columns that are compared; `ROWS_KEPT` replaces the sparsity objective when the two architectures differ."""
    reference: tuple[float, ...]
    """Reference point of both hypervolumes, in the manifest's sense of each column (not negated)."""
    reference_from: str
    """Where the reference comes from, as text for the reader."""
    difference: Estimate
    """Hypervolume of the first side minus that of the second, with an interval if both have several seeds."""
    epsilon: tuple[float, float]
    """Additive epsilon of the first against the second, and vice versa: how far a front must be shifted to weakly dominate the other. Both
    are means over all pairs of seeds, in fractions of the common range of both fronts."""
    notes: tuple[str, ...]
    """Caveats for the reader, one sentence each."""
    table: ResultTable
    """The first table, which supplies the axis titles."""

    @property
    def confidence(self) -> float:
        """The confidence level of the intervals."""
        return CONFIDENCE

    def figure(self) -> go.Figure:
        """Draw, in two objectives (`attainment_columns`), which points are attained by more seeds of one side than of the other.

        Raises:
            ResultsError: there is only one objective.
        """
        if len(self.objectives) < 2:
            raise ResultsError("a figure of attainment needs two objectives\n  hint: leave --figure out")
        columns = [column if column in self.objectives else ROWS_KEPT for column in attainment_columns(self.table)]
        where = [self.objectives.index(column) for column in columns]
        groups = [[points[:, where] for points in side.of_seed.values()] for side in (self.first, self.second)]
        axes = [_axis(self.table, column) for column in columns]
        return difference_figure(attainment_difference(*groups), (self.first.name, self.second.name), axes)


def compare(
    first: ResultTable,
    second: ResultTable,
    *,
    studies: tuple[str, str] | None = None,
    reference: Sequence[float] | None = None,
) -> Comparison:
    """Compare the fronts of two studies, which may belong to two sweeps or to the same one.

    Args:
        first: any table with finished trials.
        second: any table with the same objectives and finished trials.
        studies: the study of each table; default: the only study of the table.
        reference: reference point of both hypervolumes, shape (n_objectives,); default: the reference in the manifests (if these differ,
            the worse value in each objective). It is never derived from the results.

    Returns:
        The comparison. Two different architectures are compared by 1 - SR (with reference 1) instead of the sparsity objective, because
        their norms are not comparable; `notes` says so.

    Raises:
        ResultsError: the objectives differ, a study does not exist or is ambiguous, no trial has finished, or there is no reference.
    """
    _check_objectives(first, second)
    chosen = tuple(_study(table, name) for table, name in zip((first, second), studies or (None, None), strict=True))
    is_by_rate = first.sparsity_objective is not None and chosen[0].model != chosen[1].model
    columns = tuple(ROWS_KEPT if is_by_rate and o["column"] == SPARSITY_OBJECTIVE else o["column"] for o in first.objectives)
    corner, origin = _reference(first, second, reference)
    if is_by_rate and reference is None:
        corner = tuple(1.0 if column == ROWS_KEPT else value for column, value in zip(columns, corner, strict=True))
    signed = np.array(corner) * first.signs(columns)
    sides = [
        _side(table, study, columns, signed, several=len(compared_studies(table)) > 1)
        for table, study in zip((first, second), chosen, strict=True)
    ]
    volumes = [[hypervolume(points, signed) for points in side.of_seed.values()] for side in sides]
    return Comparison(
        sides[0],
        sides[1],
        columns,
        corner,
        origin,
        bootstrap_difference(volumes[0], volumes[1]),
        _epsilons(sides[0], sides[1]),
        (*_notes(first, second, sides, is_by_rate), *_beyond_notes(sides, signed)),
        first,
    )


def _check_objectives(first: ResultTable, second: ResultTable) -> None:
    kinds = [[(o["column"], o.get("sense", "min")) for o in table.objectives] for table in (first, second)]
    if kinds[0] != kinds[1]:
        shown = [", ".join(f"{column} ({sense})" for column, sense in kind) for kind in kinds]
        raise ResultsError(
            f"{second.place}: other objectives than {first.place}, so the two fronts lie in different spaces\n"
            f"  {first.place}: {shown[0]}\n  {second.place}: {shown[1]}\n  hint: compare sweeps of the same problem and tasks"
        )


def _study(table: ResultTable, name: str | None) -> Study:
    known = [study for study in compared_studies(table) if of_study(table.ok, study.name).any()]
    if not known:
        raise ResultsError(f"{table.place}: no finished trial to compare\n  hint: `sweep status` says where the sweep stands")
    names = ", ".join(study.name for study in known)
    if name is None and len(known) > 1:
        raise ResultsError(
            f"{table.place}: {len(known)} studies, one expected\n  hint: name one study for each folder with `--studies A B` from {names}"
        )
    found = next((study for study in known if name is None or study.name == name), None)
    if found is None:
        raise ResultsError(f"{table.place}: no finished trial of a study {name!r}\n  hint: those with finished trials are {names}")
    return found


def _reference(first: ResultTable, second: ResultTable, reference: Sequence[float] | None) -> tuple[tuple[float, ...], str]:
    """Return the reference in the manifest's sense of each objective, and where it comes from."""
    n_objectives = len(first.objectives)
    if reference is not None:
        if len(reference) != n_objectives or not np.isfinite(reference).all():
            raise ResultsError(f"the reference expects {n_objectives} finite numbers, one per objective, found {list(reference)}")
        return tuple(float(value) for value in reference), "given"
    known = [table.manifest.get("hypervolume_reference") for table in (first, second)]
    stored = [np.asarray(point, dtype=np.float64) for point in known if point is not None]
    if not stored:
        raise ResultsError(
            f"{first.place}, {second.place}: no hypervolume reference in either manifest yet, and none is taken from the results\n"
            "  hint: give one number an objective with `--reference`, or run a whole grid file again: `sweep run` fixes the reference once "
            "every trial of it has ended, failed ones too"
        )
    worst = first.signed(np.max([first.signed(point) for point in stored], axis=0))
    if len(stored) == 1:
        origin = f"of the manifest of {(first if known[0] is not None else second).name}, as the other has none yet"
    else:
        origin = "of both manifests" if np.array_equal(stored[0], stored[1]) else "the worse one of both manifests in each objective"
    return tuple(float(value) for value in worst), origin


def _side(table: ResultTable, study: Study, columns: Sequence[str], corner: NDArray[np.float64], several: bool) -> Side:
    ok = table.ok
    rows = of_study(ok, study.name)
    is_rate = [column == ROWS_KEPT for column in columns]
    values = ok.values([SPARSITY_RATE if rate else column for column, rate in zip(columns, is_rate, strict=True)])
    values = np.where(is_rate, 1 - values, values)
    seeds = ok.frame["seed"].to_numpy(dtype=np.float64, na_value=-1)
    rows = rows & np.isfinite(values).all(axis=1)
    if not rows.any():
        raise ResultsError(
            f"{table.place}: no finished trial of study {study.name!r} has a sparsity rate, which stands for the sparsity objective "
            "where two architectures are compared\n  hint: compare studies of one architecture"
        )
    of_seed = {int(seed): values[rows & (seeds == seed)] for seed in np.unique(seeds[rows])}
    name = f"{table.name}: {study.name}" if several else table.name
    return Side(name, of_seed, bootstrap_mean([hypervolume(points, corner) for points in of_seed.values()]))


def _epsilons(first: Side, second: Side) -> tuple[float, float]:
    groups = [[points[nondominated(points)] for points in side.of_seed.values()] for side in (first, second)]
    everything = np.concatenate([points for group in groups for points in group])
    length = np.ptp(everything, axis=0)
    unit = np.where(length > 0, length, 1.0)

    def mean(ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]) -> float:
        return float(np.mean([epsilon_additive(a / unit, b / unit) for a in ours for b in theirs]))

    return mean(groups[0], groups[1]), mean(groups[1], groups[0])


def _notes(first: ResultTable, second: ResultTable, sides: Sequence[Side], is_by_rate: bool) -> list[str]:
    notes = []
    if any(len(side.of_seed) < 2 for side in sides):
        notes.append("no interval: it needs at least two seeds on each side, so the difference may be chance")
    if is_by_rate:
        notes.append("two architectures: the share of rows kept replaces the sparsity objective, whose norms are not comparable")
    prints = [(table.manifest.get("problem") or {}).get("fingerprint") for table in (first, second)]
    if prints[0] != prints[1]:
        notes.append("the two sweeps have different data, so their losses need not be comparable")
    return notes


def _beyond_notes(sides: Sequence[Side], corner: NDArray[np.float64]) -> list[str]:
    """For each side, a note about the points that its hypervolume ignores."""
    counts = [(side.name, sum(n_beyond(points, corner) for points in side.of_seed.values())) for side in sides]
    return [f"{name}: {beyond_text(n_points)}" for name, n_points in counts if n_points]


def _axis(table: ResultTable, column: str) -> dict[str, object]:
    return {"title": {"text": "share of rows kept"}} if column == ROWS_KEPT else axis_of(table, column)


def comparison_text(comparison: Comparison) -> str:
    """Write a comparison as text for the reader: hypervolumes, their difference, both epsilons, the reference and the notes."""
    corner = ", ".join(f"{name} = {value:g}" for name, value in zip(comparison.objectives, comparison.reference, strict=True))
    lines = [
        f"A: {comparison.first.name} ({_seeds(comparison.first)})",
        f"B: {comparison.second.name} ({_seeds(comparison.second)})",
        f"hypervolume of A: {_estimate(comparison.first.hypervolume)}",
        f"hypervolume of B: {_estimate(comparison.second.hypervolume)}",
        f"difference A - B: {_estimate(comparison.difference)}{_verdict(comparison)}",
        f"additive epsilon: A shifted by {comparison.epsilon[0]:.4g} weakly dominates B, "
        f"B shifted by {comparison.epsilon[1]:.4g} weakly dominates A",
        "  (fractions of the common range of both fronts, means over pairs of seeds; 0 or less: no shift is needed)",
        f"reference ({comparison.reference_from}): {corner}",
    ]
    if comparison.difference.low is not None:
        lines.append(f"intervals: {100 * comparison.confidence:g} %, bootstrap over seeds, which are not paired")
    return "\n".join([*lines, *(f"note: {note}" for note in comparison.notes)])


def comparison_json(comparison: Comparison) -> str:
    """Write a JSON object with `first` and `second` (name, hypervolume, seeds), `difference`, `epsilon`, `reference` and `notes`."""
    return json.dumps(
        {
            "first": _side_text(comparison.first),
            "second": _side_text(comparison.second),
            "difference": _plain(comparison.difference),
            "epsilon": {"first_over_second": comparison.epsilon[0], "second_over_first": comparison.epsilon[1]},
            "objectives": list(comparison.objectives),
            "reference": list(comparison.reference),
            "reference_from": comparison.reference_from,
            "confidence": comparison.confidence,
            "notes": list(comparison.notes),
        },
        indent=1,
    )


def _verdict(comparison: Comparison) -> str:
    low, high = comparison.difference.low, comparison.difference.high
    if low is None or high is None:
        return ""
    if low > 0:
        return ": A is better"
    return ": B is better" if high < 0 else ": no difference beyond the seeds"


def _seeds(side: Side) -> str:
    n_trials = sum(map(len, side.of_seed.values()))
    return f"{len(side.of_seed)} {'seed' if len(side.of_seed) == 1 else 'seeds'}, {n_trials} finished trials"


def _estimate(found: Estimate) -> str:
    if found.mean is None:
        return "unknown"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.5g}, {found.high:.5g}]"
    return f"{found.mean:.5g}{interval}"


def _side_text(side: Side) -> dict[str, Any]:
    return {"name": side.name, "seeds": list(side.of_seed), "hypervolume": _plain(side.hypervolume)}


def _plain(found: Estimate) -> dict[str, float | int | None]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}
