"""The store's contract: the Arrow schemas of rows and epochs, their version, and the checks before a row is written.

Any change to a column or its meaning raises `SCHEMA_VERSION`. The columns are listed in `analysis.results.columns`, which both the
store and `analysis` use.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from analysis.results.columns import EPOCH_COLUMNS, ROW_COLUMNS, SPARSITY_OBJECTIVE, Column, Kind, epoch_columns, loss_column, row_columns
from analysis.results.columns import SPLITS as SPLITS

SCHEMA_VERSION = 3
READABLE_VERSIONS = frozenset({2, 3})
"""The file versions that the store can read; it writes only `SCHEMA_VERSION`."""
_JSON: dict[Kind, pa.DataType] = {
    "texts": pa.list_(pa.string()),
    "numbers": pa.list_(pa.float64()),
    "number_mapping": pa.map_(pa.string(), pa.float64()),
    "text_mapping": pa.map_(pa.string(), pa.string()),
}
_ARROW: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    **dict.fromkeys(_JSON, pa.string()),
}
NESTED = {column.name: _JSON[column.kind] for column in (*ROW_COLUMNS, *EPOCH_COLUMNS) if column.kind in _JSON}
"""The columns that hold lists or mappings, with their Arrow types. Files store them as JSON text, which pandas, polars, DuckDB, Feather
and CSV all preserve; files of version 2 store the Arrow types themselves."""
LATER_COLUMNS = frozenset(
    {
        *("taken_over", "gradient_cosine", "n_macs", "compact_bytes", "energy_estimated"),
        *("largest", "residual_stated", "spread_stated", "largest_stated", "improvement", "layers_at_limit"),
    }
)
"""Columns that were added without a new version; in files that lack them they are read as null."""
FINAL_STATES = ("ok", "diverged", "error")
_TOLERANCE = 1e-9


class SchemaError(ValueError):
    """A row or a file violates the store's contract."""


def row_schema(tasks: Sequence[str]) -> pa.Schema:
    """Return the schema of `rows/` and `trials.parquet` for a problem with these tasks (`analysis.results.columns`).

    Fractions and ratios are never given in percent. Null means "not measured", and NaN means "diverged". `k` and `k_i` are null for
    methods without a preference. The columns in `NESTED` are JSON text.
    """
    return _schema(row_columns(tasks))


def epoch_schema(tasks: Sequence[str]) -> pa.Schema:
    """Return the schema of `epochs/` and `epochs.parquet`, which hold one row for each epoch of a trial."""
    return _schema(epoch_columns(tasks))


def _schema(columns: Sequence[Column]) -> pa.Schema:
    fields = [(column.name, _ARROW[column.kind]) for column in columns]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION), "product": "pareto-sweep"})


def check_row(row: Mapping[str, Any], tasks: Sequence[str]) -> None:
    """Refuse a row that violates the contract or an identity of the method.

    Raises:
        SchemaError: a column or state is unknown, the preference is not on the simplex, `parameter_sharing` is not
            `compression_rate * (1 - sparsity_rate)`, or an `ok` row lacks an objective; the message names the value.
    """
    unknown = set(row) - set(row_schema(tasks).names)
    if unknown:
        raise SchemaError(f"row {row.get('trial_id')}: unknown columns {sorted(unknown)}")
    if row.get("state") not in FINAL_STATES:
        raise SchemaError(f"row {row.get('trial_id')}: state is one of {', '.join(FINAL_STATES)}, found {row.get('state')!r}")
    k = row.get("k")
    if k is not None and not (k and all(value is not None and value >= 0 for value in k) and abs(math.fsum(k) - 1) <= _TOLERANCE):
        raise SchemaError(f"row {row['trial_id']}: a preference is >= 0 and sums to 1, found {list(k)}")
    rates = [row.get(name) for name in ("sparsity_rate", "compression_rate", "parameter_sharing")]
    if row["state"] == "ok" and None not in rates:
        sparsity, compression, sharing = (float(rate) for rate in rates if rate is not None)
        if not abs(sharing - compression * (1 - sparsity)) <= 1e-9 * max(1.0, compression):
            raise SchemaError(f"row {row['trial_id']}: PS = CR (1 - SR) expected, found SR {sparsity}, CR {compression}, PS {sharing}")
    if row["state"] == "ok":
        needed = (SPARSITY_OBJECTIVE, *(loss_column(split, task) for split in SPLITS for task in tasks))
        missing = [name for name in needed if row.get(name) is None]
        if missing:
            raise SchemaError(f"row {row['trial_id']}: an ok row has every objective, {', '.join(missing)} missing")
