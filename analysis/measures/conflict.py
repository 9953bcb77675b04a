"""At what sparsity the tasks begin to conflict: the measurement, and the answer in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.measures.labels import DENSE, SPARSE, is_sparse
from analysis.measures.noise import Noise, sources_text, training_noise
from analysis.measures.studies import ANCHOR_STUDY
from analysis.measures.study_indicators import box_of
from analysis.pareto.dominance import nondominated, sparsity_clusters
from analysis.pareto.indicators import Box
from analysis.pareto.intervals import Estimate, estimate
from analysis.results.table import ResultTable

N_DEVIATIONS = 3.5
"""A front is wider than noise in a task if its extent exceeds this many standard deviations of the training noise. Among fronts of 30
trials that differ only by normal noise, 1 in 100 is wider in two tasks (1 in 500 with 10 trials, 1 in 50 with 60 trials)."""
MIN_TRIALS = 5
"""A cluster with fewer trials than this can show that its front is wide, but not that it is narrow."""


@dataclass(frozen=True)
class ClusterConflict:
    """The evidence for a conflict in one sparsity cluster."""

    group: str
    """`dense` or `sparse`, as in `label_points`."""
    cluster: int
    """0 = least sparse; -1 for dense trials."""
    sparsity_min: float
    sparsity_max: float
    n_trials: int
    n_front: int
    """Number of trials that no other trial of the cluster dominates in the task losses."""
    extents: tuple[float, ...]
    """Largest minus smallest loss on that front for each task, in units of the loss."""
    hypervolume: float | None
    """Hypervolume of the task losses, as a share of the tasks' part of the manifest's box; None without a box."""
    cosine: Estimate
    """Mean over the trials of the gradient cosine of `pair`, with its 95 % interval."""
    pair: tuple[str, str]
    """The two tasks with the lowest mean cosine."""
    is_wide: bool | None
    """Whether at least two extents exceed training noise; None if this cannot be judged."""
    is_opposed: bool | None
    """Whether the whole interval of the cosine lies below 0; None if the cosine was not recorded."""

    @property
    def conflicts(self) -> bool | None:
        """Whether the front is wide and the gradients oppose each other; if no cosines were recorded, only the front decides.

        None where this cannot be judged.
        """
        return self.is_wide if self.is_opposed is None or not self.is_wide else self.is_opposed


@dataclass(frozen=True)
class StudyConflict:
    """The clusters of one study, from dense to sparse."""

    study: str
    clusters: tuple[ClusterConflict, ...]
    noise: Noise

    @property
    def tolerances(self) -> NDArray[np.float64]:
        """The extent that a front must exceed in each task, shape (n_tasks,), in units of the loss."""
        return N_DEVIATIONS * self.noise.deviations


@dataclass(frozen=True)
class Conflict:
    """The answer for a whole sweep."""

    studies: tuple[StudyConflict, ...]
    tasks: tuple[str, ...]
    """Names of the task objectives, in the order of the extents."""
    units: tuple[str, ...]
    box: Box | None
    """The tasks' part of the manifest's box, minimised; None if the manifest states none."""


def task_conflict(table: ResultTable, sparsity_width: float = 0.02) -> Conflict | None:
    """Determine the sparsity at which the tasks begin to conflict, for each study that trains for preferences between them.

    Args:
        table: what `read_results` gave.
        sparsity_width: gap of the sparsity rate, a fraction, at which a new cluster begins. Trials with k0 = 0 are the first
            cluster of their study.

    Returns:
        The evidence for each study; None if the sweep has no sparsity objective or only one task, or if no study has a finished trial with
        k0 > 0.
    """
    ok = table.ok
    tasks = ok.task_objectives
    if table.sparsity_objective is None or len(tasks) < 2 or not is_sparse(ok).any():
        return None
    box = box_of(table)
    of_tasks = None if box is None else box.part([i for i, o in enumerate(table.objectives) if o in tasks])
    study = ok.frame["study"].astype(object).where(ok.frame["study"].notna(), "").to_numpy()
    names = [name for name in dict.fromkeys(study) if name != ANCHOR_STUDY]
    found = [_study(ok, str(name), np.flatnonzero(study == name), of_tasks, sparsity_width) for name in names]
    units = tuple(str(o.get("unit") or "") for o in tasks)
    return Conflict(tuple(one for one in found if one), tuple(str(o.get("name") or o["column"]) for o in tasks), units, of_tasks)


def _study(table: ResultTable, name: str, rows: NDArray[np.int64], box: Box | None, width: float) -> StudyConflict | None:
    """Collect the evidence for one study; None if none of its trials has k0 > 0."""
    frame = table.frame
    rows = rows[frame["k_0"].iloc[rows].notna().to_numpy(dtype=bool) & frame["sparsity_rate"].iloc[rows].notna().to_numpy(dtype=bool)]
    sparse = is_sparse(table)[rows]
    if not sparse.any():
        return None
    rates = frame["sparsity_rate"].to_numpy(dtype=np.float64, na_value=np.nan)[rows]
    clusters = np.full(len(rows), -1, dtype=np.int64)
    clusters[sparse] = sparsity_clusters(rates[sparse], width)
    noise = training_noise(table, rows, clusters)
    return StudyConflict(name, tuple(_cluster(table, int(c), rows[clusters == c], noise, box) for c in np.unique(clusters)), noise)


def _cluster(table: ResultTable, cluster: int, rows: NDArray[np.int64], noise: Noise, box: Box | None) -> ClusterConflict:
    frame, columns = table.frame.iloc[rows], [o["column"] for o in table.task_objectives]
    values = table.values(columns)[rows]
    front = values[nondominated(values)]
    extents = front.max(axis=0) - front.min(axis=0)
    is_wide = bool((extents > N_DEVIATIONS * noise.deviations).sum() > 1)
    can_say = np.isfinite(noise.deviations).sum() > 1 and (is_wide or len(rows) >= MIN_TRIALS)
    cosine, pair = _least_cosine(table.tasks, frame["gradient_cosine"].to_list())
    return ClusterConflict(
        group=DENSE if cluster < 0 else SPARSE,
        cluster=cluster,
        sparsity_min=float(frame["sparsity_rate"].min()),
        sparsity_max=float(frame["sparsity_rate"].max()),
        n_trials=len(rows),
        n_front=len(front),
        extents=tuple(extents.tolist()),
        hypervolume=None if box is None else box.hypervolume(values),
        cosine=cosine,
        pair=pair,
        is_wide=is_wide if can_say else None,
        is_opposed=None if cosine.high is None else cosine.high < 0,
    )


def _least_cosine(tasks: Sequence[str], recorded: Sequence[object]) -> tuple[Estimate, tuple[str, str]]:
    """The pair of tasks with the lowest mean cosine over some trials, and that mean."""
    pairs = list(combinations(tasks, 2))
    known = [np.asarray(cell, dtype=np.float64) for cell in recorded if isinstance(cell, (list, np.ndarray)) and len(cell) == len(pairs)]
    means = [estimate(cell[i] for cell in known) for i in range(len(pairs))]
    ordered = sorted(zip(means, pairs, strict=True), key=lambda found: float("inf") if found[0].mean is None else found[0].mean)
    return ordered[0]


def conflict_sentences(conflict: Conflict) -> list[str]:
    """Answer the question in one sentence for each study; the study's name comes first where there are several."""
    names = [f"{study.study}: " if len(conflict.studies) > 1 else "" for study in conflict.studies]
    return [f"{name}{_sentence(study, len(conflict.tasks))}" for name, study in zip(names, conflict.studies, strict=True)]


