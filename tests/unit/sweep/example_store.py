"""A small results folder for tests of the store: its manifest, rows, curves and checkpoints."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from sweep.store.store import Store

TASKS = ("left", "right")


def manifest_of_a_sweep(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 3,
        "name": "quickstart",
        "created": "2026-01-31T12:00:00+00:00",
        "problem": {"name": "multidigits", "options": {"n_train": 3000}, "fingerprint": "ab12"},
        "tasks": list(TASKS),
        "metrics": {"left": "accuracy", "right": "accuracy"},
        "studies": [{"name": "main", "model": "mdmtn", "method": "wcal_growl", "after": None, "training": {"epochs": 3}}],
        "scaling": "none",
        "reference_point": [0.0, 0.0, 0.0],
        "objectives": [
            {"name": "sparsity", "column": "objective.sparsity", "sense": "min", "unit": "GrOWL norm"},
            *({"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": "nats"} for task in TASKS),
        ],
        "hypervolume_reference": None,
        **changes,
    }


def row_of(trial_id: str, attempt: int = 1, retry: int = 0, **changes: Any) -> dict[str, Any]:
    losses = {f"loss.{split}.{task}": 0.25 for split in ("train", "validation", "test") for task in TASKS}
    return {
        "trial_id": trial_id,
        "attempt": attempt,
        "retry": retry,
        "state": "ok",
        "k": [0.5, 0.25, 0.25],
        "objective.sparsity": 100.0 * attempt + retry,
        **losses,
        **changes,
    }


def epochs_of(n_epochs: int, loss: float = 0.5) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "phase": "dense", "loss.train.left": loss} for epoch in range(1, n_epochs + 1)]


def safetensors_of(trial_ids: Any = ("a",), epoch: Any = 3, n_bytes: int = 8) -> bytes:
    """A safetensors file with one tensor of bytes."""
    notes = {"trial_ids": json.dumps(trial_ids), "epoch": json.dumps(epoch)}
    header = json.dumps({"__metadata__": notes, "x": {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\1" * n_bytes


def row_path(store: Store, trial_id: str, attempt: int = 1, retry: int = 0) -> Path:
    return store.root / "rows" / f"{trial_id}.{attempt}-{retry}.parquet"


def curves(store: Store) -> dict[str, list[float]]:
    """trial_id -> the training losses in epochs.parquet."""
    table = pq.read_table(store.root / "epochs.parquet")
    found: dict[str, list[float]] = {}
    for row in table.to_pylist():
        found.setdefault(row["trial_id"], []).append(row["loss.train.left"])
    return found
