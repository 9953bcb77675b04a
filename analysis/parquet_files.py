"""Reads many Parquet files into one table and names every file that cannot be read."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.column_types import check_types, check_values, with_one_type
from analysis.file_errors import names_in
from analysis.plain_files import check_plain

# A file with less a row would only fill the memory. A result has a name and numbers of its own, diverged epochs are alike.
_LEAST_ROW_BYTES, _LEAST_EPOCH_BYTES = 8, 0.25
READABLE_VERSIONS = frozenset({1, 2, 3})
"""Values of `schema_version` that this release understands."""


@dataclass(frozen=True)
class Reading:
    """What a list of files gave."""

    table: pa.Table
    """The union of the readable files' rows and columns, in the order of the files; a column that a file lacks is null there."""
    unreadable: tuple[str, ...]
    """One `path: reason` for each file left out, relative to the folder read."""


def parquet_files(folder: Path) -> list[Path]:
    """The `.parquet` files of a folder by name; hidden (temporary) ones left out, none if the folder does not exist.

    Raises:
        ReadError: the folder cannot be listed.
    """
    return [folder / name for name in names_in(folder) if name.endswith(".parquet") and not name.startswith(".")]


def read_files(paths: Iterable[Path], folder: Path, required: Sequence[str], trials: Collection[str] | None = None) -> Reading:
    """Read files of possibly different columns, verifying page checksums.

    Args:
        paths: files to read. One that has vanished is left out without a word: the compactor publishes
            `trials.parquet` before it deletes loose rows, and readers look there last.
        folder: the results folder, to name files relative to it.
        required: columns without which a file is unreadable.
        trials: keep the rows of these trials only; None keeps all.

    Returns:
        Rows of all readable files and the names of the others. A torn, empty or damaged file, one of an unknown
        schema version and one whose column types contradict the files before it are unreadable; none of them raises.
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
    """All rows of each trial's highest (attempt, retry), in their order; a missing attempt or retry ranks lowest."""
    if frame.empty:
        return frame
    stamp = frame[["trial_id", "attempt", "retry"]].copy()
    stamp[["attempt", "retry"]] = stamp[["attempt", "retry"]].astype("float64").fillna(-1)
    best = stamp.sort_values(["attempt", "retry"], kind="stable").drop_duplicates("trial_id", keep="last")
    keys = pd.MultiIndex.from_frame(stamp)
    return frame[keys.isin(pd.MultiIndex.from_frame(best))]


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as pandas; the cells of lists are Python's, whose text in a CSV holds every digit, unlike NumPy's."""
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
    """The rows of these trials; one row group at a time, as all curves of a large sweep need gigabytes."""
    wanted = pa.array(list(trials), pa.string())
    groups = (file.read_row_group(i) for i in range(file.num_row_groups))
    found = [group.filter(pa.compute.is_in(group["trial_id"].cast(pa.string()), value_set=wanted)) for group in groups]
    return pa.concat_tables(found) if found else file.schema_arrow.empty_table()


def _versions() -> str:
    return ", ".join(str(version) for version in sorted(READABLE_VERSIONS))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
