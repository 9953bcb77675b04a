"""Which setting of the method fills the front best, by the hypervolume of (sparsity rate, losses) over seeds?

    python -m tests.bench.switches step_rules --problem multidigits
    python -m tests.bench.switches retrain --problem multifashion --seeds 0 1 2

The script trains every variant of a comparison on the same vectors: ten k0, log-spaced over the range where the sparsity rate
changes, times two divisions of the rest between the tasks. It prints for each variant

- `hypervolume`: of (1 - SR, test losses of the two tasks) in the box from 0 to (1, 1.5, 1.5) of volume 2.25, mean and standard deviation
  over the seeds; larger is better;
- `levels`: the number of sparsity rates between 5 and 75 % that the ten k0 reach and that are at least 5 points apart, as a mean over
  seeds and divisions;
- the mean sparsity rate at each k0, and the seconds of training per trial.

Results are stored in --out, one file for each variant and seed, so that an interrupted run continues where it stopped.
"""

import argparse
import dataclasses
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings, TrainingSettings

N_K0 = 10
SHARES = (0.3, 0.7)
REFERENCE = (1.0, 1.5, 1.5)
GROWL = GrowlSettings(sparsity_min=0.0)
BASE = TrainingSettings(
    learning_rate=5e-3,
    learning_rate_decay=0.8,
    sparsify=SparsifySettings(outer_iterations=3, epochs=2),
    retrain=RetrainSettings(outer_iterations=4, epochs=2),
    growl=GROWL,
)
SCALED = ("removal",)
"""Comparisons under `scaling: anchors`; the others use raw objectives."""
PROBLEMS: dict[str, dict[str, Any]] = {
    "multidigits": {"n_train": 3000, "n_validation": 1000, "n_test": 1000},
    "multifashion": {"n_train": 2000, "n_validation": 1000, "n_test": 1000},
}


def growl(**changes: Any) -> TrainingSettings:
    return dataclasses.replace(BASE, growl=dataclasses.replace(GROWL, **changes))


COMPARISONS: dict[str, dict[str, TrainingSettings]] = {
    "step_rules": {
        f"{rule}, prox per {prox}": growl(step_rule=rule, prox=prox)
        for rule, prox in (
            ("layer_rms", "epoch"),
            ("layer_rms", "step"),
            ("row_rms", "epoch"),
            ("row_rms", "step"),
            ("row_rms_root", "epoch"),
        )
    },
    "patterns": {
        "spike": BASE,
        "linear": growl(pattern="linear", beta1=0.2),
        "pld": growl(pattern="pld", beta1=0.2),
    },
    "masks": {"epoch": BASE, "phase": growl(masks="phase")},
    "removal": {
        "prox": BASE,
        "prox per step, masks at the end": growl(prox="step", masks="phase"),
        "balance": growl(removal="balance"),
    },
    "retrain": {
        "tasks": BASE,
        "all": dataclasses.replace(BASE, retrain=dataclasses.replace(BASE.retrain, objectives="all")),
    },
    "scalarizations": {
        name: dataclasses.replace(BASE, scalarization=name) for name in ("chebyshev_al", "weighted_sum", "smooth_chebyshev", "paper")
    },
}


def train_variant(
    settings: TrainingSettings, scaling: str, problem_name: str, model: str, seed: int, grid: list[float], path: Path
) -> None:
    """Train all vectors of one variant and seed, and store their results."""
    import torch

    from trainer.api import TrialSpec, train
    from trainer.catalog import PROBLEMS as CATALOG

    torch.set_num_threads(1)
    entry = CATALOG[problem_name]
    problem = entry.build(entry.options(**PROBLEMS[problem_name]))
    tasks = [task.name for task in problem.tasks]
    rows = []
    started = time.perf_counter()
    for share in SHARES:
        vectors = [(k0, (1 - k0) * share, (1 - k0) * (1 - share)) for k0 in grid]
        specs = [TrialSpec(f"{k[0]:.4g}", model, "wcal_growl", k, seed, settings, scaling) for k in vectors]
        for spec, result in zip(specs, train(specs, problem), strict=True):
            measured = result.measurements
            rows.append(
                {
                    "k": spec.preference,
                    "state": result.state,
                    "sparsity_rate": measured.rows and measured.rows.sparsity_rate,
                    "losses": [measured.losses["test"][task] for task in tasks],
                    "accuracy": result.mean_accuracy("test"),
                }
            )
    path.write_text(json.dumps({"seconds": (time.perf_counter() - started) / len(rows), "rows": rows}))


