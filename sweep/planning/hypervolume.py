"""How many trials of a sweep lie beyond the box of its hypervolumes, which the manifest states."""

from typing import Any

from sweep.store.manifest import PARAMETERS_KEPT, ROWS_KEPT, stated_box
from sweep.store.store import Store

_LARGEST = 1e40
"""The largest absolute value that counts; `analysis` treats larger numbers as missing."""
_READ_FOR = {ROWS_KEPT: ("sparsity_rate",), PARAMETERS_KEPT: ("removable_params", "n_params")}


def n_beyond(store: Store) -> int:
    """Count the finished trials that are worse than the nadir in some objective and so add nothing to the hypervolume.

    Returns:
        The number of such trials; 0 if the manifest states no box.

    Raises:
        StoreError: the folder cannot be read.
    """
    manifest = store.manifest()
    box = None if manifest is None else stated_box(manifest)[0]
    if manifest is None or box is None:
        return 0
    senses = [objective.get("sense", "min") for objective in manifest["objectives"]]
    columns = [column for axis in box.axes for column in _READ_FOR.get(axis, (axis,))]
    rows = [row for row in store.read_rows(columns=columns).to_pylist() if row["state"] == "ok"]
    points = [[_value(row, axis) for axis in box.axes] for row in rows]
    finished = [[value for value in point if value is not None] for point in points if None not in point]
    return sum(
        any(value < bound if sense == "max" else value > bound for value, bound, sense in zip(point, box.nadir, senses, strict=True))
        for point in finished
    )


def _value(row: dict[str, Any], axis: str) -> float | None:
    found = [row[column] for column in _READ_FOR.get(axis, (axis,))]
    if any(value is None or not abs(value) <= _LARGEST for value in found):
        return None
    if axis == ROWS_KEPT:
        return float(1 - found[0])
    if axis == PARAMETERS_KEPT:
        return float(1 - found[0] / found[1]) if found[1] > 0 else None
    return float(found[0])
