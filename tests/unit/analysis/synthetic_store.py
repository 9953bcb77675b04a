"""A synthetic results folder: what a sweep would leave, with numbers that behave like a real front."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweep.store.schema import epoch_schema, row_schema

TWO_TASKS = ("left", "right")


def preference_grid(n_tasks: int, n_trials: int, seed: int = 0) -> list[list[float]]:
    """`n_trials` preference vectors over sparsity and the tasks; every fourth one has k0 = 0."""
    rng = np.random.default_rng(seed)
    k0 = [0.0, 1e-4, 1e-3, 1e-2]
    grid = []
    for i in range(n_trials):
        shares = rng.dirichlet(np.full(n_tasks, 2.0)) * (1 - k0[i % 4])
        grid.append([1 - float(shares.sum()), *shares.tolist()] if i % 4 else [0.0, *shares.tolist()])
    return grid


def trial_row(number: int, k: Sequence[float], tasks: Sequence[str], /, **changes: Any) -> dict[str, Any]:
    """One `ok` row: sparser with k0, each task better with its share of k."""
    rng = np.random.default_rng(1000 + number)
    level = {0.0: 0.0, 1e-4: 0.12, 1e-3: 0.55, 1e-2: 0.74}[min((0.0, 1e-4, 1e-3, 1e-2), key=lambda k0: abs(k0 - k[0]))]
    sparsity = 0.0 if k[0] == 0 else round((level + 0.006 * rng.random()) * 6193) / 6193
    compression = 1 + 2.3 * sparsity
    row: dict[str, Any] = {
        "trial_id": f"{number:04x}c0ffee{number:04x}",
        "pack_id": f"pack{number // 8:02d}",
        "attempt": 1,
        "retry": 0,
        "state": "ok",
        "problem": "multidigits",
        "model": "mdmtn",
        "method": "wcal_growl",
        "study": "main",
        "seed": 0,
        "k": list(k),
        **{f"k_{i}": share for i, share in enumerate(k)},
        "objective.sparsity": 118.0 * (1 - sparsity) ** 2 + rng.random(),
        "sparsity_rate": sparsity,
        "compression_rate": compression,
        "parameter_sharing": compression * (1 - sparsity),
        "sparsity_rate_params": sparsity * 0.9,
        "compression_rate_params": 1 + 2 * sparsity,
        "n_rows": 6193,
        "n_params": 311490,
        "removable_params": round(250000 * sparsity),
        "removable_macs": round(900000 * sparsity),
        "layer_sparsity": {"trunk.3": sparsity * 0.8, "trunk.6": sparsity * 1.1},
        "sparsity_reached": k[0] == 0 or sparsity > 0.2,
        "tying_converged": True,
        "multipliers": [1 / len(k)] * len(k),
        "penalty": 64.0,
        "residual": 0.01,
        "best_epoch": 30,
        "n_epochs": 39,
        "wall_s": 5.0 + rng.random(),
        "wall_s_sparsify": 1.5,
        "wall_s_tying": 0.2,
        "wall_s_retrain": 3.1,
        "host": "synthetic",
        "device": "cpu",
        "backend": "cpu",
        "versions": {"torch": "2.13.0", "pareto-sweep": "0.1.0"},
        "weights_sha256": f"{number:064x}",
    }
    share = np.array(k[1:]) / sum(k[1:])
    for split, gap in (("train", 0.0), ("validation", 0.02), ("test", 0.025)):
        loss = 0.05 + gap + 0.10 * (1 - share) ** 2 + 0.25 * max(0.0, sparsity - 0.6) + 0.008 * rng.random(len(tasks))
        accuracy = 1 - 0.28 * loss
        row |= {f"loss.{split}.{task}": float(value) for task, value in zip(tasks, loss, strict=True)}
        row |= {f"accuracy.{split}.{task}": float(value) for task, value in zip(tasks, accuracy, strict=True)}
        row[f"accuracy.{split}.mean"] = float(accuracy.mean())
    return row | changes


def write_row(folder: Path, row: Mapping[str, Any], tasks: Sequence[str]) -> Path:
    """Publish one row as the worker does."""
    path = folder / "rows" / f"{row['trial_id']}.{row['attempt']}-{row['retry']}.parquet"
    write_parquet(path, [row], row_schema(tasks))
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows with page checksums, columns that a row lacks null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(rows, schema), path, write_page_checksum=True)


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table, lists and mappings as JSON text where the schema has text; nothing else is checked."""

    def cell(value: Any, kind: pa.DataType) -> Any:
        return json.dumps(value, ensure_ascii=False) if pa.types.is_string(kind) and isinstance(value, (list, dict)) else value

    columns = {field.name: [cell(row.get(field.name), field.type) for row in rows] for field in schema}
    return pa.table(columns, schema=schema)


