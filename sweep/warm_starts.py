"""Which dense trial a sparse one starts from (`training.warm_start: neighbour`): settled by the grid, never by what is complete."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

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
