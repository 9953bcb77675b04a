"""At what sparsity do the tasks begin to conflict? The task front and the gradients' cosine of each sparsity cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.front import nondominated, sparsity_clusters
from analysis.indicators import hypervolume
from analysis.intervals import Estimate, estimate
from analysis.labels import DENSE, SPARSE, is_sparse
from analysis.studies import ANCHOR_STUDY
from analysis.table import ResultTable
from analysis.training_noise import Noise, training_noise

N_DEVIATIONS = 3.5
"""A task's extent beyond this many standard deviations of the training noise is no noise: of fronts of 30 trials that differ by normal
noise alone 1 in 100 is wider in two tasks (of 10 trials 1 in 500, of 60 trials 1 in 50)."""
MIN_TRIALS = 5
"""Fewer trials of a cluster may show that a front is wide, but not that it is narrow."""


@dataclass(frozen=True)
class ClusterConflict:
    """What the trials of one sparsity cluster say."""

    group: str
    """`dense` or `sparse`, as in `label_points`."""
    cluster: int
    """0 = least sparse; -1 for dense trials."""
    sparsity_min: float
    sparsity_max: float
    n_trials: int
    n_front: int
    """Trials that no other one of the cluster dominates in the task losses alone."""
    extents: tuple[float, ...]
    """Greatest minus least loss of each task on that front, in units of the loss."""
    hypervolume: float | None
    """Of the task losses, below the tasks' part of the manifest's reference; None while there is none."""
    cosine: Estimate
    """Mean over the trials of the cosine of `pair`, with its 95 % interval."""
    pair: tuple[str, str]
    """The two tasks whose mean cosine is the least."""
    is_wide: bool | None
    """Whether at least two extents are beyond training noise; None where that cannot be said."""
    is_opposed: bool | None
    """Whether the interval of the cosine lies below 0; None where it was not recorded."""

    @property
    def conflicts(self) -> bool | None:
        """Both; the front alone where cosines were not recorded. None where it cannot be said."""
        return self.is_wide if self.is_opposed is None or not self.is_wide else self.is_opposed


@dataclass(frozen=True)
class StudyConflict:
    """One study, its clusters from dense to sparse."""

    study: str
    clusters: tuple[ClusterConflict, ...]
    noise: Noise

    @property
    def tolerances(self) -> NDArray[np.float64]:
        """What an extent has to exceed, shape (n_tasks,), in units of each loss."""
        return N_DEVIATIONS * self.noise.deviations


@dataclass(frozen=True)
class Conflict:
    """The answer of a whole sweep."""

    studies: tuple[StudyConflict, ...]
    tasks: tuple[str, ...]
    """Names of the task objectives, in the order of the extents."""
    units: tuple[str, ...]
    reference: tuple[float, ...] | None
    """Of the hypervolumes, in the objectives' own sense."""


def task_conflict(table: ResultTable, sparsity_width: float = 0.02) -> Conflict | None:
    """Where the tasks begin to conflict, for each study that trains for preferences between them.

    Args:
        table: what `read_results` gave.
        sparsity_width: gap of the sparsity rate, a fraction, at which a new cluster begins. Trials with k0 = 0 are the first
            cluster of their study.

    Returns:
        None for a sweep without a sparsity objective or with one task, and where no study has a finished trial with k0 > 0.
    """
    ok = table.ok
    tasks = ok.task_objectives
    if table.sparsity_objective is None or len(tasks) < 2 or not is_sparse(ok).any():
        return None
    reference = table.manifest.get("hypervolume_reference")
    of_tasks = None
    if reference is not None:
        of_tasks = tuple(float(value) for value, o in zip(reference, table.objectives, strict=True) if o in tasks)
    study = ok.frame["study"].astype(object).where(ok.frame["study"].notna(), "").to_numpy()
    names = [name for name in dict.fromkeys(study) if name != ANCHOR_STUDY]
    found = [_study(ok, str(name), np.flatnonzero(study == name), of_tasks, sparsity_width) for name in names]
    units = tuple(str(o.get("unit") or "") for o in tasks)
    return Conflict(tuple(one for one in found if one), tuple(str(o.get("name") or o["column"]) for o in tasks), units, of_tasks)


def _study(table: ResultTable, name: str, rows: NDArray[np.int64], reference: Sequence[float] | None, width: float) -> StudyConflict | None:
    """One study; None where nothing of it has k0 > 0."""
    frame = table.frame
    rows = rows[frame["k_0"].iloc[rows].notna().to_numpy(dtype=bool) & frame["sparsity_rate"].iloc[rows].notna().to_numpy(dtype=bool)]
    sparse = is_sparse(table)[rows]
    if not sparse.any():
        return None
    rates = frame["sparsity_rate"].to_numpy(dtype=np.float64, na_value=np.nan)[rows]
    clusters = np.full(len(rows), -1, dtype=np.int64)
    clusters[sparse] = sparsity_clusters(rates[sparse], width)
    noise = training_noise(table, rows, clusters)
    return StudyConflict(name, tuple(_cluster(table, int(c), rows[clusters == c], noise, reference) for c in np.unique(clusters)), noise)


def _cluster(table: ResultTable, cluster: int, rows: NDArray[np.int64], noise: Noise, reference: Sequence[float] | None) -> ClusterConflict:
    frame, columns = table.frame.iloc[rows], [o["column"] for o in table.task_objectives]
    values = table.values(columns)[rows]
    front = values[nondominated(values)]
    extents = front.max(axis=0) - front.min(axis=0)
    is_wide = bool((extents > N_DEVIATIONS * noise.deviations).sum() > 1)
    can_say = np.isfinite(noise.deviations).sum() > 1 and (is_wide or len(rows) >= MIN_TRIALS)
    cosine, pair = _least_cosine(table.tasks, frame["gradient_cosine"].to_list())
    signs = [-1.0 if o.get("sense", "min") == "max" else 1.0 for o in table.task_objectives]
    return ClusterConflict(
        group=DENSE if cluster < 0 else SPARSE,
        cluster=cluster,
        sparsity_min=float(frame["sparsity_rate"].min()),
        sparsity_max=float(frame["sparsity_rate"].max()),
        n_trials=len(rows),
        n_front=len(front),
        extents=tuple(extents.tolist()),
        hypervolume=None if reference is None else hypervolume(values, np.multiply(signs, reference)),
        cosine=cosine,
        pair=pair,
        is_wide=is_wide if can_say else None,
        is_opposed=None if cosine.high is None else cosine.high < 0,
    )


def _least_cosine(tasks: Sequence[str], recorded: Sequence[object]) -> tuple[Estimate, tuple[str, str]]:
    """Of the pairs of tasks the one with the least mean cosine over some trials."""
    pairs = list(combinations(tasks, 2))
    known = [np.asarray(cell, dtype=np.float64) for cell in recorded if isinstance(cell, (list, np.ndarray)) and len(cell) == len(pairs)]
    means = [estimate(cell[i] for cell in known) for i in range(len(pairs))]
    ordered = sorted(zip(means, pairs, strict=True), key=lambda found: float("inf") if found[0].mean is None else found[0].mean)
    return ordered[0]
