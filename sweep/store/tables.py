"""Rows and epochs as Parquet tables with a fixed schema and checksums, read without trusting the file."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sweep.store.files import NAME_PATTERN, UnreadableError
from sweep.store.remote.path import StorePath
from sweep.store.schema import LATER_COLUMNS, NESTED, READABLE_VERSIONS, SCHEMA_VERSION, SchemaError

_SUM_PREFIX = b"sha256-of-this-file-with-64-zeros-here:"
# The smallest plausible number of file bytes per row; a file with fewer would only fill the memory. Each result has its own name and
# numbers, while the epochs of a diverged trial are all alike and compress well.
_LEAST_ROW_BYTES, _LEAST_EPOCH_BYTES = 8, 0.25
_SUM_ZEROS = b"0" * 64


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table with exactly this schema. Missing columns become null, and lists and mappings become JSON text.

    Raises:
        SchemaError: a column is unknown, or a value has the wrong type; the message names it.
    """
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise SchemaError(f"unknown columns {sorted(unknown)}")
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        kind = NESTED.get(field.name, field.type)
        if pa.types.is_map(kind):
            values = [list(value.items()) if isinstance(value, Mapping) else value for value in values]
        if pa.types.is_integer(kind) and not all(value is None or hasattr(value, "__index__") for value in values):
            raise SchemaError(f"column {field.name}: whole numbers expected, found {values}")  # Arrow would truncate the fraction
        try:
            column = pa.array(values, kind)
            columns.append(_to_text(column) if field.name in NESTED else column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise SchemaError(f"column {field.name}: {kind} expected, found {values}: {error}") from error
    return pa.table(columns, schema=schema)


def nested(table: pa.Table) -> pa.Table:
    """Return the same rows with lists and mappings parsed from their JSON text.

    Raises:
        ValueError: a text is not JSON of the column's type; the message names the column.
    """
    for name in NESTED.keys() & set(table.column_names):
        table = table.set_column(table.column_names.index(name), name, _from_text(name, table[name]))
    return table


def _to_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return lists or mappings as JSON text, with null in place of numbers that are not finite, which JSON cannot represent."""
    texts = [None if value is None else json.dumps(_finite(value, column.type), ensure_ascii=False) for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _finite(value: Sequence[Any], kind: pa.DataType) -> Any:
    def known(item: Any) -> Any:
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return {key: known(item) for key, item in value} if pa.types.is_map(kind) else [known(item) for item in value]


def _from_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    encoded = column.combine_chunks().dictionary_encode()  # most texts of a sweep are equal, so each distinct text is parsed once
    kind = NESTED[name]
    try:
        values = [json.loads(text) for text in encoded.dictionary.to_pylist()]
        if not all(isinstance(value, dict if pa.types.is_map(kind) else list) for value in values):
            raise ValueError("JSON of another type")
        parsed = pa.array([list(value.items()) if isinstance(value, dict) else value for value in values], kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"column {name}: JSON of {kind} expected: {error}") from error
    return pa.chunked_array([parsed.take(encoded.indices)])


def encode_table(table: pa.Table) -> bytes:
    """Return a table as a Parquet file with page checksums, and a checksum of the whole file in its footer.

    Page checksums do not protect page headers and the footer, where one flipped byte can still change a value or crash the reader.
    The footer therefore contains the SHA-256 of the file, computed with zeros in its place. Other readers see it as an additional
    metadata entry.
    """
    import pyarrow.parquet as pq

    small = table.num_rows < 100  # statistics and dictionaries cost more than they save
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, table.schema, compression="snappy", use_dictionary=not small, write_statistics=not small, write_page_checksum=True
    ) as writer:
        writer.write_table(table.combine_chunks())
        writer.add_key_value_metadata({"checksum": (_SUM_PREFIX + _SUM_ZEROS).decode()})
    data = bytearray(sink.getvalue())
    start = data.rindex(_SUM_PREFIX) + len(_SUM_PREFIX)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    return bytes(data)


def decode_table(data: bytes, schema: pa.Schema, path: StorePath, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table from a Parquet file after verifying its checksum. Files of every readable version are converted to `schema`.

    Args:
        data: the content of the file.
        schema: the columns that the file must have, in this order. In files of an earlier version the columns in `NESTED` have their
            Arrow types instead of JSON text.
        path: the path of the file, for error messages.
        columns: read only these columns; None reads all.

    Raises:
        UnreadableError: the file is truncated, damaged, or has another schema; the message names the first differences.
    """
    import pyarrow.parquet as pq

    _check_sum(data, path)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        version = _check_version(file.schema_arrow, path)
        absent = LATER_COLUMNS.intersection(schema.names).difference(file.schema_arrow.names)
        expected = (
            schema if version == SCHEMA_VERSION else pa.schema([field.with_type(NESTED.get(field.name, field.type)) for field in schema])
        )
        _check_schema(file.schema_arrow, pa.schema([field for field in expected if field.name not in absent]), path)
        least = _LEAST_EPOCH_BYTES if "epoch" in schema.names else _LEAST_ROW_BYTES
        if file.metadata.num_rows * least > len(data):
            raise ValueError(f"{file.metadata.num_rows} rows in {len(data)} bytes, more than such a file can hold")
        table = file.read(columns=None if columns is None else list(columns), use_threads=False)
        _check_ids(table, path)
        if version != SCHEMA_VERSION:
            for name in NESTED.keys() & set(table.column_names):
                table = table.set_column(table.column_names.index(name), name, _to_text(table[name]))
        elif (
            "epoch" not in schema.names
        ):  # not checked for curves, of which there may be millions, because the store never reads their lists
            nested(table)
        if columns is None and absent:
            nulls = {name: pa.nulls(table.num_rows, schema.field(name).type) for name in absent}
            table = pa.table({name: nulls[name] if name in absent else table[name] for name in schema.names})
        return table.cast(schema if columns is None else schema.empty_table().select(list(columns)).schema)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise UnreadableError(f"damaged: {error}", path) from error


def _check_ids(table: pa.Table, path: StorePath) -> None:
    import pyarrow.compute as pc

    keys = [table[name] for name in ("trial_id", "attempt", "retry")]
    if any(column.null_count for column in keys) or not pc.all(pc.match_substring_regex(keys[0], f"^{NAME_PATTERN}$"), min_count=0).as_py():
        raise UnreadableError("a row without trial id, attempt and retry, or with an invalid trial id", path)


def _check_sum(data: bytes, path: StorePath) -> None:
    if len(data) < 12 or data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise UnreadableError(f"torn: {len(data)} bytes are not a whole Parquet file", path)
    start = data.rfind(_SUM_PREFIX) + len(_SUM_PREFIX)
    if start < len(_SUM_PREFIX):
        return  # rewritten by another tool: its page checksums, if any, are still verified
    digest = hashlib.sha256(data[:start])
    digest.update(_SUM_ZEROS)
    digest.update(data[start + 64 :])
    if digest.hexdigest().encode() != data[start : start + 64]:
        raise UnreadableError("damaged: its checksum does not match its content", path)


def _check_version(found: pa.Schema, path: StorePath) -> int:
    version = (found.metadata or {}).get(b"schema_version", b"none").decode(errors="replace")
    known = {str(number): number for number in READABLE_VERSIONS}
    if version not in known:
        shown = " and ".join(sorted(known))
        raise UnreadableError(f"schema_version {version}, this program knows {shown}", path, "install the version that wrote it")
    return known[version]


def _check_schema(found: pa.Schema, expected: pa.Schema, path: StorePath) -> None:
    if not found.equals(expected, check_metadata=False):
        columns = {field.name: str(field.type) for field in found}
        wanted = {field.name: str(field.type) for field in expected}
        differing = [name for name in {**wanted, **columns} if columns.get(name) != wanted.get(name)]
        named = ", ".join(f"{name} ({columns.get(name, 'missing')}, expected {wanted.get(name, 'none')})" for name in differing[:3])
        raise UnreadableError(f"columns differ from the manifest's: {named or 'another order'}", path)
