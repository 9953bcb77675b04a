"""Makes a results folder of any size without training: the trials of a grid file with made-up rows.

    python -m tests.bench.scale.made_sweep FOLDER --vectors 20000 --seeds 5 --epochs 3

Trial ids, manifest, plan, schema and the writer of the compacted files are those of the product. Rows name weights, as real ones do, but
the files of the weights do not exist.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sweep.grid.load import SweepConfig, load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import Trial, trials_of
from sweep.store.files import write_whole
from sweep.store.schema import NESTED, SPLITS, epoch_schema, row_schema
from sweep.store.store import Store
from sweep.store.tables import encode_table

_N_ROWS = 6193
"""Rows of the network that pruning may set to zero."""
_LEVELS = (0.0, 1e-4, 1e-3, 5e-3, 1e-2, 2e-2, 4e-2, 0.1)
"""Sparsity preferences k0."""


def write_grid(folder: Path, n_vectors: int, n_seeds: int) -> Path:
    """Write a grid file with a CSV file of different vectors beside it; every eighth vector has k0 = 0."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    k0 = np.resize(_LEVELS, n_vectors)
    left = rng.permutation(n_vectors) + 0.5
    left *= (1 - k0) / n_vectors
    lines = (f"{a!r},{b!r},{1 - a - b!r}" for a, b in zip(k0.tolist(), left.tolist(), strict=True))
    (folder / "k.csv").write_text("sparsity,left,right\n" + "\n".join(lines) + "\n", encoding="utf-8")
    grid = {
        "name": "scale",
        "problem": {"name": "multidigits", "n_train": 1000},
        "preferences": {"file": "k.csv"},
        "seeds": list(range(n_seeds)),
        "output": str(folder / "results"),
    }
    path = folder / "grid.yaml"
    path.write_text(json.dumps(grid), encoding="utf-8")
    return path


