"""The tables of a results folder: loose files as workers publish them, and the one file a kind that compaction makes of them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from sweep.storage.files import StoreWriteError, UnreadableError, read_whole, write_whole
from sweep.storage.folder import COMPACTED, Folder, Version
from sweep.storage.hints import what_to_do
from sweep.storage.remote import RemotePath, StorePath, concurrently
from sweep.storage.tables import decode_table, encode_table, latest_of, to_table

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
