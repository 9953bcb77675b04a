"""What a study inherits from other studies: settings and networks of complete trials, chosen on validation data; and warm starts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.grid.load import Study
from sweep.grid.resolve import with_values_of
from sweep.planning.pack_job import NetworkStart
from trainer.catalog import METHODS
from trainer.problems.facts import ProblemFacts
from trainer.settings import TrainingSettings

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Inherited:
    """What the trials of one study and seed start with."""

    training: TrainingSettings
    weights_sha256: str | None = None
    """The blob of the inherited network; None if no network is inherited."""
    trial_ids: tuple[str, ...] = ()
    """The trial that this network comes from."""
    notes: tuple[str, ...] = ()
    """Where settings and network come from, for the rows."""
    fault: str | None = None
    """Why nothing can be inherited; the trials cannot be trained in this case."""


def inherit(study: Study, seed: int, studies: Mapping[str, Study], rows: Sequence[Row], facts: ProblemFacts) -> Inherited:
    """Choose the settings and the network that the trials of one study and seed start with.

    Networks come from trials of the same seed if there are any, otherwise from trials of all seeds.

    Args:
        study: the study to train; all studies that it waits for are complete.
        seed: the seed of its trials.
        studies: all studies by name.
        rows: the rows of the sweep's complete trials.
        facts: the problem's tasks, metrics and losses of a constant guess.

    Returns:
        The settings and the network, or a `fault` if no trial to inherit from ended ok.
    """
    training, notes = study.training, []
    if study.tuned_by is not None:
        parts = [name for name, other in studies.items() if other.candidate_of == study.tuned_by]
        scores = {name: _mean_score([row for row in rows if row["study"] == name], facts) for name in parts}
        best = max(parts, key=lambda name: scores[name])
        if not math.isfinite(scores[best]):
            return Inherited(training, fault=f"no candidate of {study.tuned_by} ended ok")
        training = with_values_of(training, studies[best].training, study.searched)
        notes.append(f"settings of {best}, the best candidate of {study.tuned_by} on validation data")
    method = METHODS[study.method]
    if method.takes is None:
        return Inherited(training, notes=tuple(notes))
    source = next(name for name in study.after if studies[name].method == method.giver)
    of_source = [row for row in rows if row["study"] == source]
    of_seed = [row for row in of_source if row["seed"] == seed] or of_source
    usable = [row for row in of_seed if _is_usable(row, method.takes)]
    if not usable:
        which = {"teachers": "", "architecture": " with a suppressed row", "start": " with k0 = 0"}[method.takes]
        return Inherited(training, fault=f"{study.name} inherits the network of a trial of {source}{which}, but no such trial ended ok")
    if method.takes == "architecture":  # prefer trials that reached the requested sparsity
        usable = [row for row in usable if row.get("sparsity_reached")] or usable
    row = max(usable, key=lambda row: score(row, facts))
    k = "" if row["k"] is None else f", k = ({', '.join(f'{value:.4g}' for value in row['k'])})"
    notes.append(f"{_WHAT[method.takes]} of trial {row['trial_id']} (study {source}, seed {row['seed']}{k})")
    return Inherited(training, row["weights_sha256"], (row["trial_id"],), tuple(notes))


_WHAT = {"teachers": "teachers: the networks", "architecture": "the sparse architecture", "start": "began from the weights"}


def score(row: Row, facts: ProblemFacts) -> float:
    """How good a trial is on validation data; higher is better.

    Args:
        row: of a complete trial.
        facts: the problem's tasks and metrics, and the losses of a constant guess.

    Returns:
        The mean accuracy if every task has one; otherwise minus the mean loss, each task's in units of its loss for a constant guess.
    """
    accuracy = row.get("accuracy.validation.mean")
    if accuracy is not None and all(metric == "accuracy" for metric in facts.metrics.values()):
        return float(accuracy)
    losses = [
        float(row[f"loss.validation.{task}"]) / (abs(guess) or 1) for task, guess in zip(facts.tasks, facts.guess_losses, strict=True)
    ]
    return -sum(losses) / len(losses)


def _is_usable(row: Row, takes: str) -> bool:
    if row["state"] != "ok" or row["weights_sha256"] is None:
        return False
    if takes == "architecture":
        return (row["sparsity_rate"] or 0) > 0  # null where nothing can be pruned
    return takes == "teachers" or row["k_0"] == 0


def _mean_score(rows: Sequence[Row], facts: ProblemFacts) -> float:
    scores = [score(row, facts) for row in rows if row["state"] == "ok"]
    finite = [value for value in scores if math.isfinite(value)]
    return sum(finite) / len(finite) if len(finite) == len(rows) and rows else -math.inf


Vector = tuple[float, ...]
_DIGITS = 12


def task_weights(preference: Sequence[float]) -> Vector:
    """The preferences of the tasks relative to each other.

    Args:
        preference: k = (k0, tasks ...), shape (1 + n_tasks,); at least one task has a preference above 0.

    Returns:
        Shape (n_tasks,); the sum is 1.
    """
    total = sum(preference[1:])
    return tuple(value / total for value in preference[1:])


def nearest_dense(preference: Sequence[float], dense: Sequence[Vector]) -> Vector:
    """The dense preference vector with the nearest task weights (Euclidean distance); among equals, the first in lexical order.

    Args:
        preference: k = (k0, tasks ...), shape (1 + n_tasks,).
        dense: vectors with k0 = 0, shape (n_dense, 1 + n_tasks), at least one, in any order.
    """
    own = task_weights(preference)
    # Distances are rounded, so that rounding errors of a lattice do not decide between equals.
    return min(dense, key=lambda vector: (round(math.dist(own, task_weights(vector)), _DIGITS), vector))


def network_start(row: Mapping[str, Any]) -> NetworkStart:
    """The network that a sparse trial starts from.

    A dense trial that did not end ok has none to start from: the sparse trial starts from the initial network, and its notes say
    so. This is as reproducible as the dense trial is, and one dense trial that diverged does not cost all its neighbours.

    Args:
        row: of the dense trial that the plan names.
    """
    if row["state"] == "ok" and row["weights_sha256"] is not None:
        return NetworkStart(row["trial_id"], row["weights_sha256"])
    name = f"trial {row['trial_id']} (k = ({', '.join(f'{value:.4g}' for value in row['k'])}), seed {row['seed']})"
    return NetworkStart(row["trial_id"], None, f"began with the initial network, since {name} ended {row['state']}")