def conflict_caption(conflict: Conflict) -> str:
    """State the rule and the meaning of the columns."""
    box = "" if conflict.box is None else f" Hypervolume: the share dominated of {_ranges(conflict, conflict.box)}."
    noise = sources_text([study.noise.source for study in conflict.studies])
    noise_text = f" Noise is {noise}." if noise else ""
    several = ", for the pair of tasks with the lowest mean" if len(conflict.tasks) > 2 else ""
    return (
        "Rule: the tasks conflict from the lowest sparsity at and above which, in every cluster, the front of the task losses alone is "
        f"wider than {N_DEVIATIONS:g} standard deviations of training noise in at least two tasks and the 95 % interval of the mean "
        f"cosine lies below 0; a narrow front of fewer than {MIN_TRIALS} trials is not judged.{noise_text} Extent: largest minus smallest "
        "validation loss on that front; it also depends on which preferences ended in a cluster. Cosine: between the gradients of two "
        f"tasks' validation losses over the weights that they share, of each finished network{several}.{box}"
    )


def _ranges(conflict: Conflict, box: Box) -> str:
    """Write the range of each task's loss in the box."""
    corners = zip(conflict.tasks, box.ideal, box.nadir, strict=True)
    return ", ".join(f"{task} from {low:.4g} to {high:.4g}" for task, low, high in corners)


