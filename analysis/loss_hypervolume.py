"""The hypervolume that the literature compares fronts of two classification tasks by."""

import numpy as np

from analysis.indicators import hypervolume
from analysis.method_trials import LineTrials
from analysis.table import ACCURACY, ResultTable

REFERENCE = (2.0, 2.0)
"""Test cross-entropy of each task, in nats; ln 10 = 2.30 is a guess among ten classes."""
_CROSS_ENTROPY_UNIT = "nats"


def has_loss_hypervolume(table: ResultTable) -> bool:
    """Whether a sweep has exactly two tasks and both are classification with cross-entropy as their loss."""
    units = [o.get("unit") for o in table.task_objectives if o["column"].startswith("loss.")]
    return len(table.tasks) == 2 and set(table.metrics.values()) == {ACCURACY} and units == [_CROSS_ENTROPY_UNIT] * 2


def loss_hypervolumes(table: ResultTable, trials: LineTrials) -> list[float]:
    """For each seed the area below `REFERENCE` that the test losses of a line's trials dominate.

    Area of the union over trials i of [L1_i, 2] x [L2_i, 2], in nats squared: the non-dominated losses alone make it.

    Returns:
        One a seed that has a finished trial; higher is better, 4 at most.

    Raises:
        ValueError: the sweep has other tasks (`has_loss_hypervolume`).
    """
    if not has_loss_hypervolume(table):
        raise ValueError(f"loss_hypervolumes expects two classification tasks, found {', '.join(table.tasks)}")
    losses = table.ok.frame[[f"loss.test.{task}" for task in table.tasks]].to_numpy(dtype=np.float64, na_value=np.nan)
    of_seed: dict[int, list[int]] = {}
    for (_, seed), row in trials.rows.items():
        of_seed.setdefault(seed, []).append(row)
    return [hypervolume(losses[rows], REFERENCE) for rows in of_seed.values()]
