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
from analysis.measures.study_indicators import box_notes
from analysis.pareto.attainment import attainment_difference
from analysis.pareto.dominance import nondominated
from analysis.pareto.indicators import Box, epsilon_additive
from analysis.pareto.intervals import CONFIDENCE, Estimate, bootstrap_difference, bootstrap_mean
from analysis.results.columns import PARAMETERS_KEPT, ROWS_KEPT, SPARSITY_OBJECTIVE
from analysis.results.manifest import ResultsError, SparsityAxis, StatedBox, box_by_rule, box_text, origin_text
from analysis.results.table import ResultTable


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison: the fronts of a study's seeds."""

    name: str
    """The sweep's name, followed by the study's if it has several."""
    of_seed: dict[int, NDArray[np.float64]]
    """Seed -> objectives of its finished trials, shape (n_points, n_objectives), minimised."""
    hypervolume: Estimate
    """Share of the box, a mean over the seeds, with a bootstrap interval if there are several."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`; numbers are averages over seeds."""

    first: Side
    second: Side
    objectives: tuple[str, ...]
    """The columns that are compared (`ResultTable.axes`); `ROWS_KEPT` or `PARAMETERS_KEPT` replaces a GrOWL norm."""
    ideal: tuple[float, ...]
    """The best corner of the box of both hypervolumes, in the manifest's sense of each column (not negated)."""
    reference: tuple[float, ...]
    """Its worst corner, the nadir, in the manifest's sense of each column (not negated)."""
    reference_from: str
    """Where the box comes from, as text for the reader."""
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
        axes = self.table.axes
        where = [axes.index(column) for column in attainment_columns(self.table)]
        groups = [[points[:, where] for points in side.of_seed.values()] for side in (self.first, self.second)]
        shown = [axis_of(self.table, self.objectives[i]) for i in where]
        return difference_figure(attainment_difference(*groups), (self.first.name, self.second.name), shown)


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
        reference: the nadir of both hypervolumes, shape (n_objectives,), in the units of the axes; default: those in the manifests (if the
            boxes differ, the better ideal and the worse nadir in each objective). It is never derived from the results.

    Returns:
        The comparison on the axes of the manifests: the share of rows (or of parameters) that is kept instead of the sparsity objective,
        because norms of two architectures are not comparable. Where the manifests count different shares, rows are counted.

    Raises:
        ResultsError: the objectives differ, a study does not exist or is ambiguous, no trial has finished, or there is no box.
    """
    _check_objectives(first, second)
    chosen = tuple(_study(table, name) for table, name in zip((first, second), studies or (None, None), strict=True))
    stated, origin = _common_box(first, second, reference)
    box = Box(*(tuple((first.signs(stated.axes) * corner).tolist()) for corner in (stated.ideal, stated.nadir)))
    sides = [
        _side(table, study, stated.axes, box, several=len(compared_studies(table)) > 1)
        for table, study in zip((first, second), chosen, strict=True)
    ]
    volumes = [[box.hypervolume(points) for points in side.of_seed.values()] for side in sides]
    measured = [table.ok.values(stated.axes)[of_study(table.ok, study.name)] for table, study in zip((first, second), chosen, strict=True)]
    outside = [f"{side.name}: {note}" for side, values in zip(sides, measured, strict=True) if (note := box_notes(box, values))]
    return Comparison(
        sides[0],
        sides[1],
        stated.axes,
        stated.ideal,
        stated.nadir,
        origin,
        bootstrap_difference(volumes[0], volumes[1]),
        _epsilons(sides[0], sides[1]),
        (*_notes(first, second, sides, stated.axes), *([stated.note] if stated.note else []), *outside),
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


def _common_box(first: ResultTable, second: ResultTable, reference: Sequence[float] | None) -> tuple[StatedBox, str]:
    """Return the box of both hypervolumes, in the manifest's sense of each objective, and where it comes from."""
    axes = first.axes if first.axes == second.axes else _axes_of_both(first, second)
    known = [box for box in (first.stated_box, second.stated_box) if box is not None]
    if reference is not None:
        if len(reference) != len(axes) or not np.isfinite(reference).all():
            raise ResultsError(f"the reference expects {len(axes)} finite numbers, one per objective, found {list(reference)}")
    elif not known:
        raise ResultsError(
            f"{first.place}, {second.place}: neither manifest states the box of the hypervolume, and none is taken from the results\n"
            f"  {first.place}: {first.no_box}\n  hint: give one number an objective with `--reference`, or run the grid file again"
        )
    signs = first.signs(axes)
    ideals = [np.multiply(signs, box.ideal) for box in known]
    nadirs = [np.multiply(signs, box.nadir) for box in known]
    if reference is not None:
        front = first.true_front if axes == tuple(o["column"] for o in first.objectives) else None
        ideal = None if not known else (np.min(ideals, axis=0) * signs).tolist()
        try:
            return box_by_rule(first.objectives, (), front, ideal=ideal, nadir=reference, sparsity=_counted(axes)), "nadir given"
        except ValueError as error:
            raise ResultsError(str(error)) from error
    ideal, nadir = np.min(ideals, axis=0) * signs, np.max(nadirs, axis=0) * signs
    if len(known) == 1:
        origin = f"of the manifest of {(first if first.stated_box is not None else second).name}, as the other states none"
    elif np.array_equal(ideals[0], ideals[1]) and np.array_equal(nadirs[0], nadirs[1]):
        origin = f"of both manifests, {origin_text(known[0].origin)}"
    else:
        origin = "the better ideal and the worse nadir of both manifests in each objective"
    notes = dict.fromkeys(box.note for box in known if box.note)
    return StatedBox(axes, tuple(ideal.tolist()), tuple(nadir.tolist()), known[0].origin, "; ".join(notes)), origin