def write_manifest(folder: Path, tasks: Sequence[str], **changes: Any) -> None:
    """The identity of a sweep over these tasks."""
    objectives = [{"name": "sparsity", "column": "objective.sparsity", "sense": "min", "unit": "GrOWL norm"}]
    objectives += [{"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": "nats"} for task in tasks]
    manifest = {
        "schema_version": 3,
        "name": "synthetic",
        "created": "2026-01-31T12:00:00+00:00",
        "problem": {"name": "multidigits", "options": {"n_train": 1000}, "fingerprint": "f" * 64},
        "tasks": list(tasks),
        "metrics": dict.fromkeys(tasks, "accuracy"),
        "studies": [{"name": "main", "model": "mdmtn", "method": "wcal_growl", "after": None, "training": {}}],
        "scaling": "none",
        "reference_point": [0.0] * (len(tasks) + 1),
        "objectives": objectives,
        "hypervolume_reference": [120.0, *[2.302585] * len(tasks)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest | changes), encoding="utf-8")


def write_plan(folder: Path, rows: Sequence[Mapping[str, Any]], number: int = 1) -> None:
    """The plan that asks for these trials."""
    plan = {
        "attempt": number,
        "started": "2026-01-31T12:00:00+00:00",
        "command": "sweep run grid.yaml",
        "grid_file": "name: synthetic\n",
        "config": {},
        "trials": [{"trial_id": row["trial_id"], "study": row["study"], "k": row["k"], "seed": row["seed"]} for row in rows],
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "git_sha": "0" * 40,
        "host": "synthetic",
    }
    (folder / "plans").mkdir(parents=True, exist_ok=True)
    (folder / "plans" / f"{number}.json").write_text(json.dumps(plan), encoding="utf-8")


def write_epochs(folder: Path, row: Mapping[str, Any], tasks: Sequence[str], n_epochs: int = 3, **changes: Any) -> None:
    """Curves of one trial: losses that fall, one phase after the other from the middle on."""
    rows = []
    for epoch in range(1, n_epochs + 1):
        is_sparse = epoch <= (n_epochs + 1) // 2
        loss = {f"loss.{split}.{task}": 1 / epoch + 0.1 * i for split in ("train", "validation") for i, task in enumerate(tasks)}
        one = {
            **{name: row[name] for name in ("trial_id", "attempt", "retry")},
            "epoch": epoch,
            "phase": "sparsify" if is_sparse else "retrain",
            "sparsity_rate": min(0.5, 0.1 * epoch),
            "multipliers": [1 / 3] * (len(tasks) + 1) if is_sparse else [0.5] * len(tasks),
            **loss,
            **{f"accuracy.validation.{task}": 1 - 0.5 / epoch for task in tasks},
        }
        rows.append(one | changes)
    write_parquet(folder / "epochs" / f"{row['trial_id']}.{row['attempt']}-{row['retry']}.parquet", rows, epoch_schema(tasks))


def write_store(folder: Path, n_trials: int = 24, tasks: Sequence[str] = TWO_TASKS, compacted: bool = False) -> list[dict[str, Any]]:
    """A finished sweep: manifest, one plan, rows (loose or compacted), curves of the first trial; returns the rows."""
    write_manifest(folder, tasks)
    rows = [trial_row(i, k, tasks) for i, k in enumerate(preference_grid(len(tasks), n_trials))]
    write_plan(folder, rows)
    if compacted:
        write_parquet(folder / "trials.parquet", rows, row_schema(tasks))
    else:
        for row in rows:
            write_row(folder, row, tasks)
    if rows:
        write_epochs(folder, rows[0], tasks)
    return rows
