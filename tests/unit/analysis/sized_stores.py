"""A synthetic results folder whose rows say what compression keeps, and latencies of some of its trials."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_parquet, write_plan

from sweep.store.schema import row_schema

MACHINE = {"host": "node-1", "processor": "A Processor <of> 3 GHz", "torch": "2.13.0", "product": "pareto-sweep 0.1.0"}


def write_sized_store(folder: Path, n_trials: int = 24, **changes: Any) -> list[dict[str, Any]]:
    """A finished sweep; returns the rows. `changes` are columns of all of them."""
    rows = [sized_row(i, k) | changes for i, k in enumerate(preference_grid(2, n_trials))]
    write_manifest(folder, TWO_TASKS)
    write_plan(folder, rows)
    write_parquet(folder / "trials.parquet", rows, row_schema(TWO_TASKS))
    return rows


def sized_row(number: int, k: Sequence[float]) -> dict[str, Any]:
    """What compression removes grows with the sparsity."""
    row = trial_row(number, k, TWO_TASKS)
    sparsity = row["sparsity_rate"]
    return row | {"n_macs": 1_345_000, "compact_bytes": round(4 * (311_490 - 250_000 * sparsity)) + 14_000}


def write_latency(folder: Path, row: dict[str, Any], **changes: Any) -> Path:
    """What `sweep measure` writes of a trial; a change to None leaves the key out."""
    sparsity = row["sparsity_rate"]
    times = {"1": {"before": 0.6, "after": 0.55 - 0.1 * sparsity}, "256": {"before": 54.0, "after": 52.0 - 40 * sparsity}}
    record = {
        "trial_id": row["trial_id"],
        "weights_sha256": row["weights_sha256"],
        "latency_ms": times,
        **MACHINE,
        "measured": "2026-01-31T12:00:00+00:00",
        **changes,
    }
    path = folder / "latency" / f"{row['trial_id']}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({name: item for name, item in record.items() if item is not None}), encoding="utf-8")
    return path
