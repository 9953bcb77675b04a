"""The settings and networks that a study inherits from complete trials of other studies, chosen on validation data; and warm starts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.formatting import preference_text
from sweep.grid.load import Study
from sweep.grid.resolve import with_values_of
from sweep.planning.pack_job import NetworkStart
from sweep.store.manifest import SelectionRule
from trainer.catalog import METHODS
from trainer.settings import TrainingSettings

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Inherited:
    """The settings and the network that the trials of one study and seed start with."""

    training: TrainingSettings
    weights_sha256: str | None = None
    """The blob of the inherited network; None if no network is inherited."""
    trial_ids: tuple[str, ...] = ()
    """The id of the trial that this network comes from; empty if no network is inherited."""
    notes: tuple[str, ...] = ()
    """Notes for the rows on the origin of the settings and the network."""
    fault: str | None = None
    """Why nothing can be inherited, so that the trials cannot be trained; None if they can."""


def inherit(study: Study, seed: int, studies: Mapping[str, Study], rows: Sequence[Row], selection: SelectionRule) -> Inherited:
    """Choose the settings and the network that the trials of one study and seed start with.

    Networks come from trials of the same seed if there are any, otherwise from trials of all seeds.

    Args:
        study: the study to train; all studies that it depends on must be complete.
        seed: the seed of its trials.
        studies: all studies by name.
        rows: the rows of the sweep's complete trials.
        selection: the rule for choosing the best trials, from the manifest of the folder.

    Returns:
        The settings and the network, or a `fault` if no trial to inherit from ended ok.
    """
    training, notes = study.training, []
    if study.tuned_by is not None:
        parts = [name for name, other in studies.items() if other.candidate_of == study.tuned_by]
        scores = {name: _mean_score([row for row in rows if row["study"] == name], selection) for name in parts}
        best = max(parts, key=lambda name: scores[name])
        if not math.isfinite(scores[best]):
            return Inherited(training, fault=f"no candidate of {study.tuned_by} ended ok")
        training = with_values_of(training, studies[best].training, study.searched)
        notes.append(f"settings of {best}, the best candidate of {study.tuned_by} on validation data")
    method = METHODS[study.method]
    if method.inherits is None:
        return Inherited(training, notes=tuple(notes))
    source = next(name for name in study.after if studies[name].method == method.inherits_from)
    of_source = [row for row in rows if row["study"] == source]
    of_seed = [row for row in of_source if row["seed"] == seed] or of_source
    usable = [row for row in of_seed if _is_usable(row, method.inherits)]
    if not usable:
        which = {"teachers": "", "architecture": " with a suppressed row", "start": " with k0 = 0"}[method.inherits]
        return Inherited(training, fault=f"{study.name} inherits the network of a trial of {source}{which}, but no such trial ended ok")
    if method.inherits == "architecture":  # prefer trials that reached the requested sparsity
        usable = [row for row in usable if row.get("sparsity_reached")] or usable
    row = usable[int(np.argmax(_scores(usable, selection)))]  # the first one in case of a tie
    k = "" if row["k"] is None else f", k = {preference_text(row['k'])}"
    notes.append(f"{_WHAT[method.inherits]} of trial {row['trial_id']} (study {source}, seed {row['seed']}{k})")
    return Inherited(training, row["weights_sha256"], (row["trial_id"],), tuple(notes))


_WHAT = {"teachers": "teachers: the networks", "architecture": "the sparse architecture", "start": "began from the weights"}


def _scores(rows: Sequence[Row], selection: SelectionRule) -> NDArray[np.float64]:
    """Return the scores of trials on validation data, shape (n_rows,); higher is better, and -inf means not measured."""
    values = [[math.nan if (value := row.get(column)) is None else float(value) for column in selection.columns] for row in rows]
    scores = selection.scores(values)
    return np.where(np.isnan(scores), -np.inf, scores)


def _is_usable(row: Row, takes: str) -> bool:
    if row["state"] != "ok" or row["weights_sha256"] is None:
        return False
    if takes == "architecture":
        return (row["sparsity_rate"] or 0) > 0  # null if nothing can be pruned
    return takes == "teachers" or row["k_0"] == 0


def _mean_score(rows: Sequence[Row], selection: SelectionRule) -> float:
    scores = _scores([row for row in rows if row["state"] == "ok"], selection).tolist()
    finite = [value for value in scores if math.isfinite(value)]
    return sum(finite) / len(finite) if len(finite) == len(rows) and rows else -math.inf


Vector = tuple[float, ...]
_DIGITS = 12


def task_weights(preference: Sequence[float]) -> Vector:
    """Return the preferences of the tasks, rescaled so that they sum to 1.

    Args:
        preference: k = (k0, tasks ...), shape (1 + n_tasks,); at least one task has a preference above 0.

    Returns:
        The task weights, shape (n_tasks,).
    """
    total = sum(preference[1:])
    return tuple(value / total for value in preference[1:])


def nearest_dense(preference: Sequence[float], dense: Sequence[Vector]) -> Vector:
    """Return the dense preference vector whose task weights are nearest (Euclidean distance); ties are broken lexicographically.

    Args:
        preference: k = (k0, tasks ...), shape (1 + n_tasks,).
        dense: vectors with k0 = 0, shape (n_dense, 1 + n_tasks), n_dense >= 1, in any order.
    """
    own = task_weights(preference)
    # Distances are rounded, so that rounding errors of a lattice do not break ties.
    return min(dense, key=lambda vector: (round(math.dist(own, task_weights(vector)), _DIGITS), vector))


def network_start(row: Mapping[str, Any]) -> NetworkStart:
    """Return the network that a sparse trial starts from.

    If the dense trial did not end ok, it has no network to start from. The sparse trial then starts from the initial network, and its
    notes say so. This is as reproducible as the dense trial, and one dense trial that diverged does not spoil all its neighbours.

    Args:
        row: the row of the dense trial that the plan names.
    """
    if row["state"] == "ok" and row["weights_sha256"] is not None:
        return NetworkStart(row["trial_id"], row["weights_sha256"])
    name = f"trial {row['trial_id']} (k = {preference_text(row['k'])}, seed {row['seed']})"
    return NetworkStart(row["trial_id"], None, f"began with the initial network, since {name} ended {row['state']}")
