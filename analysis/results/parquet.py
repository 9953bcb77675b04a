"""Reading the Parquet files of a results folder: which types columns may have, and how damaged files are handled."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.results.columns import READABLE_VERSIONS, columns_of, kind_of
from analysis.results.file_errors import names_in
from analysis.results.files import check_plain

_WHOLE_NAMES = ("attempt", "retry", "seed", "epoch", "best_epoch", "n_epochs")
"""Whole numbers that count or order rows. An infinite value here makes the file unreadable, unlike in a measurement."""
_LISTS = dict.fromkeys(columns_of("numbers"), "number") | dict.fromkeys(columns_of("texts"), "text")
_NUMBER_MAPPINGS = columns_of("number_mapping")
MAPPINGS = (*_NUMBER_MAPPINGS, *columns_of("text_mapping"))
"""Columns of JSON objects: of numbers, and of texts."""


def check_types(schema: pa.Schema) -> None:
    """Raise an error if a column's type differs from that in `analysis.results.columns`; columns of nulls are always accepted.

    Raises:
        ValueError: a column has another type or occurs twice; the message names the first such column.
    """
    if len(set(schema.names)) != len(schema.names):
        raise ValueError("a column occurs twice")
    for field in schema:
        wanted, fits = _rule(field.name)
        if not (pa.types.is_null(field.type) or fits(field.type)):
            raise ValueError(f"column {field.name}: {wanted} expected, found {field.type}")


def check_values(table: pa.Table) -> None:
    """Raise an error for rows without a trial_id and for infinite whole numbers (pandas writes whole numbers with gaps as floats).

    Raises:
        ValueError: there is such a row or number; the message names the first such column.
    """
    if table["trial_id"].null_count:
        raise ValueError("a row without a trial_id")
    for name in set(_WHOLE_NAMES).intersection(table.column_names):
        column = table[name]
        if pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            raise ValueError(f"column {name}: whole numbers expected, found an infinite one")


def with_one_type(table: pa.Table) -> pa.Table:
    """Convert columns of lists to Arrow lists and columns of mappings to JSON text, however the file stores them.

    Args:
        table: the table of a file, with types that `check_types` allows.

    Raises:
        ValueError: a text is not the JSON that its column should hold; the message names the column.
    """
    columns = table.columns
    for i, name in enumerate(table.column_names):
        if name not in _LISTS and name not in MAPPINGS:
            continue
        column = columns[i]
        if name in _LISTS and _is_text(column.type):
            changed = _parsed_lists(name, column)
        elif name in MAPPINGS and _is_text(column.type):
            changed = column.cast(pa.string())
            _parsed(name, changed)
        elif name in MAPPINGS and not pa.types.is_null(column.type):
            texts = [None if cell is None else json.dumps(_mapping(name, cell), ensure_ascii=False) for cell in column.to_pylist()]
            changed = pa.chunked_array([pa.array(texts, pa.string())])
        else:
            continue
        columns[i] = changed
    return pa.table(
        columns, names=table.column_names
    )  # all at once, because setting one column of a wide table takes as long as reading a small file


def _parsed_lists(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = pa.list_(pa.float64() if _LISTS[name] == "number" else pa.string())
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    values, indices = _parsed(name, column)
    try:
        return pa.chunked_array([pa.array(values, kind).take(indices)])
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column {name}: {_rule(name)[0]} expected: {error}") from error


def _parsed(name: str, column: pa.ChunkedArray) -> tuple[list[Any], pa.Array]:
    """Parse the distinct values of a column of JSON text, and index each row's value; most texts of a sweep are equal."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    try:
        values = [json.loads(text) for text in encoded.dictionary.to_pylist()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"column {name}: not JSON: {error}") from error
    for value in values if name in MAPPINGS else ():
        _mapping(name, value)
    if name in _LISTS and not all(isinstance(value, list) for value in values):
        raise ValueError(f"column {name}: {_rule(name)[0]} expected, found other JSON")
    return values, encoded.indices


def _mapping(name: str, cell: Any) -> dict[str, Any]:
    """Convert a cell to a dict: from a JSON object, an Arrow map (pairs), or objects with `key` and `value`, as polars writes them."""
    pairs: Any = cell
    if isinstance(cell, list) and all(isinstance(item, dict) and item.keys() == {"key", "value"} for item in cell):
        pairs = [(item["key"], item["value"]) for item in cell]
    try:
        found = dict(pairs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name}: {_rule(name)[0]} expected, found {str(cell)[:40]}") from error
    is_number = name in _NUMBER_MAPPINGS
    for key, value in found.items():
        fits = (isinstance(value, (int, float)) and not isinstance(value, bool)) if is_number else isinstance(value, str)
        if not isinstance(key, str) or not (value is None or fits):
            raise ValueError(f"column {name}: {_rule(name)[0]} expected, found {str(cell)[:40]}")
    return found