def n_levels(rates: list[float]) -> int:
    """Count the rates between 5 and 75 % that are at least 5 points above the previously counted one."""
    levels: list[float] = []
    for rate in sorted(rate for rate in rates if 0.05 < rate < 0.75):
        if not levels or rate >= levels[-1] + 0.05:
            levels.append(rate)
    return len(levels)


def measure(kept: dict[str, Any]) -> dict[str, Any]:
    """Return hypervolume, levels and mean rates of one variant and seed."""
    from analysis.pareto.indicators import hypervolume

    rows = [row for row in kept["rows"] if row["state"] == "ok"]
    points = np.array([[1 - row["sparsity_rate"], *row["losses"]] for row in rows])
    by_share = [[row["sparsity_rate"] for row in kept["rows"][i * N_K0 : (i + 1) * N_K0]] for i in range(len(SHARES))]
    return {
        "hypervolume": hypervolume(points, list(REFERENCE)),
        "levels": float(np.mean([n_levels(rates) for rates in by_share])),
        "rates": np.mean(by_share, axis=0),
        "seconds": kept["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("--problem", choices=PROBLEMS, default="multidigits")
    parser.add_argument("--model", default="mdmtn")
    parser.add_argument("--k0", type=float, nargs=2, default=[2e-3, 4e-2], metavar=("LOW", "HIGH"), help="range of the ten k0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="only these variants")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    asked = parser.parse_args()
    grid = [float(k0) for k0 in np.geomspace(*asked.k0, N_K0)]
    folder = asked.out / asked.comparison / f"{asked.problem}-{asked.model}-{grid[0]:.2g}-{grid[-1]:.2g}"
    folder.mkdir(parents=True, exist_ok=True)
    variants = {name: settings for name, settings in COMPARISONS[asked.comparison].items() if name in (asked.variants or [name])}
    paths = {(name, seed): folder / f"{name.replace(', ', '-').replace(' ', '-')}.{seed}.json" for seed in asked.seeds for name in variants}
    with ProcessPoolExecutor(asked.workers) as pool:
        jobs = [
            pool.submit(
                train_variant,
                variants[name],
                "anchors" if asked.comparison in SCALED else "none",
                asked.problem,
                asked.model,
                seed,
                grid,
                path,
            )
            for (name, seed), path in paths.items()
            if not path.exists()
        ]
        for job in jobs:
            job.result()
    print(f"{asked.comparison} on {asked.problem}, {asked.model}, seeds {asked.seeds}; k0 = {', '.join(f'{k0:.2g}' for k0 in grid)}")
    print(f"{'variant':28s} {'hypervolume':>17s} {'levels':>6s} {'s/trial':>7s}  mean SR % at each k0")
    for name in variants:
        found = [measure(json.loads(paths[name, seed].read_text())) for seed in asked.seeds]
        volumes = [one["hypervolume"] for one in found]
        rates = " ".join(f"{100 * rate:5.1f}" for rate in np.mean([one["rates"] for one in found], axis=0))
        levels, seconds = (np.mean([one[key] for one in found]) for key in ("levels", "seconds"))
        print(f"{name:28s} {np.mean(volumes):8.4f} +- {np.std(volumes, ddof=1):.4f} {levels:6.1f} {seconds:7.1f}  {rates}")


if __name__ == "__main__":
    main()
