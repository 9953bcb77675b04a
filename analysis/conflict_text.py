"""The conflict of the tasks for people: one sentence a study, and how it was judged."""

from analysis.conflict import MIN_TRIALS, N_DEVIATIONS, ClusterConflict, Conflict, StudyConflict
from analysis.training_noise import sources_text


def conflict_sentences(conflict: Conflict) -> list[str]:
    """The answer for each study; its name comes first where there are several."""
    names = [f"{study.study}: " if len(conflict.studies) > 1 else "" for study in conflict.studies]
    return [f"{name}{_sentence(study, len(conflict.tasks))}" for name, study in zip(names, conflict.studies, strict=True)]


def conflict_caption(conflict: Conflict) -> str:
    """The rule and what the columns mean."""
    reference = (
        "" if conflict.reference is None else f" Hypervolume of the task losses below ({', '.join(f'{r:g}' for r in conflict.reference)})."
    )
    noise = sources_text([study.noise.source for study in conflict.studies])
    noise_text = f" Noise is {noise}." if noise else ""
    several = ", of the pair of tasks with the least mean" if len(conflict.tasks) > 2 else ""
    return (
        "Rule: the tasks conflict from the least sparsity on from which in every cluster the front of the task losses alone is "
        f"wider than {N_DEVIATIONS:g} standard deviations of training noise in at least two tasks, and the 95 % interval of the mean "
        f"cosine lies below 0; a narrow front of fewer than {MIN_TRIALS} trials says nothing.{noise_text} Extent: greatest minus least "
        "validation loss on that front; it also depends on which preferences ended in a cluster. Cosine: between the gradients of two "
        f"tasks' validation losses over the weights that they share, of each finished network{several}.{reference}"
    )


def sparsity_text(cluster: ClusterConflict) -> str:
    """The sparsity rates of a cluster, for people."""
    low, high = f"{100 * cluster.sparsity_min:.1f}", f"{100 * cluster.sparsity_max:.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def verdict_text(cluster: ClusterConflict) -> str:
    """What a cluster says, in a few words."""
    if cluster.conflicts is None:
        return "too few trials"
    if cluster.conflicts:
        return "conflict" if cluster.is_opposed is not None else "wide front, cosine not recorded"
    return "wide front, gradients not opposed" if cluster.is_wide else "front within noise"


def _sentence(study: StudyConflict, n_tasks: int) -> str:
    judged = [cluster for cluster in study.clusters if cluster.conflicts is not None]
    if not judged:
        return "Whether the tasks conflict cannot be said: there are too few finished trials."
    tasks = "two tasks" if n_tasks == 2 else "at least two tasks"
    seen = [cluster for cluster in judged if cluster.conflicts]
    highest = f"{100 * judged[-1].sparsity_max:.1f} %"
    if not seen:
        return f"No conflict of the tasks was seen up to a sparsity rate of {highest}: {_why_none(judged)}."
    tail = _last_run(judged)
    how = f"the front of the task losses is wider than training noise in {tasks}"
    opposed = [cluster for cluster in tail or seen if cluster.is_opposed]
    how += f" and their gradients oppose each other (mean cosine {_cosines(opposed)})" if opposed else ""
    unsure = "" if opposed else " Cosines of the gradients were not recorded, so this rests on the fronts alone."
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
    """The clusters at the sparse end that all conflict."""
    n = next((i for i, cluster in enumerate(reversed(judged)) if not cluster.conflicts), len(judged))
    return judged[len(judged) - n :]


def _why_none(judged: list[ClusterConflict]) -> str:
    if not any(cluster.is_wide for cluster in judged):
        return "in every cluster the front of the task losses is as narrow as training noise makes it"
    return "where the front of the task losses is wider than training noise, the gradients of the tasks do not oppose each other"


def _cosines(clusters: list[ClusterConflict]) -> str:
    """The range of the mean cosines of some clusters."""
    means = [cluster.cosine.mean for cluster in clusters if cluster.cosine.mean is not None]
    texts = dict.fromkeys(f"{mean:.2f}".replace("-", "−") for mean in (max(means), min(means)))
    return " to ".join(texts)
