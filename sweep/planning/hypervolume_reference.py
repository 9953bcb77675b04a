"""The reference of a sweep's hypervolumes: given in the grid file, or the corner that lies beyond the whole grid's results.

A given reference never moves. The other one is the loss of a constant guess for each task, which no result changes, and for the sparsity
objective a number above every finished trial's. It is written when every trial of the grid file has ended, failed ones too, so that it
is never taken from a part; a later, larger grid can only raise it. Nothing that depends on it is stored: every reader computes all
hypervolumes anew with the reference that it finds in the manifest.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_FLOOR, Decimal

from sweep.store.store import Store
from trainer.problems.facts import ProblemFacts

_LARGEST = 1e40
"""`analysis` reads larger numbers as not known."""


def beyond_results(facts: ProblemFacts, sparsity: Iterable[float | None], stored: Sequence[float] | None) -> list[float]:
    """The reference that bounds these results and the stored one.

    Args:
        facts: of the problem.
        sparsity: `objective.sparsity` of the finished trials, in any order; what is not known or not finite does not count.
        stored: what the manifest has, shape (n_objectives,).

    Returns:
        One number an objective, none below that of `stored`: the losses of a constant guess, before them for a problem with a sparsity
        objective the next larger number of two digits than the largest one seen.
    """
    found = [float(loss) for loss in facts.guess_losses]
    if facts.has_sparsity:
        known = [value for value in sparsity if value is not None and math.isfinite(value) and abs(value) <= _LARGEST]
        found.insert(0, _next_of_two_digits(max(known, default=0.0)))
    return found if stored is None else [max(pair) for pair in zip(found, stored, strict=True)]


def _next_of_two_digits(value: float) -> float:
    """The least number of two decimal digits above a number; 1 for what is not above 0. A point on the edge would enclose no volume."""
    if value <= 0:
        return 1.0
    exact = Decimal(value)
    unit = Decimal(1).scaleb(exact.adjusted() - 1)
    n_units = (exact / unit).to_integral_value(ROUND_FLOOR) + 1
    # A float may lie below the decimal number that it is written as: 0.7 is 0.6999..., and the next number 0.7 again.
    return float((n_units if float(n_units * unit) > value else n_units + 1) * unit)


def n_beyond(store: Store) -> int:
    """How many finished trials are not better than the manifest's reference in every objective; they add nothing to a hypervolume.

    Returns:
        0 where the manifest has no reference yet.

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
