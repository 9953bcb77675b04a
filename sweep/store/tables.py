"""Rows and epochs as Parquet tables: encoding, reading, and compacting many files into one."""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from sweep.store.files import NAME_PATTERN, StoreWriteError, UnreadableError, read_whole, write_whole
from sweep.store.folder import COMPACTED, Folder, Version, what_to_do
from sweep.store.remote.path import RemotePath, StorePath, concurrently
from sweep.store.schema import LATER_COLUMNS, NESTED, READABLE_VERSIONS, SCHEMA_VERSION, SchemaError

_SUM_PREFIX = b"sha256-of-this-file-with-64-zeros-here:"
# A file with less a row would only fill the memory. A result has a name and numbers of its own, diverged epochs are alike.
_LEAST_ROW_BYTES, _LEAST_EPOCH_BYTES = 8, 0.25
_SUM_ZEROS = b"0" * 64


def to_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema; columns that a row does not have are null, lists and mappings are JSON text.

    Raises:
        SchemaError: an unknown column, or a value of another type; the message names it.
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
            raise SchemaError(f"column {field.name}: whole numbers expected, found {values}")  # Arrow would cut off the fraction
        try:
            column = pa.array(values, kind)
            columns.append(_to_text(column) if field.name in NESTED else column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise SchemaError(f"column {field.name}: {kind} expected, found {values}: {error}") from error
    return pa.table(columns, schema=schema)


def nested(table: pa.Table) -> pa.Table:
    """The same rows with lists and mappings in place of their JSON text.

    Raises:
        ValueError: a text is not the JSON of what its column holds; the message names the column.
    """
    for name in NESTED.keys() & set(table.column_names):
        table = table.set_column(table.column_names.index(name), name, _from_text(name, table[name]))
    return table


def _to_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Lists or mappings as JSON text; null stands for a number that is not finite, as JSON has none."""
    texts = [None if value is None else json.dumps(_finite(value, column.type), ensure_ascii=False) for value in column.to_pylist()]
    return pa.array(texts, pa.string())


def _finite(value: Sequence[Any], kind: pa.DataType) -> Any:
    def known(item: Any) -> Any:
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return {key: known(item) for key, item in value} if pa.types.is_map(kind) else [known(item) for item in value]


def _from_text(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    encoded = column.combine_chunks().dictionary_encode()  # most texts of a sweep are alike: each is parsed once
    kind = NESTED[name]
    try:
        values = [json.loads(text) for text in encoded.dictionary.to_pylist()]
        if not all(isinstance(value, dict if pa.types.is_map(kind) else list) for value in values):
            raise ValueError("no such JSON")
        parsed = pa.array([list(value.items()) if isinstance(value, dict) else value for value in values], kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"column {name}: JSON of {kind} expected: {error}") from error
    return pa.chunked_array([parsed.take(encoded.indices)])


def latest_of(tables: Sequence[pa.Table]) -> pa.Table:
    """The row with the highest (attempt, retry) of each trial, in the order of trial ids."""
    table = pa.concat_tables(tables)
    if _is_sorted(table["trial_id"]):  # a compacted file alone
        return table.combine_chunks()
    keys = zip(*(table[name].to_pylist() for name in ("trial_id", "attempt", "retry")), strict=True)
    latest: dict[str, tuple[int, int, int]] = {}
    for position, (trial_id, attempt, retry) in enumerate(keys):
        known = latest.get(trial_id)
        if known is None or (attempt, retry) > known[:2]:
            latest[trial_id] = (attempt, retry, position)
    return table.take(pa.array([latest[trial_id][2] for trial_id in sorted(latest)], pa.int64())).combine_chunks()


def _is_sorted(ids: pa.ChunkedArray) -> bool:
    """Whether each id comes once, in order."""
    import pyarrow.compute as pc

    return len(ids) < 2 or bool(pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py())


def of_trials(table: pa.Table, trial_ids: Collection[str]) -> pa.Table:
    """The rows of these trials."""
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["trial_id"], value_set=pa.array(list(trial_ids), pa.string())))


def merged_curves(old: pa.Table, loose: Sequence[pa.Table], latest: pa.Table) -> pa.Table:
    """The curves that belong to the latest rows, in the order of trial ids and epochs.

    After a crash between publishing and deleting, loose curves are in `old` too: those in `old` give way.
    """
    import pyarrow.compute as pc

    new = pa.concat_tables(loose)
    old = old.filter(pc.invert(pc.is_in(_keys(old), value_set=_keys(new))))
    table = pa.concat_tables([old, new])
    wanted = table.filter(pc.is_in(_keys(table), value_set=_keys(latest)))
    return wanted.sort_by([("trial_id", "ascending"), ("epoch", "ascending")]).combine_chunks()


def _keys(table: pa.Table) -> pa.Array:
    import pyarrow.compute as pc

    parts = (table["trial_id"], table["attempt"].cast(pa.string()), table["retry"].cast(pa.string()))
    return pc.binary_join_element_wise(*parts, "/").combine_chunks()


def encode_table(table: pa.Table) -> bytes:
    """A Parquet file with page checksums, and a checksum of the whole file inside its footer.

    Page checksums leave page headers and the footer unprotected: one flipped byte there can still change a value, or
    crash the reader. So the footer carries the file's own SHA-256, computed with zeros in its place. Other readers
    see one more metadata entry.
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
    """The table in a Parquet file, if every byte of it is as it was written; of whichever version, it has this schema.

    Args:
        data: the whole file.
        schema: what the file must hold: these columns, in this order. A file of an earlier version holds `NESTED`'s types.
        path: for messages.
        columns: read these only; None reads all.

    Raises:
        UnreadableError: torn, damaged, or of another schema; the message names the first difference.
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
        elif "epoch" not in schema.names:  # nothing of the store reads the lists of curves, of which there may be millions
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
        raise UnreadableError("a row without trial id, attempt and retry, or with an id that is no name", path)


def _check_sum(data: bytes, path: StorePath) -> None:
    if len(data) < 12 or data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise UnreadableError(f"torn: {len(data)} bytes that are no whole Parquet file", path)
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


KEY_COLUMNS = ("trial_id", "attempt", "retry", "state")
"""Of rows: which trial, in which run and retry, and how it ended."""


class TableFiles:
    """Reads and compacts the tables of one kind; workers may publish loose ones meanwhile.

    Args:
        folder: the results folder.
        kind: `rows` or `epochs`.
        schema: of the tables.

    Files that cannot be read are left out, but of what was compacted: there UnreadableError is raised, as it would be missed.
    """

    def __init__(self, folder: Folder, kind: str, schema: pa.Schema) -> None:
        self._folder, self._kind, self._schema = folder, kind, schema
        self._compacted_path = folder.root / COMPACTED[kind]
        self._keys: dict[StorePath, tuple[tuple[int, int, int], pa.Table]] = {}

    def made_of(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """A table of this kind; absent columns become null."""
        return to_table(rows, self._schema)

    def latest(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The latest row of each trial, loose or compacted."""
        loose = self.loose(columns)  # first: a row that compaction takes meanwhile is in the compacted file
        return latest_of([*(table for _, table in loose), self.compacted(columns)])

    def latest_keys(self, trial_ids: Iterable[str] | None) -> pa.Table:
        """The key columns of `latest`, of files that changed since the last call only; loose rows of these trials, or of all."""
        versions = self._folder.versions(self._kind)  # first, as above
        if trial_ids is not None:
            wanted = set(trial_ids)
            versions = [version for version in versions if version.id in wanted]
        compacted = self._remembered(self._compacted_path, partial(self.compacted, KEY_COLUMNS))
        return latest_of([*self._known(versions), compacted])

    def loose(self, columns: Sequence[str] | None = None) -> list[tuple[Version, pa.Table]]:
        """The loose tables that can be read."""

        def read(version: Version) -> list[tuple[Version, pa.Table]]:
            with contextlib.suppress(UnreadableError, FileNotFoundError):  # `Store.unreadable` names it; or compaction has just taken it
                return [(version, self._read(version, columns))]
            return []

        return [one for found in self._concurrently(read, self._folder.versions(self._kind)) for one in found]

    def compacted(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What was compacted; an empty table when nothing was.

        Raises:
            UnreadableError: the file is damaged.
        """
        try:
            return decode_table(read_whole(self._compacted_path), self._schema, self._compacted_path, columns)
        except FileNotFoundError:
            return self._schema.empty_table() if columns is None else self._schema.empty_table().select(list(columns))
        except UnreadableError as error:
            raise UnreadableError(error.problem, self._compacted_path, error.hint or what_to_do(self._compacted_path)) from error

    def publish_compacted(self, table: pa.Table) -> None:
        """Put `table` in the place of what was compacted; it is read back first. The caller holds the lock.

        Raises:
            StoreWriteError: the disk did not keep it; the old file stays.
        """
        data = encode_table(table)

        def check(aside: StorePath) -> None:
            back = read_whole(aside)
            if back != data or encode_table(decode_table(back, table.schema, aside)) != data:
                raise StoreWriteError("read back other than it was written", aside, "check this disk; nothing was changed or removed")

        write_whole(self._compacted_path, data, check=check)

    def every(self) -> Iterator[tuple[StorePath, Callable[[], pa.Table]]]:
        """Every table, loose and compacted, and how to read it."""
        for version in self._folder.versions(self._kind):
            yield version.path, partial(self._read, version)
        yield self._compacted_path, self.compacted

    def _known(self, versions: Iterable[Version]) -> list[pa.Table]:
        """The key columns of the loose rows that can be read."""

        def read(version: Version) -> list[pa.Table]:
            with contextlib.suppress(UnreadableError, FileNotFoundError):
                return [self._remembered(version.path, partial(self._read, version, KEY_COLUMNS))]
            return []

        return [table for found in self._concurrently(read, versions) for table in found]

    def _remembered(self, path: StorePath, read: Callable[[], pa.Table]) -> pa.Table:
        """What `read` returned for this file as it is now: a run asks twice a second, and most files never change."""
        try:
            status = path.stat()
        except OSError:
            return read()
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._keys.get(path, (None, None))[0] != version:
            self._keys[path] = (version, read())
        return self._keys[path][1]

    def _read(self, version: Version, columns: Sequence[str] | None = None) -> pa.Table:
        """One loose file, which holds what its name says."""
        table = decode_table(read_whole(version.path), self._schema, version.path, columns)
        found = {name: table[name].unique().to_pylist() for name in ("trial_id", "attempt", "retry")}
        if list(found.values()) != [[version.id], [version.attempt], [version.retry]]:
            raise UnreadableError(f"holds another trial than its name says: {found}", version.path)
        if self._kind == "rows" and table.num_rows != 1:
            raise UnreadableError(f"one row expected, found {table.num_rows}", version.path)
        return table

    def _concurrently(self, read: Callable[[Version], list[Any]], versions: Iterable[Version]) -> Iterable[list[Any]]:
        return concurrently(read, versions, is_remote=isinstance(self._folder.root, RemotePath))
