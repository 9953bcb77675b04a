"""The rows and curves of finished trials: published as one file per trial, later compacted into one table."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from sweep.store.files import Blobs, StoreWriteError, UnreadableError, checked_name, is_there, read_whole, write_whole
from sweep.store.folder import COMPACTED, Finding, Folder, Version, problems_of, remove, what_to_do
from sweep.store.manifest import Manifest
from sweep.store.remote.path import StorePath, concurrently
from sweep.store.schema import SchemaError, check_row, epoch_schema, row_schema
from sweep.store.tables import decode_table, encode_table, nested, to_table

_SHA256 = re.compile(r"[0-9a-f]{64}")
KEY_COLUMNS = ("trial_id", "attempt", "retry", "state")
"""The columns that identify a row: the trial, its attempt and retry, and the state in which it ended."""


class Rows:
    """The rows and curves of one results folder.

    Args:
        folder: the results folder.
        manifest: the manifest, whose tasks determine the columns.
        blobs: the store of the rows' weights.
    """

    def __init__(self, folder: Folder, manifest: Manifest, blobs: Blobs) -> None:
        self._folder, self._manifest, self._blobs = folder, manifest, blobs
        self._root = folder.root
        self._tables: dict[str, TableFiles] = {}

    def publish(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]] = (), weights: bytes | None = None) -> None:
        """Publish one finished trial: its weights, then its curves, then its row.

        The row makes the trial complete, so it is written last. Publishing the same (trial, attempt, retry) again does nothing.

        Args:
            row: columns of `row_schema`; missing columns become null. `trial_id`, `attempt`, `retry` and `state` are required;
                `weights_sha256` is filled in if `weights` is given.
            epochs: columns of `epoch_schema`, one mapping per epoch; `trial_id`, `attempt` and `retry` are filled in.
            weights: the content of a safetensors file.

        Raises:
            SchemaError: the row violates the contract.
            StoreWriteError: a file could not be written; the trial is not complete.
        """
        trial_id, attempt, retry = checked_name(row.get("trial_id"), "trial id"), row.get("attempt"), row.get("retry")
        if type(attempt) is not int or type(retry) is not int or min(attempt, retry) < 0:
            raise SchemaError(f"row {trial_id}: attempt and retry are whole numbers >= 0, found {attempt!r} and {retry!r}")
        name = f"{trial_id}.{attempt}-{retry}.parquet"
        if is_there(self._root / "rows" / name):
            return
        if weights is not None:
            row = {**row, "weights_sha256": hashlib.sha256(weights).hexdigest()}
        check_row(row, self._manifest.tasks())
        row_file = encode_table(self._files("rows").made_of([row]))
        curves = [{**epoch, "trial_id": trial_id, "attempt": attempt, "retry": retry} for epoch in epochs]
        epoch_file = encode_table(self._files("epochs").made_of(curves)) if curves else None
        if weights is not None:
            self._blobs.put(weights)
        if epoch_file is not None:
            write_whole(self._root / "epochs" / name, epoch_file)
        write_whole(self._root / "rows" / name, row_file)

    def complete(self, trial_ids: Collection[str] | None = None) -> dict[str, str]:
        """Return the state of each complete trial from its latest row. Unreadable rows do not count (`Store.unreadable` lists them).

        Args:
            trial_ids: read only the loose rows of these trials; None reads those of all trials.
        """
        if self._folder.is_new():
            return {}
        table = self._files("rows").latest_keys(trial_ids)
        return dict(zip(table["trial_id"].to_pylist(), table["state"].to_pylist(), strict=True))

    def read(self, trial_ids: Collection[str] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the latest row of each trial, ordered by trial id. Unreadable rows are left out (`Store.unreadable` lists them).

        The columns in `NESTED` hold lists and mappings, not JSON text.

        Args:
            trial_ids: return only the rows of these trials; None returns all.
            columns: read only these columns and the key columns (trial id, attempt, retry, state); columns in `LATER_COLUMNS` are not
                allowed. None reads all columns.
        """
        rows = self._files("rows").latest(None if columns is None else list(dict.fromkeys((*KEY_COLUMNS, *columns))))
        return nested(rows if trial_ids is None else of_trials(rows, trial_ids))

    def compact(self) -> None:
        """Move loose rows and curves into trials.parquet and epochs.parquet. The caller must hold the lock.

        The new file is read back before it replaces the old one. Then exactly those loose files are removed whose content it contains
        or supersedes. A crash in between leaves rows in both places, and readers use each row once. Unreadable files stay where they
        are.
        """
        self._manifest.raise_version()
        files = self._files("rows")
        rows = files.loose()
        if rows:
            files.publish_compacted(latest_of([*(table for _, table in rows), files.compacted()]))
            remove(version.path for version, _ in rows)
        latest = files.latest(KEY_COLUMNS)
        order = {row["trial_id"]: (row["attempt"], row["retry"]) for row in latest.to_pylist()}
        files = self._files("epochs")
        # Curves are published before their row, so curves of a newer attempt may still receive a row and are not moved yet.
        curves = [(version, table) for version, table in files.loose() if version.order <= order.get(version.id, (-1, -1))]
        if curves:
            files.publish_compacted(merged_curves(files.compacted(), [table for _, table in curves], latest))
            remove(version.path for version, _ in curves)

    def forget(self, trial_ids: Collection[str]) -> None:
        """Remove the rows and curves of these trials, so that they are planned again. The caller must hold the lock."""
        self._manifest.raise_version()
        for folder in COMPACTED:
            files = self._files(folder)
            old = files.compacted()
            kept = [trial_id not in trial_ids for trial_id in old["trial_id"].to_pylist()]
            if not all(kept):
                files.publish_compacted(old.filter(pa.array(kept)))
            remove(version.path for version in self._folder.versions(folder) if version.id in trial_ids)

    def measured(self) -> set[str]:
        """Return the ids of complete trials, except those that ended in `error` after their last epoch."""
        rows = self.read(columns=("n_epochs",)).to_pylist()
        return {row["trial_id"] for row in rows if row["state"] != "error" or row["n_epochs"] is None}

    def every(self) -> list[tuple[StorePath, Callable[[], pa.Table]]]:
        """Return the path of every table of rows and curves, loose and compacted, each with a function that reads it."""
        return [*self._files("rows").every(), *self._files("epochs").every()]

    def wrong(self) -> Iterator[Finding]:
        """Yield the problems of rows that can be read but violate the contract."""
        tasks, blobs = self._manifest.tasks(), set(self._folder.names("blobs"))
        for path, load in self._files("rows").every():
            if problems_of(path, load):
                continue  # `Store.unreadable` reports it
            rows = nested(load()).to_pylist()
            for row in rows:
                sha256 = row["weights_sha256"]
                try:
                    check_row(row, tasks)
                except ValueError as error:
                    hint = "another program may have written it; forget this trial, and the next run trains it again"
                    yield Finding(path, str(error), hint)
                if sha256 is not None and not (_SHA256.fullmatch(sha256) and sha256 in blobs):
                    yield Finding(path, f"row {row['trial_id']}: its weights, blobs/{sha256}, are missing", "restore the blob from a copy")
            if len(rows) != len({row["trial_id"] for row in rows}):
                yield Finding(path, "a trial is in it twice", "harmless: readers take the latest, and the next compaction fixes it")

    def _files(self, kind: str) -> "TableFiles":
        """Return the tables of kind `rows` or `epochs`, whose columns follow from the manifest."""
        if not self._tables:
            tasks = self._manifest.tasks()
            schemas = {"rows": row_schema(tasks), "epochs": epoch_schema(tasks)}
            self._tables = {each: TableFiles(self._folder, each, schema) for each, schema in schemas.items()}
        return self._tables[kind]


