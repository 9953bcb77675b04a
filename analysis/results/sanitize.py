"""Removal of unusable numbers: infinite and absurdly large values become NaN when results are read."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LARGEST = 1e40
"""Larger than any single-precision number (3.4e38), yet small enough that a product of seven such numbers is finite."""
SMALLEST = 1e-40
"""Smaller than the smallest normal single-precision number (1.2e-38); plotly draws no axis that spans less than 1e-300."""
_WHOLE_OR_NONE = ("anchors", "reference_point")
_PREFERENCE = "k"
_GAPPED = ("gradient_cosine", "multipliers")
_LAYERS = "layer_sparsity"


def only_usable(table: pa.Table, n_shares: int) -> pa.Table:
    """Replace unusable real numbers, so that all code that draws and prints can rely on usable ones.

    Args:
        table: rows as stored, with types that `analysis.results.parquet` allows.
        n_shares: number of entries of a preference vector.

    Returns:
        The same rows, in which numbers larger than `LARGEST` are NaN (null in lists and mappings) and numbers smaller than `SMALLEST` are
        0. Preferences, anchors and reference points that contain a larger number are null, as is a preference of another length.
    """
    for i, name in enumerate(table.column_names):
        column = table.column(i)
        if pa.types.is_floating(column.type):
            changed = _reals(column)
        elif name in (_PREFERENCE, *_WHOLE_OR_NONE) and not pa.types.is_null(column.type):
            changed = _whole_lists(column, n_shares if name == _PREFERENCE else None)
        elif name in _GAPPED and not pa.types.is_null(column.type):
            changed = _lists(column)
        elif name == _LAYERS and pa.types.is_string(column.type):
            changed = _mappings(column)
        else:
            continue
        if changed is not column:
            table = table.set_column(i, name, changed)
    return table


def _reals(column: pa.ChunkedArray) -> pa.ChunkedArray:
    wide = column.cast(pa.float64())
    size = pc.abs(wide)
    too_large, too_small = pc.greater(size, LARGEST), pc.and_(pc.less(size, SMALLEST), pc.greater(size, 0))
    if not pc.any(pc.or_(too_large, too_small)).as_py():
        return column
    return pc.if_else(too_small, 0.0, pc.if_else(too_large, float("nan"), wide))


def _whole_lists(column: pa.ChunkedArray, length: int | None) -> pa.ChunkedArray:
    if not _has_unusable(column) and (length is None or pc.all(pc.equal(pc.list_value_length(column), length)).as_py() is not False):
        return column
    cells = [None if cell is None or not _is_whole(cell, length) else cell for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.list_(pa.float64()))])


def _lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not _has_unusable(column, SMALLEST):
        return column
    cells = [None if cell is None else [_usable(entry) for entry in cell] for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.list_(pa.float64()))])


def _mappings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace unusable numbers in JSON objects, which are stored as text."""
    encoded = column.combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    changed = [_usable_mapping(text) for text in texts]
    return column if changed == texts else pa.chunked_array([pa.array(changed, pa.string()).take(encoded.indices)])


def _usable_mapping(text: str) -> str:
    found: dict[str, Any] = json.loads(text)
    usable = {key: _usable(entry) for key, entry in found.items()}
    return text if usable == found else json.dumps(usable, ensure_ascii=False)


def _are_usable(entries: pa.Array, smallest: float) -> bool:
    """Return whether no entry is null, NaN, larger than `LARGEST`, or nonzero and smaller than `smallest`."""
    sizes = np.abs(entries.to_numpy(zero_copy_only=False).astype(np.float64))
    return bool(((sizes <= LARGEST) & ((sizes >= smallest) | (sizes == 0))).all())


def _has_unusable(column: pa.ChunkedArray, smallest: float = 0.0) -> bool:
    """Return whether some list holds an entry that `_are_usable` rejects."""
    if pa.types.is_null(column.type.value_type):
        return True
    return not all(_are_usable(chunk.flatten(), smallest) for chunk in column.chunks)


def _is_whole(cell: list[float | None], length: int | None) -> bool:
    return (length is None or len(cell) == length) and all(map(_is_usable, cell))


def _usable(entry: float | None) -> float | None:
    if entry is None or not _is_usable(entry):
        return None
    return entry if abs(entry) >= SMALLEST else 0.0


def _is_usable(entry: float | None) -> bool:
    return entry is not None and abs(entry) <= LARGEST
