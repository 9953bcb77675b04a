"""Indicators of each study's front: hypervolume over seeds, distance from the exact front, spread, knee and compromise."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.convergence import is_unconverged
from analysis.measures.decision_front import DecisionFront, decision_fronts, of_study
from analysis.measures.labels import label_points
from analysis.pareto.dominance import nondominated
from analysis.pareto.indicators import MAX_EXACT_OBJECTIVES, Box, beyond_text, igd_plus, spread
from analysis.pareto.intervals import CONFIDENCE, Estimate, bootstrap_mean
from analysis.pareto.knee import compromise, knee
from analysis.pareto.neighbors import to_unit_range
from analysis.results.columns import PARAMETERS_KEPT, ROWS_KEPT, Split, is_of, loss_column, task_of
from analysis.results.manifest import box_text, origin_text
from analysis.results.table import ResultTable


def box_of(table: ResultTable) -> Box | None:
    """Return the box that a sweep's manifest states, with every objective minimised as in `compared_values`; None if it states none."""
    stated = table.stated_box
    if stated is None:
        return None
    signs = table.signs(table.axes)
    return Box(tuple((signs * stated.ideal).tolist()), tuple((signs * stated.nadir).tolist()))


def compared_values(table: ResultTable, split: Split = "validation") -> NDArray[np.float64]:
    """Return the quantities by which fronts are compared: losses, and the share of the network that is kept instead of a GrOWL norm.

    Args:
        table: any table.
        split: the data whose losses are returned; objectives that are not losses on validation data stay as they are.

    Returns:
        Shape (n_trials, n_objectives), minimised, on the axes of `table.axes`, in their units; NaN where a quantity was not measured.
    """
    columns = [loss_column(split, task_of(axis)) if is_of("loss", axis, "validation") else axis for axis in table.axes]
    signs = table.signs(table.axes) * table.signs(columns)  # a column of another split has no sense of its own in the manifest
    return np.asarray(table.values(columns) * signs)


def hypervolume_caption(table: ResultTable) -> str:
    """State in one sentence what the hypervolumes of a sweep are measured in, and which trials add nothing, or why there are none."""
    stated, box = table.stated_box, box_of(table)
    if stated is None or box is None:
        return f"No hypervolume: {table.no_box}."
    about = " (an estimate)" if len(stated.axes) > MAX_EXACT_OBJECTIVES else ""
    ranges = box_text(stated.axes, stated.ideal, stated.nadir, table.objectives)
    outside = box_notes(box, compared_values(table.ok))
    parts = [f"ideal and nadir {origin_text(stated.origin)}", *([stated.note] if stated.note else []), *([outside] if outside else [])]
    border = ""
    if not {ROWS_KEPT, PARAMETERS_KEPT}.isdisjoint(stated.axes):
        border = " A network that keeps everything lies on the border and adds nothing."
    return f"Hypervolume{about} is the share of a box that is dominated, {ranges} ({'; '.join(parts)}); higher is better.{border}"


def box_notes(box: Box, values: NDArray[np.float64]) -> str:
    """Count in a clause the points that lie outside of a box or cannot be placed in it; empty if there are none."""
    n_unknown = int((~np.isfinite(values).all(axis=1)).sum())
    return beyond_text(box.n_beyond(values), box.n_below(values), n_unknown)