def _rule(name: str) -> tuple[str, Callable[[pa.DataType], bool]]:
    if name in _LISTS:
        is_list = _is_list_of(_is_number if _LISTS[name] == "number" else _is_text)
        return f"lists of {_LISTS[name]}s", lambda kind: _is_text(kind) or is_list(kind)
    if name in MAPPINGS:
        return f"mappings of names to {'numbers' if name in _NUMBER_MAPPINGS else 'texts'}", lambda kind: _is_text(kind) or _is_nested(kind)
    kind = kind_of(name)
    if kind in ("real", "whole"):
        return "numbers", _is_number
    return ("text", _is_text) if kind == "text" else ("anything", lambda kind: True)


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_struct(kind))


def _is_list_of(is_item: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    def is_list(kind: pa.DataType) -> bool:
        return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (pa.types.is_null(kind.value_type) or is_item(kind.value_type))

    return is_list


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


# A file with fewer bytes per row could only serve to fill memory: each result has its own name and numbers, while diverged epochs are
# equal.
_LEAST_ROW_BYTES, _LEAST_EPOCH_BYTES = 8, 0.25


@dataclass(frozen=True)
class Reading:
    """The contents of a list of files."""

    table: pa.Table
    """Rows and columns of all readable files, in the order of the files; a column is null in the rows of a file that lacks it."""
    unreadable: tuple[str, ...]
    """`path: reason` for each file left out; paths are relative to the folder."""


def parquet_files(folder: Path) -> list[Path]:
    """List the `.parquet` files of a folder by name, except hidden (temporary) ones; empty if the folder does not exist.

    Raises:
        ReadError: the folder cannot be listed.
    """
    return [folder / name for name in names_in(folder) if name.endswith(".parquet") and not name.startswith(".")]


def read_files(paths: Iterable[Path], folder: Path, required: Sequence[str], trials: Collection[str] | None = None) -> Reading:
    """Read files with possibly different columns and verify their page checksums.

    Args:
        paths: files to read. One that has vanished is skipped silently: the compactor publishes
            `trials.parquet` before it deletes loose rows, and readers look there last.
        folder: the results folder; messages name files relative to it.
        required: columns without which a file is unreadable.
        trials: keep the rows of these trials only; None keeps all.

    Returns:
        Rows of all readable files and the names of the others. A file is unreadable if it is truncated, empty or damaged, if its schema
        version is unknown, or if its column types contradict the files before it; none of these raises an error.
    """
    tables: list[pa.Table] = []
    unreadable: list[str] = []
    schema = pa.schema([])
    for path in paths:
        try:
            table = _read_file(path, required, trials)
            if not table.schema.equals(schema):
                schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
        except FileNotFoundError:
            continue
        except (pa.ArrowException, OSError, ValueError) as error:
            unreadable.append(f"{path.relative_to(folder).as_posix()}: {_first_line(error)}")
            continue
        tables.append(table)
    table = pa.concat_tables(tables, promote_options="permissive") if tables else schema.empty_table()
    return Reading(table, tuple(unreadable))


def latest_attempts(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows of each trial's highest (attempt, retry), in their order; a missing attempt or retry ranks lowest."""
    if frame.empty:
        return frame
    stamp = frame[["trial_id", "attempt", "retry"]].copy()
    stamp[["attempt", "retry"]] = stamp[["attempt", "retry"]].astype("float64").fillna(-1)
    best = stamp.sort_values(["attempt", "retry"], kind="stable").drop_duplicates("trial_id", keep="last")
    keys = pd.MultiIndex.from_frame(stamp)
    return frame[keys.isin(pd.MultiIndex.from_frame(best))]


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Convert an Arrow table to pandas with Python lists in its cells, which a CSV shows with all digits, unlike NumPy arrays."""
    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            frame[field.name] = pd.Series(table[field.name].to_pylist(), index=frame.index, dtype=object)
    return frame


def _read_file(path: Path, required: Sequence[str], trials: Collection[str] | None) -> pa.Table:
    n_bytes = check_plain(path)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        names = file.schema_arrow.names
        missing = [name for name in required if name not in names]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        version = (file.schema_arrow.metadata or {}).get(b"schema_version")
        if version is not None and version not in {str(known).encode() for known in READABLE_VERSIONS}:
            raise ValueError(f"schema version {version.decode(errors='replace')}, this release reads {_versions()}")
        least = _LEAST_EPOCH_BYTES if "epoch" in names else _LEAST_ROW_BYTES
        if file.metadata.num_rows * least > n_bytes:
            raise ValueError(f"{file.metadata.num_rows} rows in {n_bytes} bytes, more than such a file can hold")
        check_types(file.schema_arrow)
        table = file.read() if trials is None else _read_some(file, trials)
        check_values(table)
        table = with_one_type(table)
    return table.replace_schema_metadata(None)


def _read_some(file: pq.ParquetFile, trials: Collection[str]) -> pa.Table:
    """Read the rows of these trials one row group at a time, because all curves of a large sweep need gigabytes."""
    wanted = pa.array(list(trials), pa.string())
    groups = (file.read_row_group(i) for i in range(file.num_row_groups))
    found = [group.filter(pa.compute.is_in(group["trial_id"].cast(pa.string()), value_set=wanted)) for group in groups]
    return pa.concat_tables(found) if found else file.schema_arrow.empty_table()


def _versions() -> str:
    return ", ".join(str(version) for version in sorted(READABLE_VERSIONS))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
