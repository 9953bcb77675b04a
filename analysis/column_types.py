"""Which kind of values a column of the store holds, so that a table from elsewhere is named unreadable instead of computed with."""

import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

_REALS = re.compile(
    r"(k_\d+|(loss|accuracy|metric|objective)\..+|(sparsity|compression)_rate(_params)?|parameter_sharing(_params)?|wall_s(_\w+)?)"
)
_REAL_NAMES = (
    *("scalarized", "optimum", "residual", "spread", "penalty", "device_s", "energy_wh", "peak_memory_mb"),
    *("n_rows", "n_params", "n_macs", "removable_params", "removable_macs", "compact_bytes"),
)
_WHOLE_NAMES = ("attempt", "retry", "seed", "epoch", "best_epoch", "n_epochs")
_TEXT_NAMES = ("trial_id", "pack_id", "state", "error", "problem", "model", "method", "study", "host", "device", "weights_sha256")
_NUMBER_LISTS = ("k", "anchors", "reference_point", "multipliers", "gradient_cosine")
_LISTS = dict.fromkeys(_NUMBER_LISTS, "number") | dict.fromkeys(("notes", "taken_over"), "text")


def check_types(schema: pa.Schema) -> None:
    """Refuse a file whose columns hold other kinds of values than the store's contract says; columns of nulls fit everything.

    Raises:
        ValueError: the first such column, or one that is there twice.
    """
    if len(set(schema.names)) != len(schema.names):
        raise ValueError("a column is in it twice")
    for field in schema:
        wanted, fits = _rule(field.name)
        if not (pa.types.is_null(field.type) or fits(field.type)):
            raise ValueError(f"column {field.name}: {wanted} expected, found {field.type}")


def check_values(table: pa.Table) -> None:
    """Refuse rows without a name, and infinite numbers where whole ones are expected (pandas writes whole numbers with gaps as real ones).

    Raises:
        ValueError: the first such column.
    """
    if table["trial_id"].null_count:
        raise ValueError("a row without a trial_id")
    for name in set(_WHOLE_NAMES).intersection(table.column_names):
        column = table[name]
        if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            raise ValueError(f"column {name}: whole numbers expected, found an infinite one")


def _rule(name: str) -> tuple[str, Callable[[pa.DataType], bool]]:
    if name in _LISTS:
        return f"lists of {_LISTS[name]}s", _is_list_of(_is_number if _LISTS[name] == "number" else _is_text)
    if name in (*_REAL_NAMES, *_WHOLE_NAMES) or _REALS.fullmatch(name):
        return "numbers", _is_number
    return ("text", _is_text) if name in _TEXT_NAMES else ("anything", lambda kind: True)


def _is_list_of(is_item: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def is_list(kind: pa.DataType) -> bool:
        return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (pa.types.is_null(kind.value_type) or is_item(kind.value_type))

    return is_list


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
