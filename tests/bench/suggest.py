"""Does `sweep suggest` reach the hypervolume of a uniform grid with fewer trials?

    python -m tests.bench.suggest
    python -m tests.bench.suggest --parts exact
    nice -n 10 python -m tests.bench.suggest --parts multidigits --seeds 0 1 --model mdmtn

Each part trains a uniform lattice of preference vectors over all objectives (`preferences: {simplex: {divisions: D}}`) and uses its
hypervolume as the goal. Then it starts again from a coarse lattice and adds vectors in rounds, as `sweep suggest -n N --append` and
`sweep run` would, until it has as many trials as the lattice. It prints the number of trials after which the goal was reached (in
whole rounds), the hypervolume at half of the lattice's trials, and that of a uniform lattice of no more than half as many trials,
which shows the gain from the choice of the vectors alone. Hypervolumes are shares of the goal.

- `exact`: problems with known fronts where every trial is solved exactly, with objectives of equal size and with the first one 10 and
  100 times larger (a sweep's first objective, the GrOWL norm, is some hundred times as large as its losses). The reference is 1.1 times
  the worst value of the front.
- `multidigits`: networks with few epochs, for each seed separately. The reference is the one that `sweep run` fixes: the largest norm
  of the lattice rounded up to two digits, and the losses of a constant guess.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from analysis.pareto.gaps import fill_gaps
from analysis.pareto.indicators import hypervolume

Points = NDArray[np.float64]
Solve = Callable[[Points], Points]
"""Maps preferences of shape (n, n_objectives) to objectives of the same shape; NaN where a trial failed."""
EXACT = {"zdt1": 2, "zdt2": 2, "vlmop2": 2, "quadratics": 2, "dtlz1": 3, "dtlz2": 3}
WORST = {"dtlz1": 0.5}
DIVISIONS = {2: (20, 10, 4), 3: (12, 9, 5)}
"""Divisions of the uniform lattice, of one with no more than half of its vectors, and of the one to start from."""


def lattice(n_objectives: int, divisions: int, floors: Sequence[int]) -> Points:
    """Return the points of a lattice on the simplex with part i at least floors[i] steps, without the one with all weight on the first."""
    from sweep.grid.preferences import _compositions

    return np.array([steps for steps in _compositions(divisions, floors) if steps[0] < divisions]) / divisions


def follow(solve: Solve, start: Points, n_max: int, n_round: int, reference: Points, goal: float) -> tuple[list[int], list[float]]:
    """Return the number of trials and the hypervolume after each round, until the goal is reached with at least half of `n_max` trials."""
    k, values = start, solve(start)
    sizes, volumes = [len(k)], [hypervolume(values, reference)]
    origin = np.zeros(k.shape[1])
    while len(k) < n_max // 2 or (volumes[-1] < goal and len(k) < n_max):
        gaps = fill_gaps(values, k, min(n_round, n_max // 2 - len(k) if len(k) < n_max // 2 else n_max - len(k)), origin, reference)
        if not gaps:
            break
        new = np.array([gap.preference for gap in gaps])
        k, values = np.concatenate([k, new]), np.concatenate([values, solve(new)])
        sizes.append(len(k))
        volumes.append(hypervolume(values, reference))
    return sizes, volumes


def line(name: str, n_uniform: int, goal: float, n_half: int, half: float, sizes: Sequence[int], volumes: Sequence[float]) -> str:
    """Return the result of one case as a line of text."""
    reached = next((n for n, volume in zip(sizes, volumes, strict=True) if volume >= goal), None)
    at_half = max((volume for n, volume in zip(sizes, volumes, strict=True) if n <= n_uniform // 2), default=math.nan)
    share = "not reached" if reached is None else f"reached after {reached} trials ({reached / n_uniform:.2f})"
    return (
        f"{name:28s} uniform {n_uniform:3d}: goal {share}; at half of the trials {at_half / goal:.3f}, "
        f"uniform lattice of {n_half}: {half / goal:.3f}"
    )


def exact_point(function: str, preference: Points, scale: Points) -> Points:
    """Return the Chebyshev optimum of a problem whose objectives are multiplied by a scale."""
    from trainer.problems.analytic.exact import optimum

    k = np.maximum(preference * scale, 1e-12)
    k = k / k.sum()
    return np.asarray(scale * optimum(function, k.tolist()) / k)


def exact() -> None:
    """Measure the problems with known fronts."""
    for function, m in EXACT.items():
        for size in (1, 10, 100):
            scale = np.array([float(size), *[1.0] * (m - 1)])
            reference = 1.1 * scale * WORST.get(function, 1.0)

            def solve(k: Points, function: str = function, scale: Points = scale) -> Points:
                return np.array([exact_point(function, one, scale) for one in k])

            uniform, half, start = (lattice(m, divisions, [1] * m) for divisions in DIVISIONS[m])
            goal, volume = (hypervolume(solve(k), reference) for k in (uniform, half))
            sizes, volumes = follow(solve, start, len(uniform), max(2, len(uniform) // 12), reference, goal)
            print(line(f"{function}, first times {size}", len(uniform), goal, len(half), volume, sizes, volumes), flush=True)


def multidigits(model: str, seeds: Sequence[int], n_train: int, divisions: Sequence[int], n_round: int) -> None:
    """Measure networks on pairs of digits, for each seed separately."""
    from trainer.api import TrialSpec, train
    from trainer.catalog import PROBLEMS
    from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings, TrainingSettings

    entry = PROBLEMS["multidigits"]
    problem = entry.build(entry.options(n_train=n_train, n_validation=1000, n_test=500))
    settings = TrainingSettings(
        learning_rate=5e-3,
        learning_rate_decay=0.8,
        sparsify=SparsifySettings(outer_iterations=2, epochs=2),
        retrain=RetrainSettings(outer_iterations=3, epochs=2),
        growl=GrowlSettings(sparsity_min=0.0),
    )
    names = [task.name for task in problem.tasks]

    def solve_with(seed: int) -> Solve:
        def solve(k: Points) -> Points:
            values = np.full(k.shape, np.nan)
            # Trials of one pack are all dense or all sparse.
            for rows in (np.flatnonzero(k[:, 0] == 0), np.flatnonzero(k[:, 0] > 0)):
                if len(rows):
                    specs = [TrialSpec(str(i), model, "wcal_growl", tuple(k[i].tolist()), seed, settings) for i in rows]
                    for row, result in zip(rows, train(specs, problem), strict=True):
                        if result.state == "ok":
                            values[row] = [result.measurements.sparsity, *(result.measurements.losses["validation"][n] for n in names)]
            return values

        return solve

    for seed in seeds:
        started = time.perf_counter()
        solve = solve_with(seed)
        uniform, half, start = (lattice(3, one, [0, 1, 1]) for one in divisions)
        values = solve(uniform)
        largest = float(np.nanmax(values[:, 0]))
        unit = 10.0 ** (math.floor(math.log10(largest)) - 1)
        reference = np.array([math.ceil(largest / unit) * unit, math.log(10), math.log(10)])
        goal, volume = hypervolume(values, reference), hypervolume(solve(half), reference)
        sizes, volumes = follow(solve, start, len(uniform), n_round, reference, goal)
        print(line(f"multidigits, {model}, seed {seed}", len(uniform), goal, len(half), volume, sizes, volumes))
        curve = ", ".join(f"{n}: {volume / goal:.4f}" for n, volume in zip(sizes, volumes, strict=True))
        print(f"  trials: share of the goal: {curve}; {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["exact", "multidigits"], default=["exact", "multidigits"])
    parser.add_argument("--model", default="mdmtn")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--n-train", type=int, default=1500)
    parser.add_argument("--divisions", type=int, nargs=3, default=[10, 7, 4], help="of the lattice, of one of half its size, of the start")
    parser.add_argument("--round", type=int, default=4, help="vectors added at a time")
    asked = parser.parse_args()
    if "exact" in asked.parts:
        exact()
    if "multidigits" in asked.parts:
        multidigits(asked.model, asked.seeds, asked.n_train, asked.divisions, asked.round)


if __name__ == "__main__":
    main()
