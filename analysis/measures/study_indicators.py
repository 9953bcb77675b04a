"""Indicators of each study's front: hypervolume over seeds, distance from the exact front, spread, knee and compromise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.convergence import is_unconverged
from analysis.measures.decision_front import DecisionFront, decision_fronts, of_study
from analysis.measures.labels import label_points
from analysis.pareto.dominance import nondominated
from analysis.pareto.indicators import hypervolume, igd_plus, spread
from analysis.pareto.intervals import CONFIDENCE, Estimate, bootstrap_mean
from analysis.pareto.knee import compromise, knee
from analysis.pareto.neighbors import to_unit_range
from analysis.results.table import ResultTable


@dataclass(frozen=True, eq=False)
class StudyIndicators:
    """The indicators of one study's front, each computed for the front of every seed and averaged over the seeds."""

    study: str
    seeds: tuple[int, ...]
    """Seeds with a finished trial."""
    n_trials: int
    """Number of finished trials of all seeds."""
    hypervolume: Estimate | None
    """Mean hypervolume with its bootstrap interval; None if the manifest has no reference."""
    hypervolumes: dict[int, float]
    """Seed -> hypervolume; empty if the manifest has no reference."""
    igd_plus: Estimate | None
    """Mean IGD+ with its interval; None if the exact front is not known."""
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
    table: ResultTable, reference: Sequence[float] | None = None, confidence: float = CONFIDENCE, labels: pd.DataFrame | None = None
) -> list[StudyIndicators]:
    """Compute the indicators of each study that has a finished trial; searches and anchor runs are left out.

    Args:
        table: any table.
        reference: reference point of the hypervolume, shape (n_objectives,) in the order and own sense of `table.objectives`; default: the
            manifest's, which `sweep run` fixes once every trial of the grid file has ended. It is never derived from the results.
        confidence: confidence level of the intervals over seeds (`bootstrap_mean`).
        labels: what `label_points` returned for the table, if already known; the exact front is used whatever its eps.

    Returns:
        One entry for each study. Hypervolume and IGD+ are computed in the manifest's objectives, knee and compromise in the quantities that
        people decide by (`decision_fronts`).

    Raises:
        ResultsError: trials of one study have different scalings.
        ValueError: the reference has another shape, or is not finite.
    """
    indicators = []
    bound = table.manifest.get("hypervolume_reference") if reference is None else reference
    corner = None if bound is None else table.signed(np.asarray(bound, dtype=np.float64))
    exact = None if table.true_front is None else table.signed(table.true_front)
    values, seeds = table.ok.values(), table.ok.frame["seed"].to_numpy(dtype=np.float64, na_value=np.nan)
    unconverged = is_unconverged(table.ok)
    labels = label_points(table) if labels is None else labels
    for front in decision_fronts(table, labels.assign(kept=labels["slack"] <= 0)):
        rows = of_study(table.ok, front.study)
        if not rows.any():
            continue
        of_seed = {int(seed): values[rows & (seeds == seed)] for seed in np.unique(seeds[rows & np.isfinite(seeds)])}
        volumes = {} if corner is None else {seed: hypervolume(points, corner) for seed, points in of_seed.items()}
        indicators.append(
            StudyIndicators(
                study=front.study,
                seeds=tuple(of_seed),
                n_trials=int(rows.sum()),
                hypervolume=bootstrap_mean(list(volumes.values()), confidence) if volumes else None,
                hypervolumes=volumes,
                igd_plus=None if exact is None else bootstrap_mean([igd_plus(points, exact) for points in of_seed.values()], confidence),
                spread=bootstrap_mean([_spread_of_front(points) for points in of_seed.values()], confidence),
                front=front,
                knee=knee(front.values),
                compromise=compromise(front.values),
                n_unconverged=int(unconverged[rows].sum()),
            )
        )
    return indicators


def _spread_of_front(points: NDArray[np.float64]) -> float:
    return spread(to_unit_range(points[nondominated(points)]))
