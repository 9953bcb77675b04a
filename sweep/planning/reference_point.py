"""The reference point a of the Chebyshev form: given in the grid file, or `auto`, a tenth below the anchor runs.

An anchor run is a dense trial with all weight on one task. Every other study waits for the study `anchor-runs`. The unit of a is
that of the scaled objectives. The manifest has one number per objective; a pack's job has one number for sparsity and one per
task, even if the problem has no sparsity objective.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.errors import SweepError
from sweep.grid.load import SweepConfig
from sweep.grid.resolve import ANCHOR_STUDY
from sweep.planning.trials import Trial
from sweep.store.remote.path import store_path
from trainer.problems.facts import ProblemFacts

_MARGIN = 0.1


def anchor_trials(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the anchor runs among the trials; empty if the grid file gives the reference point as numbers."""
    return tuple(trial for trial in trials if trial.study == ANCHOR_STUDY)


def below_anchor_runs(config: SweepConfig, anchors: Sequence[Trial], rows: Mapping[str, Mapping[str, Any]]) -> tuple[float, ...]:
    """Compute the reference point from complete anchor runs.

    For each task it is the smallest scaled validation loss over all runs, minus a tenth of its absolute value.

    Args:
        config: the sweep.
        anchors: its anchor runs.
        rows: maps the id of each anchor run to its row.

    Returns:
        The reference point, shape (n_objectives,), in units of the scaled objectives; 0 for sparsity.

    Raises:
        SweepError: a run did not end ok, or its loss is not finite.
    """
    facts = config.problem.facts
    failed = [_failure(trial, rows[trial.trial_id], facts) for trial in anchors if not _is_usable(rows[trial.trial_id], facts)]
    if failed:
        raise SweepError(
            f"{store_path(config.output)}: `reference_point: auto` needs every anchor run, but\n  "
            + "\n  ".join(failed)
            + "\n  hint: failed trials are not trained again: change the training and choose another `output`, "
            "or write the reference point as numbers"
        )
    least = [min(_scaled_loss(row, facts, task) for row in rows.values()) for task in range(len(facts.tasks))]
    return (0.0,) * facts.has_sparsity + tuple(loss - _MARGIN * abs(loss) for loss in least)


def padded(values: Sequence[float], facts: ProblemFacts) -> tuple[float, ...]:
    """Return the reference point with a value for sparsity, which is 0 if sparsity is not an objective.

    Args:
        values: the reference point, shape (n_objectives,).
        facts: the facts of the problem.

    Returns:
        The padded reference point, shape (1 + n_tasks,).
    """
    return tuple(values) if facts.has_sparsity else (0.0, *values)


def _scaled_loss(row: Mapping[str, Any], facts: ProblemFacts, task: int) -> float:
    loss = row[f"loss.validation.{facts.tasks[task]}"]
    anchors = row.get("anchors") or [1.0] * (1 + len(facts.tasks))
    return math.nan if loss is None else float(loss / anchors[1 + task])


def _is_usable(row: Mapping[str, Any], facts: ProblemFacts) -> bool:
    return row["state"] == "ok" and all(math.isfinite(_scaled_loss(row, facts, task)) for task in range(len(facts.tasks)))


def _failure(trial: Trial, row: Mapping[str, Any], facts: ProblemFacts) -> str:
    assert trial.preference is not None
    task = facts.tasks[trial.preference.index(1.0) - 1]
    reason = row.get("error") or "a validation loss is not finite"
    return f"trial {trial.trial_id} (all weight on {task}, seed {trial.seed}) ended {row['state']}: {reason}"