@dataclass(frozen=True, eq=False)
class StudyIndicators:
    """The indicators of one study's front, each computed for the front of every seed and averaged over the seeds."""

    study: str
    seeds: tuple[int, ...]
    """Seeds with a finished trial."""
    n_trials: int
    """Number of finished trials of all seeds."""
    hypervolume: Estimate | None
    """Mean hypervolume, a share of the box, with its bootstrap interval; None if the manifest states no box."""
    hypervolumes: dict[int, float]
    """Seed -> hypervolume, a share of the box; empty if the manifest states no box."""
    igd_plus: Estimate | None
    """Mean IGD+ with its interval, objectives divided by their range in the box; None if the exact front is not known."""
    spread: Estimate
    """Spread of the points; 0 means evenly filled."""
    front: DecisionFront
    """The front of all seeds together."""
    knee: int | None
    """Row of the knee in `front`; None if there is no knee."""
    compromise: int | None
    """Row of the compromise in `front`; None for an empty front."""
    n_unconverged: int
    """Number of finished trials that have not converged."""

    @property
    def knee_trial(self) -> str | None:
        """Id of the trial at the knee."""
        return None if self.knee is None else str(self.front.frame["trial_id"].iloc[self.knee])

    @property
    def compromise_trial(self) -> str | None:
        """Id of the trial at the compromise."""
        return None if self.compromise is None else str(self.front.frame["trial_id"].iloc[self.compromise])


def study_indicators(
    table: ResultTable,
    box: Box | None = None,
    confidence: float = CONFIDENCE,
    labels: pd.DataFrame | None = None,
    split: Split = "validation",
) -> list[StudyIndicators]:
    """Compute the indicators of each study that has a finished trial; searches and anchor runs are left out.

    Args:
        table: any table.
        box: the box of the hypervolume, minimised, on the axes of `table.axes`; default: the one that the manifest states (`box_of`). It is
            never derived from the results.
        confidence: confidence level of the intervals over seeds (`bootstrap_mean`).
        labels: what `label_points` returned for the table, if already known; the exact front is used whatever its eps.
        split: the data whose losses count for hypervolume, IGD+ and spread.

    Returns:
        One entry for each study. Hypervolume, IGD+ and spread are computed in `compared_values`, knee and compromise in the quantities that
        people decide by (`decision_fronts`).

    Raises:
        ResultsError: trials of one study have different scalings.
        ValueError: the box has another number of objectives.
    """
    indicators = []
    box = box_of(table) if box is None else box
    exact = None if table.true_front is None else table.signed(table.true_front)
    values, seeds = compared_values(table.ok, split), table.ok.frame["seed"].to_numpy(dtype=np.float64, na_value=np.nan)
    unconverged = is_unconverged(table.ok)
    labels = label_points(table) if labels is None else labels
    for front in decision_fronts(table, labels.assign(kept=labels["slack"] <= 0)):
        rows = of_study(table.ok, front.study)
        if not rows.any():
            continue
        of_seed = {int(seed): values[rows & (seeds == seed)] for seed in np.unique(seeds[rows & np.isfinite(seeds)])}
        volumes = {} if box is None else {seed: box.hypervolume(points) for seed, points in of_seed.items()}
        indicators.append(
            StudyIndicators(
                study=front.study,
                seeds=tuple(of_seed),
                n_trials=int(rows.sum()),
                hypervolume=bootstrap_mean(list(volumes.values()), confidence) if volumes else None,
                hypervolumes=volumes,
                igd_plus=None
                if exact is None
                else bootstrap_mean([_distance(points, exact, box) for points in of_seed.values()], confidence),
                spread=bootstrap_mean([_spread_of_front(points) for points in of_seed.values()], confidence),
                front=front,
                knee=knee(front.values),
                compromise=compromise(front.values),
                n_unconverged=int(unconverged[rows].sum()),
            )
        )
    return indicators


def exact_front_distance(table: ResultTable) -> float | None:
    """Compute IGD+ of all finished trials, objectives divided by their range in the box; None without an exact front or a trial."""
    if table.true_front is None or table.ok.frame.empty:
        return None
    return _distance(compared_values(table.ok), table.signed(table.true_front), box_of(table))


def _distance(points: NDArray[np.float64], exact: NDArray[np.float64], box: Box | None) -> float:
    return igd_plus(points, exact) if box is None else box.igd_plus(points, exact)


def _spread_of_front(points: NDArray[np.float64]) -> float:
    return spread(to_unit_range(points[nondominated(points)]))
