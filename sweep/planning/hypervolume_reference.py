"""The reference point of a sweep's hypervolumes: given in the grid file, or a corner beyond the results of the whole grid.

A given reference never changes. Otherwise it is, for each task, the loss of a constant guess, which does not depend on results, and for
the sparsity objective a number above that of every finished trial. It is written when every trial of the grid file has ended (or
failed), so that it never depends on a part of the results; a later, larger grid can only raise it. Nothing that depends on it is
stored: every reader computes all hypervolumes with the reference that it finds in the manifest.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR, Decimal

from sweep.store.store import Store
from trainer.problems.facts import ProblemFacts

_LARGEST = 1e40
"""The largest absolute value that counts; `analysis` treats larger numbers as missing."""


def beyond_results(facts: ProblemFacts, sparsity: Iterable[float | None], stored: Sequence[float] | None) -> list[float]:
    """Return the hypervolume reference that lies beyond these results and is not below the stored one.

    Args:
        facts: the facts of the problem.
        sparsity: `objective.sparsity` of the finished trials, in any order; missing and non-finite values are ignored.
        stored: the reference in the manifest, shape (n_objectives,); None if there is none.

    Returns:
        Shape (n_objectives,), not below `stored` in any objective: the losses of a constant guess, preceded, if sparsity is an
        objective, by the next number of two decimal digits above the largest sparsity.
    """
    found = [float(loss) for loss in facts.guess_losses]
    if facts.has_sparsity:
        known = [value for value in sparsity if value is not None and math.isfinite(value) and abs(value) <= _LARGEST]
        found.insert(0, _next_of_two_digits(max(known, default=0.0)))
    return found if stored is None else [max(pair) for pair in zip(found, stored, strict=True)]


def _next_of_two_digits(value: float) -> float:
    """Return the smallest number with two significant digits above `value`, or 1 for every value below 1.

    The result is strictly larger than `value`, because a point on the boundary encloses no volume. It never decreases as `value`
    grows, so it does not matter in which parts results arrive.
    """
    if value < 1:
        return 1.0
    exact = Decimal(repr(float(value)))  # the shortest decimal: 1.2 is 1.2, not 1.19999..., whose next number would be 1.2 again
    unit = Decimal(1).scaleb(exact.adjusted() - 1)
    return float(((exact / unit).to_integral_value(ROUND_FLOOR) + 1) * unit)


def n_beyond(store: Store) -> int:
    """Count the finished trials that are not better than the reference in every objective and so add nothing to the hypervolume.

    Returns:
        The number of such trials; 0 if the manifest has no reference yet.

    Raises:
        StoreError: the folder cannot be read.
    """
    manifest = store.manifest() or {}
    reference = manifest.get("hypervolume_reference")
    if reference is None:
        return 0
    objectives = manifest["objectives"]
    columns = [objective["column"] for objective in objectives]
    signs = [-1.0 if objective.get("sense", "min") == "max" else 1.0 for objective in objectives]
    rows = [row for row in store.read_rows(columns=columns).to_pylist() if row["state"] == "ok"]
    points = [[row[column] for column in columns] for row in rows]
    finished = [point for point in points if all(value is not None and abs(value) <= _LARGEST for value in point)]
    return sum(any(s * value >= s * bound for s, value, bound in zip(signs, point, reference, strict=True)) for point in finished)
