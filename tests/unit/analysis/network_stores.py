"""A synthetic results folder whose first trial has weights: a network like MDMTN's, with suppressed and tied rows."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_parquet, write_plan

from sweep.store.schema import row_schema

PRUNED = ("trunk.3.weight", "trunk.10.weight", "monitors.1.4.weight")


def made_tensors(n_monitor_rows: int = 700) -> dict[str, np.ndarray]:
    """Weights as torch has them, (out, in, ...); of trunk.10 rows 0 and 1 are tied, row 2 is suppressed and row 3 is minus row 0."""
    rng = np.random.default_rng(0)
    tensors = {
        "trunk.0.weight": rng.normal(size=(4, 1, 3, 3)),
        "trunk.3.weight": rng.normal(size=(5, 4, 3, 3)),
        "trunk.10.weight": rng.normal(size=(6, 5)),
        "monitors.0.0.weight": rng.normal(size=(2, 1, 3, 3)),
        "monitors.1.0.weight": rng.normal(size=(2, 1, 3, 3)),
        "monitors.1.4.weight": rng.normal(size=(6, n_monitor_rows)),
        "heads.0.weight": rng.normal(size=(10, 6)),
        "trunk.0.bias": rng.normal(size=4),
    }
    linear = tensors["trunk.10.weight"]
    linear[:, 1], linear[:, 2], linear[:, 3] = linear[:, 0], 0, -linear[:, 0]
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def write_network_store(folder: Path, tensors: dict[str, np.ndarray] | None = None, **metadata: Any) -> list[dict[str, Any]]:
    """A finished sweep of twelve trials; the second one (k0 > 0) has its weights in `blobs/`. Returns the rows."""
    tensors = made_tensors() if tensors is None else tensors
    weighted = {
        name: float((np.moveaxis(t, 1, 0).reshape(t.shape[1], -1) == 0).all(axis=1).mean()) for name, t in tensors.items() if t.ndim > 1
    }
    facts = {"growl_layers": list(PRUNED), "row_dim": 1, "tasks": list(TWO_TASKS), "layer_sparsity": weighted} | metadata
    data = save(tensors, {"pareto-sweep": json.dumps(facts, sort_keys=True)})
    rows = [trial_row(i, k, TWO_TASKS) for i, k in enumerate(preference_grid(2, 12))]
    rows[1]["weights_sha256"] = hashlib.sha256(data).hexdigest()
    rows[2]["weights_sha256"] = None
    write_manifest(folder, TWO_TASKS)
    write_plan(folder, rows)
    write_parquet(folder / "trials.parquet", rows, row_schema(TWO_TASKS))
    (folder / "blobs").mkdir()
    (folder / "blobs" / rows[1]["weights_sha256"]).write_bytes(data)
    return rows