def _axes_of_both(first: ResultTable, second: ResultTable) -> tuple[str, ...]:
    """Return the axes of two manifests that measure sparsity differently: rows are counted."""
    return tuple(ROWS_KEPT if o["column"] == SPARSITY_OBJECTIVE else str(o["column"]) for o in first.objectives)


def _counted(axes: Sequence[str]) -> SparsityAxis:
    return "parameters" if PARAMETERS_KEPT in axes else "rows"


def _side(table: ResultTable, study: Study, columns: Sequence[str], box: Box, several: bool) -> Side:
    ok = table.ok
    rows = of_study(ok, study.name)
    values = ok.values(columns)
    seeds = ok.frame["seed"].to_numpy(dtype=np.float64, na_value=-1)
    rows = rows & np.isfinite(values).all(axis=1)
    if not rows.any():
        raise ResultsError(
            f"{table.place}: no finished trial of study {study.name!r} has a measured share of its network, which stands for the sparsity "
            "objective\n  hint: `sweep front` lists what was measured"
        )
    of_seed = {int(seed): values[rows & (seeds == seed)] for seed in np.unique(seeds[rows])}
    name = f"{table.name}: {study.name}" if several else table.name
    return Side(name, of_seed, bootstrap_mean([box.hypervolume(points) for points in of_seed.values()]))


def _epsilons(first: Side, second: Side) -> tuple[float, float]:
    groups = [[points[nondominated(points)] for points in side.of_seed.values()] for side in (first, second)]
    everything = np.concatenate([points for group in groups for points in group])
    length = np.ptp(everything, axis=0)
    unit = np.where(length > 0, length, 1.0)

    def mean(ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]) -> float:
        return float(np.mean([epsilon_additive(a / unit, b / unit) for a in ours for b in theirs]))

    return mean(groups[0], groups[1]), mean(groups[1], groups[0])


def _notes(first: ResultTable, second: ResultTable, sides: Sequence[Side], axes: Sequence[str]) -> list[str]:
    notes = []
    if any(len(side.of_seed) < 2 for side in sides):
        notes.append("no interval: it needs at least two seeds on each side, so the difference may be chance")
    shares = [what for axis, what in ((ROWS_KEPT, "rows"), (PARAMETERS_KEPT, "parameters")) if axis in axes]
    if shares:
        notes.append(f"sparsity is the share of {shares[0]} kept; networks that keep everything lie on the border and add nothing")
    prints = [(table.manifest.get("problem") or {}).get("fingerprint") for table in (first, second)]
    if prints[0] != prints[1]:
        notes.append("the two sweeps have different data, so their losses need not be comparable")
    return notes


def comparison_text(comparison: Comparison) -> str:
    """Write a comparison as text for the reader: hypervolumes, their difference, both epsilons, the box and the notes."""
    ranges = box_text(comparison.objectives, comparison.ideal, comparison.reference, comparison.table.objectives)
    lines = [
        f"A: {comparison.first.name} ({_seeds(comparison.first)})",
        f"B: {comparison.second.name} ({_seeds(comparison.second)})",
        f"hypervolume of A: {_estimate(comparison.first.hypervolume)}",
        f"hypervolume of B: {_estimate(comparison.second.hypervolume)}",
        f"difference A - B: {_estimate(comparison.difference)}{_verdict(comparison)}",
        f"additive epsilon: A shifted by {comparison.epsilon[0]:.4g} weakly dominates B, "
        f"B shifted by {comparison.epsilon[1]:.4g} weakly dominates A",
        "  (fractions of the common range of both fronts, means over pairs of seeds; 0 or less: no shift is needed)",
        f"box, of which hypervolumes are shares ({comparison.reference_from}): {ranges}",
    ]
    if comparison.difference.low is not None:
        lines.append(f"intervals: {100 * comparison.confidence:g} %, bootstrap over seeds, which are not paired")
    return "\n".join([*lines, *(f"note: {note}" for note in comparison.notes)])


def comparison_json(comparison: Comparison) -> str:
    """Write a JSON object: `first` and `second` (name, hypervolume, seeds), `difference`, `epsilon`, `ideal`, `reference` and `notes`."""
    return json.dumps(
        {
            "first": _side_text(comparison.first),
            "second": _side_text(comparison.second),
            "difference": _plain(comparison.difference),
            "epsilon": {"first_over_second": comparison.epsilon[0], "second_over_first": comparison.epsilon[1]},
            "objectives": list(comparison.objectives),
            "ideal": list(comparison.ideal),
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