class TableFiles:
    """Reads and compacts the tables of one kind, while workers may publish loose ones.

    Unreadable loose files are left out. An unreadable compacted file raises UnreadableError, because too much would be missing.

    Args:
        folder: the results folder.
        kind: `rows` or `epochs`.
        schema: the schema of the tables.
    """

    def __init__(self, folder: Folder, kind: str, schema: pa.Schema) -> None:
        self._folder, self._kind, self._schema = folder, kind, schema
        self._compacted_path = folder.root / COMPACTED[kind]
        self._keys: dict[StorePath, tuple[tuple[int, int, int], pa.Table]] = {}

    def made_of(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Return rows as a table of this kind, with null in missing columns."""
        return to_table(rows, self._schema)

    def latest(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the latest row of each trial, whether loose or compacted."""
        loose = self.loose(columns)  # read first, so that a row which is compacted meanwhile is found in the compacted file
        return latest_of([*(table for _, table in loose), self.compacted(columns)])

    def latest_keys(self, trial_ids: Iterable[str] | None) -> pa.Table:
        """Return the key columns of `latest`, reading only files that have changed since the last call.

        Args:
            trial_ids: read only the loose rows of these trials; None reads all.
        """
        versions = self._folder.versions(self._kind)  # listed first, for the same reason as in `latest`
        if trial_ids is not None:
            wanted = set(trial_ids)
            versions = [version for version in versions if version.id in wanted]
        compacted = self._remembered(self._compacted_path, partial(self.compacted, KEY_COLUMNS))
        return latest_of([*self._known(versions), compacted])

    def loose(self, columns: Sequence[str] | None = None) -> list[tuple[Version, pa.Table]]:
        """Return the loose tables that can be read."""

        def read(version: Version) -> list[tuple[Version, pa.Table]]:
            with contextlib.suppress(UnreadableError, FileNotFoundError):  # `Store.unreadable` reports it, or it has just been compacted
                return [(version, self._read(version, columns))]
            return []

        return [one for found in self._concurrently(read, self._folder.versions(self._kind)) for one in found]

    def compacted(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the compacted table, which is empty if nothing has been compacted.

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
        """Replace the compacted table with `table`, after reading the new file back. The caller must hold the lock.

        Raises:
            StoreWriteError: the file could not be written or read back unchanged; the old file is kept.
        """
        data = encode_table(table)

        def check(aside: StorePath) -> None:
            back = read_whole(aside)
            if back != data or encode_table(decode_table(back, table.schema, aside)) != data:
                problem = "what was read back differs from what was written"
                raise StoreWriteError(problem, aside, "check this disk; nothing was changed or removed")

        write_whole(self._compacted_path, data, check=check)

    def every(self) -> Iterator[tuple[StorePath, Callable[[], pa.Table]]]:
        """Yield the path of every table, loose and compacted, each with a function that reads it."""
        for version in self._folder.versions(self._kind):
            yield version.path, partial(self._read, version)
        yield self._compacted_path, self.compacted

    def _known(self, versions: Iterable[Version]) -> list[pa.Table]:
        """Return the key columns of the loose rows that can be read."""

        def read(version: Version) -> list[pa.Table]:
            with contextlib.suppress(UnreadableError, FileNotFoundError):
                return [self._remembered(version.path, partial(self._read, version, KEY_COLUMNS))]
            return []

        return [table for found in self._concurrently(read, versions) for table in found]

    def _remembered(self, path: StorePath, read: Callable[[], pa.Table]) -> pa.Table:
        """Return the result of `read` for a file, calling it again only if the file has changed.

        A run asks twice a second, and most files never change.
        """
        try:
            status = path.stat()
        except OSError:
            return read()
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._keys.get(path, (None, None))[0] != version:
            self._keys[path] = (version, read())
        return self._keys[path][1]

    def _read(self, version: Version, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one loose file, and check that its content matches its name."""
        table = decode_table(read_whole(version.path), self._schema, version.path, columns)
        keys = {name: table[name].unique().to_pylist() for name in ("trial_id", "attempt", "retry")}
        if list(keys.values()) != [[version.id], [version.attempt], [version.retry]]:
            raise UnreadableError(f"holds another trial than its name says: {keys}", version.path)
        if self._kind == "rows" and table.num_rows != 1:
            raise UnreadableError(f"one row expected, found {table.num_rows}", version.path)
        return table

    def _concurrently(self, read: Callable[[Version], list[Any]], versions: Iterable[Version]) -> Iterable[list[Any]]:
        return concurrently(read, versions, is_remote=self._folder.is_remote)


def latest_of(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the row with the highest (attempt, retry) of each trial, ordered by trial id."""
    table = pa.concat_tables(tables)
    if _is_sorted(table["trial_id"]):  # only a compacted file
        return table.combine_chunks()
    keys = zip(*(table[name].to_pylist() for name in ("trial_id", "attempt", "retry")), strict=True)
    latest: dict[str, tuple[int, int, int]] = {}
    for position, (trial_id, attempt, retry) in enumerate(keys):
        known = latest.get(trial_id)
        if known is None or (attempt, retry) > known[:2]:
            latest[trial_id] = (attempt, retry, position)
    return table.take(pa.array([latest[trial_id][2] for trial_id in sorted(latest)], pa.int64())).combine_chunks()


def _is_sorted(ids: pa.ChunkedArray) -> bool:
    """Return whether the ids are distinct and in ascending order."""
    import pyarrow.compute as pc

    return len(ids) < 2 or bool(pc.all(pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py())


def of_trials(table: pa.Table, trial_ids: Collection[str]) -> pa.Table:
    """Return the rows of these trials."""
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["trial_id"], value_set=pa.array(list(trial_ids), pa.string())))


def merged_curves(old: pa.Table, loose: Sequence[pa.Table], latest: pa.Table) -> pa.Table:
    """Return the curves that belong to the latest rows, ordered by trial id and epoch.

    After a crash between publishing and deleting, loose curves may also be in `old`; the loose ones then replace them.

    Args:
        old: the compacted curves.
        loose: tables of loose curves.
        latest: the key columns of the latest rows.
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
