"""Small results folders as runs leave them: in the middle of a run, at its end, and for an analytic problem."""

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweep.grid.load import SweepConfig, parse_config
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import Trial, trials_of
from sweep.store.store import Store

_GRIDS: dict[str, dict[str, Any]] = {
    "running": {
        "problem": {"name": "multidigits", "n_train": 512},
        "studies": [
            {"name": "ours", "preferences": {"list": [[0, 0.5, 0.5], [0, 0.3, 0.7], [0.1, 0.45, 0.45], [0.2, 0.4, 0.4]]}},
            {"name": "mgda", "method": "mgda", "seeds": [0, 1, 2]},
        ],
    },
    "ended": {"problem": {"name": "multidigits", "n_train": 512}, "preferences": {"simplex": {"divisions": 4, "k0": [0, 0.1]}}},
    "analytic": {"problem": "analytic/dtlz2", "preferences": {"simplex": {"divisions": 3}}},
}
NAMES = tuple(_GRIDS)


@dataclass(frozen=True)
class BaseStore:
    """A results folder and its grid file."""

    name: str
    folder: Path
    grid: Path


def make_base_stores(root: Path) -> list[BaseStore]:
    """Write all base stores below a folder."""
    return [_make(root, name) for name in NAMES]


def _make(root: Path, name: str) -> BaseStore:
    folder = root / name / "store"
    config = parse_config(_GRIDS[name], name=name, out=folder)
    grid = root / name / "grid.yaml"
    store = Store(folder)
    trials = trials_of(config)
    with store.lock():
        store.create(manifest_of(config, "2026-01-31T12:00:00+00:00") | {"versions": {"python": "3.11"}})
        store.write_plan(1, _plan(config, trials))
        for number, trial in enumerate(trials[:-2] if name == "running" else trials):
            row = _row(config, trial, number)
            epochs = [{"epoch": 1, "phase": "sparsify"}, {"epoch": 2, "phase": "retrain"}]
            store.publish(row, epochs if number < 3 else (), weights=_safetensors({}) if number < 2 else None)
        for trial in trials[:2]:
            sha256 = next(row["weights_sha256"] for row in store.read_rows([trial.trial_id]).to_pylist())
            times = {"1": {"before": 0.6, "after": 0.5}, "256": {"before": 54.0, "after": 20.0}}
            where = {
                "host": "node",
                "processor": "x",
                "torch": "2.13.0",
                "product": "pareto-sweep",
                "measured": "2026-01-31T12:00:00+00:00",
            }
            store.write_latency(trial.trial_id, {"weights_sha256": sha256, "latency_ms": times, **where})
        if name == "ended":
            store.compact()
        if name == "running":
            left = [trial.trial_id for trial in trials[-2:]]
            metadata = {"format": "1", "trial_ids": json.dumps(left), "epoch": "3", "scalars": "{}"}
            store.save_checkpoint("pack-0123abcd-2", 1, 0, _safetensors(metadata))
            live = {"attempt": 1, "retry": 0, "study": "mgda", "trial_ids": left, "host": "node", "started": 1.7e9, "updated": 1.7e9}
            store.write_live(
                "pack-0123abcd-2", live | {"epoch": 3, "n_epochs": 9, "phase": "retrain", "best_metric": 0.5, "sparsity_rate": 0.1}
            )
        lock = (folder / "lock.json").read_bytes()
    if name == "running":
        (folder / "lock.json").write_bytes(lock.replace(b'"host": "', b'"host": "other-'))  # somebody else's, so it may be alive
    grid.write_text(json.dumps(_GRIDS[name] | {"name": name}), encoding="utf-8")  # JSON is YAML
    return BaseStore(name, folder, grid)


def _plan(config: SweepConfig, trials: tuple[Trial, ...]) -> dict[str, Any]:
    asked = [{"trial_id": t.trial_id, "study": t.study, "k": t.preference and list(t.preference), "seed": t.seed} for t in trials]
    return {
        "attempt": 1,
        "started": "2026-01-31T12:00:00+00:00",
        "command": "sweep run grid.yaml",
        "versions": {"python": "3.11"},
        "git_sha": "0" * 40,
        "host": "node",
        "log": "logs/1.log",
        "grid_file": "name: x\n",
        "config": json.loads(config.model_dump_json()),
        "trials": asked,
        "n_complete_before": 0,
    }


def _row(config: SweepConfig, trial: Trial, number: int) -> dict[str, Any]:
    rng = random.Random(number)
    study = next(study for study in config.resolved_studies if study.name == trial.study)
    facts = config.problem.facts
    k = trial.preference
    sparsity = rng.random() / 2 if facts.has_sparsity and not trial.is_dense else 0.0
    row: dict[str, Any] = {
        "trial_id": trial.trial_id,
        "pack_id": "pack-0123abcd-2",
        "attempt": 1,
        "retry": 0,
        "state": "ok",
        "problem": config.problem.name,
        "model": study.model,
        "method": study.method,
        "study": study.name,
        "seed": trial.seed,
        "k": None if k is None else list(k),
        **{f"k_{i}": share for i, share in enumerate(k or ())},
        "objective.sparsity": 100 * (1 - sparsity),
        "sparsity_rate": sparsity,
        "compression_rate": 1.5,
        "parameter_sharing": 1.5 * (1 - sparsity),
        "layer_sparsity": {"trunk.3": sparsity},
        "n_params": 1000,
        "removable_params": round(900 * sparsity),
        "n_macs": 9000,
        "removable_macs": round(8000 * sparsity),
        "compact_bytes": 6000 - round(3000 * sparsity),
        "best_epoch": 2,
        "n_epochs": 2,
        "wall_s": 2.0,
        "device_s": 2.0,
        "host": "node",
        "device": "cpu",
        "versions": {"torch": "2.13.0"},
        "finished_at": datetime(2026, 1, 31, tzinfo=UTC),
    }
    for split in ("train", "validation", "test"):
        for task, metric in facts.metrics.items():
            row[f"loss.{split}.{task}"] = 0.1 + rng.random()
            row[f"accuracy.{split}.{task}" if metric == "accuracy" else f"metric.{split}.{task}"] = rng.random()
        if "accuracy" in facts.metrics.values():
            row[f"accuracy.{split}.mean"] = rng.random()
    if number == 4:
        row |= {"state": "error", "error": "ValueError: the trial's own"}
    if number == 5:
        row |= {"notes": ["layer trunk.3 is all zero"]}
    return row


def _safetensors(metadata: dict[str, str]) -> bytes:
    """Return a safetensors file with one tensor of four float32 numbers."""
    header = {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    text = json.dumps({"__metadata__": metadata, **header} if metadata else header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(16)
