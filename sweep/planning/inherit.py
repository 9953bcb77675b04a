"""What a study inherits from others: settings and networks of complete trials, chosen on validation data, and warm starts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.grid.load import Study
from sweep.grid.resolve import with_values_of
from trainer.catalog import METHODS
from trainer.problems.facts import ProblemFacts
from trainer.settings import TrainingSettings

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Taken:
    """For the trials of one study and seed."""

    training: TrainingSettings
    weights_sha256: str | None = None
    """The blob of the network that is taken over."""
    trial_ids: tuple[str, ...] = ()
    """The trial that it comes from."""
    notes: tuple[str, ...] = ()
    """Where it comes from, for the rows."""
    fault: str | None = None
    """Why nothing can be taken over; the trials cannot be trained then."""


def taken_over(study: Study, seed: int, studies: Mapping[str, Study], rows: Sequence[Row], facts: ProblemFacts) -> Taken:
    """What the trials of a study and seed begin with. All studies that it waits for are complete.

    Networks come from trials of the same seed where there are any, else from those of all seeds.

    Args:
        study: the study to train.
        seed: of its trials.
        studies: all studies by name.
        rows: the sweep's complete trials.
        facts: of the problem.
    """
    training, notes = study.training, []
    if study.tuned_by is not None:
        parts = [name for name, other in studies.items() if other.candidate_of == study.tuned_by]
        scores = {name: _mean_score([row for row in rows if row["study"] == name], facts) for name in parts}
        best = max(parts, key=lambda name: scores[name])
        if not math.isfinite(scores[best]):
            return Taken(training, fault=f"no candidate of {study.tuned_by} ended ok")
        training = with_values_of(training, studies[best].training, study.searched)
        notes.append(f"settings of {best}, the best candidate of {study.tuned_by} on validation data")
    method = METHODS[study.method]
    if method.inherits is None:
        return Taken(training, notes=tuple(notes))
    giver = next(name for name in study.after if studies[name].method == method.inherits_from)
    of_giver = [row for row in rows if row["study"] == giver]
    of_seed = [row for row in of_giver if row["seed"] == seed] or of_giver
    usable = [row for row in of_seed if _can_give(row, method.inherits)]
    if not usable:
        which = {"teachers": "", "architecture": " with a suppressed row", "start": " with k0 = 0"}[method.inherits]
        return Taken(training, fault=f"{study.name} takes over the network of a trial of {giver}{which}, but none ended ok")
    if method.inherits == "architecture":  # those that are as sparse as was asked for, where there are any
        usable = [row for row in usable if row.get("sparsity_reached")] or usable
    row = max(usable, key=lambda row: score(row, facts))
    k = "" if row["k"] is None else f", k = ({', '.join(f'{value:.4g}' for value in row['k'])})"
    notes.append(f"{_WHAT[method.inherits]} of trial {row['trial_id']} (study {giver}, seed {row['seed']}{k})")
    return Taken(training, row["weights_sha256"], (row["trial_id"],), tuple(notes))


_WHAT = {"teachers": "teachers: the networks", "architecture": "the sparse architecture", "start": "began from the weights"}


def score(row: Row, facts: ProblemFacts) -> float:
    """How good a trial is on validation data, higher is better: mean accuracy; without one, minus the mean loss in units of a guess."""
    accuracy = row.get("accuracy.validation.mean")
    if accuracy is not None and all(metric == "accuracy" for metric in facts.metrics.values()):
        return float(accuracy)
    losses = [
        float(row[f"loss.validation.{task}"]) / (abs(guess) or 1) for task, guess in zip(facts.tasks, facts.guess_losses, strict=True)
    ]
    return -sum(losses) / len(losses)


def _can_give(row: Row, takes: str) -> bool:
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
    """The weights of the tasks among themselves, shape (n_tasks,), sum 1; a task has one above 0."""
    total = sum(preference[1:])
    return tuple(value / total for value in preference[1:])


def nearest_dense(preference: Sequence[float], dense: Sequence[Vector]) -> Vector:
    """The dense preference vector whose task weights are nearest (Euclidean distance); of equals the least in lexical order.

    Args:
        preference: k = (k0, tasks ...), shape (1 + n_tasks,).
        dense: vectors with k0 = 0, shape (n_dense, 1 + n_tasks), at least one. Their order does not matter.
    """
    own = task_weights(preference)
    # Rounded, so that rounding errors of a lattice decide nothing.
    return min(dense, key=lambda vector: (round(math.dist(own, task_weights(vector)), _DIGITS), vector))


def warm_start(giver: Mapping[str, Any]) -> dict[str, str | None]:
    """Where a trial begins, from the row of its giver, as `PackJob.starts` has it.

    A giver that did not end ok gives nothing: the trial begins with the initial network, and its notes say so. That is
    as repeatable as the giver is, and one dense trial that diverged does not cost all its neighbours.
    """
    name = f"trial {giver['trial_id']} (k = ({', '.join(f'{value:.4g}' for value in giver['k'])}), seed {giver['seed']})"
    can_give = giver["state"] == "ok" and giver["weights_sha256"] is not None
    return {
        "giver": giver["trial_id"],
        "weights_sha256": giver["weights_sha256"] if can_give else None,
        "note": None if can_give else f"began with the initial network, since {name} ended {giver['state']}",
    }
