"""Does the product place preference vectors better than a fixed grid, at equal numbers of trials and epochs?

    python -m tests.bench.placing --problem multidigits --model hps
    python -m tests.bench.placing --problem multifashion --model mdmtn --seeds 0 1 2

For each seed the script trains n networks with the vectors of four sources:

- `placed`: `preferences: {front: {n: ...}}`, round by round, each seed placed by its own results;
- `paper`: every so many vectors of the paper's grid of 90;
- `simplex`: the points of a regular lattice over all objectives that are spread most evenly;
- `random`: uniform on the simplex.

All are trained under `scaling: anchors` with `growl.removal: balance`. It prints the share of the box from 0 to (1, and the loss of a
constant guess for each task) that (1 - SR, test losses) dominate, as mean and 95 % bootstrap interval over seeds, and the same for the
first half of the placed trials. Results are stored in --out, one file for each source and seed, so that an interrupted run continues.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings, TrainingSettings

SETTINGS = TrainingSettings(
    learning_rate=5e-3,
    learning_rate_decay=0.8,
    sparsify=SparsifySettings(outer_iterations=3, epochs=2),
    retrain=RetrainSettings(outer_iterations=4, epochs=2),
    growl=GrowlSettings(removal="balance", sparsity_min=0.0),
)
PROBLEMS: dict[str, dict[str, Any]] = {
    "multidigits": {"n_train": 3000, "n_validation": 1000, "n_test": 1000},
    "multifashion": {"n_train": 10_000, "n_validation": 2000, "n_test": 2000},
    "multimnist": {},
}
SOURCES = ("placed", "paper", "simplex", "random")
Vector = tuple[float, ...]


def fixed_vectors(source: str, n: int, seed: int) -> list[Vector]:
    """Return n vectors of a source that needs no results, for sparsity and two tasks."""
    from analysis.pareto.neighbors import farthest_points
    from sweep.grid.preferences import Simplex, paper_grid, simplex_grid

    if source == "random":
        return [tuple(k) for k in np.random.default_rng(seed).dirichlet([1, 1, 1], n).tolist()]
    if source == "paper":
        grid = paper_grid()
        return [grid[round(i * len(grid) / n)] for i in range(n)]
    lattice = np.array([k for k in simplex_grid(Simplex(divisions=12), 2) if k[0] < 1])
    return [tuple(k) for k in lattice[np.sort(farthest_points(lattice, n))].tolist()]


def train_source(source: str, problem_name: str, root: str | None, model: str, n: int, seed: int, path: Path) -> None:
    """Train the n vectors of one source with one seed, and store their results."""
    import torch

    from analysis.pareto.placing import Results, end_vectors, next_round
    from trainer.api import TrialSpec, train
    from trainer.catalog import PROBLEMS as CATALOG

    torch.set_num_threads(1)
    entry = CATALOG[problem_name]
    problem = entry.build(entry.options(**PROBLEMS[problem_name], **({"root": root} if root else {})))
    tasks = [task.name for task in problem.tasks]
    rows: list[dict[str, Any]] = []

    def add(vectors: list[Vector]) -> None:
        specs = [TrialSpec(str(len(rows) + i), model, "wcal_growl", k, seed, SETTINGS, "anchors") for i, k in enumerate(vectors)]
        for is_dense in (True, False):
            of_kind = [spec for spec in specs if spec.is_dense is is_dense]
            for spec, result in zip(of_kind, train(of_kind, problem) if of_kind else [], strict=True):
                measured = result.measurements
                rows.append(
                    {
                        "k": spec.preference,
                        "rate": measured.rows.sparsity_rate if measured.rows else None,
                        "sparsity": measured.sparsity,
                        "layers_at_limit": measured.layers_at_limit,
                        "anchors": measured.anchors,
                        "validation": [measured.losses["validation"][task] for task in tasks],
                        "test": [measured.losses["test"][task] for task in tasks],
                    }
                )

    if source == "placed":
        names = ("sparsity", *tasks)
        add([placed.preference for placed in end_vectors(names, has_sparsity=True)])
        n_rounds = 1
        while len(rows) < n:
            values = [[row["sparsity"], *row["validation"]] for row in rows]
            rates = [np.nan if row["rate"] is None else row["rate"] for row in rows]
            done = Results([row["k"] for row in rows], values, rates, np.zeros(3), rows[0]["anchors"])
            vectors = [placed.preference for placed in next_round(names, True, n_rounds, done).placed][: n - len(rows)]
            if not vectors:
                break
            add(vectors)
            n_rounds += 1
    else:
        add(fixed_vectors(source, n, seed))
    path.write_text(json.dumps({"rows": rows, "guess": [task.guess_loss for task in problem.tasks]}))


def hypervolume_of(kept: dict[str, Any], n: int | None = None) -> float:
    """Return the share of the box that the first n trials dominate on test data."""
    from analysis.pareto.indicators import Box

    rows = [row for row in kept["rows"][:n] if row["rate"] is not None]
    return Box((0.0, 0.0, 0.0), (1.0, *kept["guess"])).hypervolume([[1 - row["rate"], *row["test"]] for row in rows])


def text(values: list[float]) -> str:
    """Write a mean and its interval."""
    from analysis.pareto.intervals import bootstrap_mean

    found = bootstrap_mean(values)
    return f"{np.mean(values):.4f}" + ("" if found.low is None else f" [{found.low:.4f}, {found.high:.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", choices=PROBLEMS, default="multidigits")
    parser.add_argument("--root", help="folder of the original data, for problems that need it")
    parser.add_argument("--model", default="mdmtn")
    parser.add_argument("--n", type=int, default=24, help="trials of each source")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/bench"))
    given = parser.parse_args()
    folder = given.out / "placing" / f"{given.problem}-{given.model}-{given.n}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = {(source, seed): folder / f"{source}.{seed}.json" for seed in given.seeds for source in SOURCES}
    with ProcessPoolExecutor(given.workers) as pool:
        jobs = [
            pool.submit(train_source, source, given.problem, given.root, given.model, given.n, seed, path)
            for (source, seed), path in paths.items()
            if not path.exists()
        ]
        for job in jobs:
            job.result()
    stored = {key: json.loads(path.read_text()) for key, path in paths.items()}
    print(f"{given.problem}, {given.model}, {given.n} trials, seeds {given.seeds}: share of the box dominated on test data")
    for source in SOURCES:
        of_source = [stored[source, seed] for seed in given.seeds]
        print(f"{source:12s} {text([hypervolume_of(one) for one in of_source])}")
        if source == "placed":
            half = given.n // 2
            print(f"{f'first {half}':12s} {text([hypervolume_of(one, half) for one in of_source])}")
    rates = [sorted(row["rate"] for row in stored["placed", seed]["rows"]) for seed in given.seeds]
    print(f"largest gap between sparsity rates, placed: {', '.join(f'{100 * np.diff(one).max():.0f}' for one in rates)} points")


if __name__ == "__main__":
    main()
