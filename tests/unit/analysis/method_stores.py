"""Synthetic results folders of many studies: what a sweep for the paper's Table I leaves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_parquet, write_plan

from sweep.store.schema import row_schema

NO_PREFERENCE = {"k": None, **{f"k_{i}": None for i in range(6)}}
DENSE_GRID = ([0.0, 0.25, 0.75], [0.0, 0.5, 0.5], [0.0, 0.75, 0.25])
SPARSE_GRID = ([0.01, 0.25, 0.74], [0.01, 0.5, 0.49], [0.001, 0.5, 0.499])


def study(name: str, model: str, method: str, **more: Any) -> dict[str, Any]:
    """A study as the manifest has it; `scalarization` goes into its training."""
    training = {"scalarization": more.pop("scalarization")} if "scalarization" in more else {}
    return {"name": name, "model": model, "method": method, "after": None, "training": training} | more


ALL_STUDIES = (
    study("anchor-runs", "hps", "wcal_growl", seed=0),
    study("hps", "hps", "wcal_growl", scalarization="chebyshev_al"),
    study("hps-sum", "hps", "wcal_growl", scalarization="weighted_sum"),
    study("hps-mgda", "hps", "mgda"),
    study("mdmtn", "mdmtn", "wcal_growl", scalarization="chebyshev_al"),
    study("stl", "stl", "stl"),
    study("search.1", "kdmtl", "kdmtl", candidate_of="search"),
    study("search.2", "kdmtl", "kdmtl", candidate_of="search"),
    study("kdmtl", "kdmtl", "kdmtl", tuned_by="search", after=["stl", "search.1", "search.2"]),
    study("hps-fixed", "hps", "fixed_architecture", after="hps", scalarization="chebyshev_al"),
    study("mdmtn-fixed", "mdmtn", "fixed_architecture", after="mdmtn", scalarization="chebyshev_al"),
)


def grid_of(entry: Mapping[str, Any]) -> tuple[list[float] | None, ...]:
    """Preferences of a study in these stores."""
    if entry["method"] in ("stl", "mgda", "kdmtl"):
        return (None,)
    dense: tuple[list[float] | None, ...] = DENSE_GRID
    return dense if entry["method"] != "wcal_growl" or entry["name"] == "anchor-runs" else (*dense, *SPARSE_GRID)


def study_rows(entry: Mapping[str, Any], seeds: Sequence[int], first: int, tasks: Sequence[str] = TWO_TASKS) -> list[dict[str, Any]]:
    """One row a preference and seed, numbered from `first`; a pack of eight took four seconds."""
    rows = []
    for seed in seeds:
        for k in grid_of(entry):
            number = first + len(rows)
            padded = None if k is None else [*k[:2], *[k[2] / (len(tasks) - 1)] * (len(tasks) - 1)]
            row = trial_row(number, padded or [0.0, *[1 / len(tasks)] * len(tasks)], tasks, seed=seed)
            row |= {name: entry[name] for name in ("model", "method")} | {"study": entry["name"], "problem": "multimnist"}
            row |= {"wall_s": 4.0, "wall_s_sparsify": 1.0, "wall_s_tying": 0.5, "wall_s_retrain": 2.5, "device_s": 0.5}
            if k is None:
                row |= {name: None for name in NO_PREFERENCE if name in row}
            if entry["method"] == "fixed_architecture":
                row |= {"sparsity_rate": 0.5, "compression_rate": 2.0, "parameter_sharing": 1.0}
            rows.append(row)
    return rows


def table_rows(
    studies: Sequence[Mapping[str, Any]] = ALL_STUDIES, seeds: Sequence[int] = (0, 1, 2), tasks: Sequence[str] = TWO_TASKS
) -> list[dict[str, Any]]:
    """Rows of all studies; those of `kdmtl` began from those of `stl`."""
    rows: list[dict[str, Any]] = []
    for entry in studies:
        rows += study_rows(entry, seeds[:1] if entry["name"] == "anchor-runs" else seeds, len(rows), tasks)
    givers = {row["seed"]: row["trial_id"] for row in rows if row["study"] == "stl"}
    return [row | ({"taken_over": [givers[row["seed"]]]} if row["study"] == "kdmtl" and givers else {}) for row in rows]


def write_table_store(
    folder: Path,
    rows: Sequence[Mapping[str, Any]] | None = None,
    studies: Sequence[Mapping[str, Any]] = ALL_STUDIES,
    tasks: Sequence[str] = TWO_TASKS,
    planned: Sequence[Mapping[str, Any]] | None = None,
    **manifest: Any,
) -> list[dict[str, Any]]:
    """Manifest, plan and compacted rows; returns the rows.

    Args:
        rows: default: three seeds of every study.
        studies: the manifest's.
        planned: what the plan asks for; default: the rows.
    """
    found = [dict(row) for row in (table_rows(studies, tasks=tasks) if rows is None else rows)]
    problem = {"name": "multimnist", "options": {}, "fingerprint": "d" * 64}
    write_manifest(folder, tasks, **{"problem": problem, "studies": list(studies), "name": folder.name, **manifest})
    write_plan(folder, found if planned is None else planned)
    write_parquet(folder / "trials.parquet", found, row_schema(tasks))
    return found


def accuracies(validation: float, test: float, tasks: Sequence[str] = TWO_TASKS) -> dict[str, float]:
    """Accuracies of a row, the same for all tasks."""
    values = {"validation": validation, "test": test}
    return {f"accuracy.{split}.{name}": value for split, value in values.items() for name in (*tasks, "mean")}


def t_half_width(values: Sequence[float], quantile: float) -> float:
    """Half of Student's interval, from a quantile looked up in a printed table."""
    return float(quantile * np.std(values, ddof=1) / np.sqrt(len(values)))
