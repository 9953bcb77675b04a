"""The store's contract: Arrow schemas of rows and epochs, their version, and what is checked before a row is written.

A changed column or a changed meaning raises `SCHEMA_VERSION`. `analysis` reads the same columns without importing
this module: the names below are the contract between the two rooms.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 3
READABLE_VERSIONS = frozenset({2, 3})
"""Versions of files that the store reads; it writes `SCHEMA_VERSION` alone."""
NESTED = {
    **dict.fromkeys(("notes", "taken_over"), pa.list_(pa.string())),
    **dict.fromkeys(("k", "multipliers", "gradient_cosine", "anchors", "reference_point"), pa.list_(pa.float64())),
    "layer_sparsity": pa.map_(pa.string(), pa.float64()),
    "versions": pa.map_(pa.string(), pa.string()),
}
"""Columns of lists and mappings. Files hold them as JSON text, which pandas, polars, DuckDB, Feather and CSV all carry unchanged; files of
version 2 hold these Arrow types."""
LATER_COLUMNS = frozenset({"taken_over", "gradient_cosine", "n_macs", "compact_bytes", "energy_estimated"})
"""Columns that came without a new version: files without them are read as if they held nulls."""
SPLITS = ("train", "validation", "test")
FINAL_STATES = ("ok", "diverged", "error")
_TOLERANCE = 1e-9


class SchemaError(ValueError):
    """A row or a file that does not keep the store's contract."""


def row_schema(tasks: Sequence[str]) -> pa.Schema:
    """The columns of `rows/` and `trials.parquet` for a problem with these tasks, in order.

    Fractions and ratios are never percent; null means "not measured", NaN means "diverged". `k` and `k_i` are null for
    methods without a preference. The columns of `NESTED` are JSON text.
    """
    real, whole, text = pa.float64(), pa.int64(), pa.string()
    fields: list[tuple[str, pa.DataType]] = [
        ("trial_id", text),
        ("pack_id", text),
        ("attempt", whole),
        ("retry", whole),
        ("state", text),
        ("error", text),
        ("notes", text),  # what a reader should know of this trial; null when there is nothing
        ("taken_over", text),  # trials whose network this one began from or learned from; null for none
        ("problem", text),
        ("model", text),
        ("method", text),
        ("study", text),
        ("seed", whole),
        ("k", text),
        *((f"k_{i}", real) for i in range(len(tasks) + 1)),
        ("objective.sparsity", real),
        *((f"loss.{split}.{task}", real) for split in SPLITS for task in tasks),
        *((f"accuracy.{split}.{name}", real) for split in SPLITS for name in (*tasks, "mean")),
        *((f"metric.{split}.{task}", real) for split in SPLITS for task in tasks),
        ("sparsity_rate", real),  # zero rows / rows
        ("compression_rate", real),  # rows / unique rows
        ("parameter_sharing", real),  # non-zero rows / unique rows
        ("sparsity_rate_params", real),
        ("compression_rate_params", real),
        ("parameter_sharing_params", real),
        ("n_rows", whole),
        ("n_params", whole),
        ("n_macs", whole),  # multiply-adds a sample of the network as it was trained
        ("removable_params", whole),  # what compression removes, tied rows kept once
        ("removable_macs", whole),
        ("compact_bytes", whole),  # the compressed network as a file
        ("layer_sparsity", text),
        ("sparsity_reached", pa.bool_()),
        ("tying_converged", pa.bool_()),
        ("multipliers", text),
        ("penalty", real),
        ("residual", real),  # ||max(g - t, -multipliers / penalty)||_inf at the end, in units of g
        ("spread", real),  # largest minus least active g at the end
        ("gradient_cosine", text),  # between the tasks' gradients of the shared weights, a pair of tasks each
        ("scalarized", real),  # max_i g_i on validation data of the kept model
        ("optimum", real),  # the exact least max_i g_i for this k, where it is known (analytic problems)
        ("anchors", text),  # what each objective was divided by in g; ones for scaling `none`
        ("reference_point", text),  # a, in units of the scaled objectives
        ("best_epoch", whole),
        ("n_epochs", whole),
        ("wall_s", real),
        ("wall_s_sparsify", real),
        ("wall_s_tying", real),
        ("wall_s_retrain", real),
        ("device_s", real),  # this trial's share of its pack's seconds
        ("peak_memory_mb", real),
        ("energy_wh", real),  # of those seconds; null where nothing counts it
        ("energy_estimated", pa.bool_()),  # whether others used the device too; null where energy_wh is
        ("host", text),
        ("device", text),
        ("backend", text),
        ("versions", text),
        ("weights_sha256", text),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION), "product": "pareto-sweep"})


def epoch_schema(tasks: Sequence[str]) -> pa.Schema:
    """The columns of `epochs/` and `epochs.parquet`: one row an epoch and trial."""
    real, whole, text = pa.float64(), pa.int64(), pa.string()
    fields: list[tuple[str, pa.DataType]] = [
        ("trial_id", text),
        ("attempt", whole),
        ("retry", whole),
        ("epoch", whole),  # 1, 2, ... over both phases
        ("phase", text),  # sparsify | retrain | dense
        ("outer_iteration", whole),
        ("learning_rate", real),
        ("penalty", real),
        ("multipliers", text),
        ("residual", real),
        ("objective.sparsity", real),
        ("sparsity_rate", real),
        *((f"loss.{split}.{task}", real) for split in SPLITS[:2] for task in tasks),
        *((f"accuracy.validation.{task}", real) for task in tasks),
        ("scalarized", real),
        ("wall_s", real),
    ]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION), "product": "pareto-sweep"})


def check_row(row: Mapping[str, Any], tasks: Sequence[str]) -> None:
    """Refuse a row that breaks an identity of the method.

    Raises:
        SchemaError: an unknown column or state, a preference off the simplex, `parameter_sharing` that is not
            `compression_rate * (1 - sparsity_rate)`, or an `ok` row without an objective; the message names the value.
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
        needed = ("objective.sparsity", *(f"loss.{split}.{task}" for split in SPLITS for task in tasks))
        missing = [name for name in needed if row.get(name) is None]
        if missing:
            raise SchemaError(f"row {row['trial_id']}: an ok row has every objective, {', '.join(missing)} missing")