def sparsity_text(cluster: ClusterConflict) -> str:
    """Write the range of a cluster's sparsity rates."""
    low, high = f"{100 * cluster.sparsity_min:.1f}", f"{100 * cluster.sparsity_max:.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def verdict_text(cluster: ClusterConflict) -> str:
    """State the verdict on a cluster in a few words."""
    if cluster.conflicts is None:
        return "too few trials"
    if cluster.conflicts:
        return "conflict" if cluster.is_opposed is not None else "wide front, cosine not recorded"
    return "wide front, gradients not opposed" if cluster.is_wide else "front within noise"


def _sentence(study: StudyConflict, n_tasks: int) -> str:
    judged = [cluster for cluster in study.clusters if cluster.conflicts is not None]
    if not judged:
        return "Whether the tasks conflict cannot be judged: there are too few finished trials."
    tasks = "two tasks" if n_tasks == 2 else "at least two tasks"
    seen = [cluster for cluster in judged if cluster.conflicts]
    highest = f"{100 * judged[-1].sparsity_max:.1f} %"
    if not seen:
        return f"No conflict of the tasks was seen up to a sparsity rate of {highest}: {_why_none(judged)}."
    tail = _last_run(judged)
    how = f"the front of the task losses is wider than training noise in {tasks}"
    opposed = [cluster for cluster in tail or seen if cluster.is_opposed]
    how += f" and their gradients oppose each other (mean cosine {_cosines(opposed)})" if opposed else ""
    unsure = "" if opposed else " Cosines of the gradients were not recorded, so this conclusion rests on the fronts alone."
    if opposed and len(opposed) < len(tail or seen):
        unsure = " Cosines of the gradients were not recorded in all of these clusters; there this rests on the fronts alone."
    if not tail:
        where = ", ".join(sparsity_text(cluster) for cluster in seen)
        return f"The tasks conflict at a sparsity rate of {where}, but not at every higher one: there {how}.{unsure}"
    if tail[0] is judged[0]:
        span = f"{100 * tail[0].sparsity_min:.1f} % to {highest}" if len(tail) > 1 else sparsity_text(tail[0])
        return f"The tasks conflict at every sparsity rate that can be judged, {span}: {how}.{unsure}"
    return f"The tasks begin to conflict at a sparsity rate of {100 * tail[0].sparsity_min:.1f} %: from there on {how}.{unsure}"


def _last_run(judged: list[ClusterConflict]) -> list[ClusterConflict]:
    """The unbroken run of conflicting clusters that ends at the sparsest one."""
    n = next((i for i, cluster in enumerate(reversed(judged)) if not cluster.conflicts), len(judged))
    return judged[len(judged) - n :]


def _why_none(judged: list[ClusterConflict]) -> str:
    if not any(cluster.is_wide for cluster in judged):
        return "in every cluster the front of the task losses is as narrow as training noise makes it"
    return "where the front of the task losses is wider than training noise, the gradients of the tasks do not oppose each other"


def _cosines(clusters: list[ClusterConflict]) -> str:
    """Write the range of the clusters' mean cosines."""
    means = [cluster.cosine.mean for cluster in clusters if cluster.cosine.mean is not None]
    texts = dict.fromkeys(f"{mean:.2f}".replace("-", "−") for mean in (max(means), min(means)))
    return " to ".join(texts)