def write_results(config: SweepConfig, n_epochs: int) -> Path:
    """Write manifest, plan, rows and curves of a finished and compacted sweep in which 2 % of the trials diverged and 2 % failed."""
    root = Path(config.output)
    trials = trials_of(config)
    store = Store(root)
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    planned = [{"trial_id": t.trial_id, "study": t.study, "k": t.preference, "seed": t.seed} for t in trials]
    store.write_plan(1, {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", "command": "sweep run grid.yaml", "trials": planned})
    tasks = config.problem.facts.tasks
    order = sorted(range(len(trials)), key=lambda i: trials[i].trial_id)  # as compaction leaves them
    write_whole(root / "trials.parquet", encode_table(_rows(config, [trials[i] for i in order], tasks)))
    write_whole(root / "epochs.parquet", encode_table(_curves([trials[i] for i in order], tasks, n_epochs)))
    return root


def _rows(config: SweepConfig, trials: list[Trial], tasks: tuple[str, ...]) -> pa.Table:
    """Return plausible rows: sparsity rises with k0, each task improves with its share of k, and training noise is added."""
    rng = np.random.default_rng(1)
    n = len(trials)
    k = np.array([trial.preference for trial in trials])
    state = np.array(["ok", "diverged", "error"])[rng.choice(3, n, p=[0.96, 0.02, 0.02])]
    ok = state == "ok"
    level = np.interp(np.log10(np.maximum(k[:, 0], 1e-5)), [-5, -4, -3, -2, -1], [0, 0.12, 0.5, 0.72, 0.8])
    sparsity = np.where(k[:, 0] > 0, np.round((level + 0.01 * rng.random(n)) * _N_ROWS) / _N_ROWS, 0.0)
    compression = 1 + 2.3 * sparsity
    columns: dict[str, Any] = {
        "trial_id": [trial.trial_id for trial in trials],
        "pack_id": [f"pack-{i // 8:08x}-8" for i in range(n)],
        "attempt": np.ones(n, dtype=np.int64),
        "retry": np.zeros(n, dtype=np.int64),
        "state": state,
        "error": [None if text != "error" else "RuntimeError: made up" for text in state],
        "problem": [config.problem.name] * n,
        "model": [config.resolved_studies[0].model] * n,
        "method": [config.resolved_studies[0].method] * n,
        "study": [trial.study for trial in trials],
        "seed": [trial.seed for trial in trials],
        "k": k.tolist(),
        **{f"k_{i}": k[:, i] for i in range(k.shape[1])},
        "objective.sparsity": 118.0 * (1 - sparsity) ** 2 + rng.random(n),
        "sparsity_rate": sparsity,
        "compression_rate": compression,
        "parameter_sharing": compression * (1 - sparsity),
        "n_rows": [_N_ROWS] * n,
        "n_params": [311_490] * n,
        "layer_sparsity": [{"trunk.3": 0.8 * rate, "trunk.6": 1.1 * rate} for rate in sparsity.tolist()],
        "sparsity_reached": np.ones(n, dtype=bool),
        "tying_converged": np.ones(n, dtype=bool),
        "multipliers": k.tolist(),
        "penalty": [64.0] * n,
        "residual": 0.01 * rng.random(n),
        "scalarized": rng.random(n),
        "best_epoch": rng.integers(1, 40, n),
        "n_epochs": [39] * n,
        "wall_s": 5 + rng.random(n),
        "device_s": 4 + rng.random(n),
        "host": ["made-up"] * n,
        "device": ["cpu"] * n,
        "backend": ["cpu"] * n,
        "versions": [{"torch": "2.13.0", "pareto-sweep": "0.1.0"}] * n,
        "weights_sha256": [f"{i:064x}" for i in range(n)],
    }
    share = k[:, 1:] / k[:, 1:].sum(axis=1, keepdims=True)
    for split, gap in zip(SPLITS, (0.0, 0.02, 0.025), strict=True):
        loss = 0.05 + gap + 0.1 * (1 - share) ** 2 + 0.25 * np.maximum(0, sparsity - 0.6)[:, None] + 0.008 * rng.random(share.shape)
        loss = np.where(ok[:, None], loss, np.nan)
        columns |= {f"loss.{split}.{task}": loss[:, i] for i, task in enumerate(tasks)}
        columns |= {f"accuracy.{split}.{task}": 1 - 0.28 * loss[:, i] for i, task in enumerate(tasks)}
        columns[f"accuracy.{split}.mean"] = 1 - 0.28 * loss.mean(axis=1)
    return _table(columns, n, row_schema(tasks))


def _curves(trials: list[Trial], tasks: tuple[str, ...], n_epochs: int) -> pa.Table:
    rng = np.random.default_rng(2)
    n = len(trials) * n_epochs
    columns: dict[str, Any] = {
        "trial_id": np.repeat([trial.trial_id for trial in trials], n_epochs),
        "attempt": np.ones(n, dtype=np.int64),
        "retry": np.zeros(n, dtype=np.int64),
        "epoch": np.tile(np.arange(1, n_epochs + 1), len(trials)),
        "phase": ["sparsify"] * n,
        "learning_rate": [2.5e-3] * n,
        "objective.sparsity": 118 * rng.random(n),
        "wall_s": rng.random(n),
        **{f"loss.{split}.{task}": rng.random(n) for split in SPLITS[:2] for task in tasks},
        **{f"accuracy.validation.{task}": rng.random(n) for task in tasks},
    }
    return _table(columns, n, epoch_schema(tasks))


def _table(columns: dict[str, Any], n: int, schema: pa.Schema) -> pa.Table:
    arrays = [
        pa.array(_cells(columns[field.name], field), field.type) if field.name in columns else pa.nulls(n, field.type) for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _cells(column: Any, field: pa.Field) -> Any:
    """Return lists and mappings as JSON text."""
    return list(map(json.dumps, column)) if field.name in NESTED else column


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vectors", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--no-results", action="store_true", help="the grid file alone")
    asked = parser.parse_args()
    grid = write_grid(asked.folder, asked.vectors, asked.seeds)
    if not asked.no_results:
        write_results(load_config(grid), asked.epochs)


if __name__ == "__main__":
    main()
