"""Synthetic results folders of problems whose exact front is known, and of regression tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_store import preference_grid, trial_row, write_manifest, write_plan, write_row

NOTHING_PRUNED = {
    "objective.sparsity": 0.0,
    **dict.fromkeys(("sparsity_rate", "compression_rate", "parameter_sharing", "sparsity_rate_params", "compression_rate_params")),
    **dict.fromkeys(("n_rows", "removable_params", "removable_macs", "layer_sparsity", "sparsity_reached", "tying_converged")),
}
"""Columns of a trial of a problem without sparsity."""


def no_accuracies(tasks: Sequence[str]) -> dict[str, None]:
    """Accuracy columns of a row without classification tasks."""
    return {f"accuracy.{split}.{name}": None for split in ("train", "validation", "test") for name in (*tasks, "mean")}


def task_objectives(tasks: Sequence[str], unit: str = "") -> list[dict[str, str]]:
    """The manifest's objectives of a problem without sparsity."""
    return [{"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": unit} for task in tasks]


def sphere(k: np.ndarray) -> tuple[np.ndarray, float]:
    """The point of the unit sphere that minimises max_i k_i f_i, and that value: f_i is in proportion to 1 / k_i."""
    value = 1 / np.sqrt((1 / k**2).sum())
    return value / k, float(value)


def write_analytic_store(folder: Path, n_tasks: int = 2, n_trials: int = 24, n_front: int = 60) -> list[dict[str, Any]]:
    """A sweep over the positive part of the unit sphere in n_tasks objectives (a non-convex front), without sparsity.

    Gaps grow from 1e-7 to 3e-2, so some trials are exact; returns the rows.
    """
    tasks = tuple(f"f{i + 1}" for i in range(n_tasks))
    rng = np.random.default_rng(5)
    shares = rng.dirichlet(np.full(n_tasks, 2.0), size=n_trials) * 0.97 + 0.03 / n_tasks
    rows = []
    for i, (share, gap) in enumerate(zip(shares, np.geomspace(1e-7, 3e-2, n_trials), strict=True)):
        point, optimum = sphere(share)
        values = {
            f"{kind}.{split}.{task}": float(f) * (1 + gap)
            for kind in ("loss", "metric")
            for split in ("train", "validation", "test")
            for task, f in zip(tasks, point, strict=True)
        }
        changes = values | no_accuracies(tasks) | NOTHING_PRUNED | {"model": "numbers", "problem": "sphere"}
        changes |= {"scalarized": optimum * (1 + gap), "optimum": optimum}
        changes |= {"anchors": [1.0] * (n_tasks + 1), "reference_point": [0.0] * (n_tasks + 1)}
        rows.append(trial_row(i, [0.0, *share.tolist()], tasks, **changes))
    angles = np.linspace(0, np.pi / 2, n_front)
    curve = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    surface = np.abs(rng.normal(size=(n_front, n_tasks)))
    front = curve if n_tasks == 2 else surface / np.linalg.norm(surface, axis=1, keepdims=True)
    write_store_of(
        folder,
        rows,
        tasks,
        problem={"name": "sphere", "options": {}, "fingerprint": "e" * 64},
        metrics=dict.fromkeys(tasks, "value"),
        objectives=task_objectives(tasks),
        hypervolume_reference=[1.5] * n_tasks,
        reference_point="auto",
        reference_point_values=[0.0] * n_tasks,
        true_front=front.tolist(),
    )
    return rows


def write_owl_store(folder: Path, n_trials: int = 20) -> list[dict[str, Any]]:
    """One task and sparsity, both known exactly: distance = (4 - norm)^2 / 8 for norms up to 4."""
    rows = []
    for i, k0 in enumerate(np.linspace(0.02, 0.98, n_trials)):
        norm = 4 * (1 - k0) * (1 + 1e-5 * i)
        distance = (4 - norm) ** 2 / 8
        losses = {f"{kind}.{split}.distance": distance for kind in ("loss", "metric") for split in ("train", "validation", "test")}
        value = max(k0 * norm, (1 - k0) * distance)
        changes = losses | no_accuracies(["distance"]) | {"objective.sparsity": norm, "scalarized": value, "optimum": value / (1 + 1e-4)}
        rows.append(trial_row(i, [float(k0), 1 - float(k0)], ("distance",), **changes))
    norms = np.linspace(0, 4, 40)
    write_store_of(
        folder,
        rows,
        ("distance",),
        metrics={"distance": "value"},
        hypervolume_reference=[5.0, 3.0],
        true_front=np.stack([norms, (4 - norms) ** 2 / 8], axis=1).tolist(),
    )
    return rows


def write_regression_store(folder: Path, metrics: Mapping[str, str], n_trials: int = 24, **changes: Any) -> list[dict[str, Any]]:
    """A sweep with sparsity whose tasks may be regression: those have `metric` columns, the others accuracies."""
    tasks = tuple(metrics)
    rows = []
    for i, k in enumerate(preference_grid(len(tasks), n_trials)):
        row = trial_row(i, k, tasks)
        for split in ("train", "validation", "test"):
            for task in tasks:
                if metrics[task] != "accuracy":
                    row[f"metric.{split}.{task}"] = float(np.sqrt(row[f"loss.{split}.{task}"]))
                    row[f"accuracy.{split}.{task}"] = None
            known = [row[f"accuracy.{split}.{task}"] for task in tasks if row[f"accuracy.{split}.{task}"] is not None]
            row[f"accuracy.{split}.mean"] = float(np.mean(known)) if known else None
        rows.append(row)
    write_store_of(folder, rows, tasks, metrics=dict(metrics), **changes)
    return rows


def write_store_of(folder: Path, rows: Sequence[Mapping[str, Any]], tasks: Sequence[str], **manifest: Any) -> None:
    """Manifest, plan and loose rows."""
    write_manifest(folder, tasks, **manifest)
    write_plan(folder, rows)
    for row in rows:
        write_row(folder, row, tasks)
