"""Does a sparse trial train faster from the dense network with its task weights than from the initial network?

    python -m tests.bench.warm_starts
    python -m tests.bench.warm_starts --models hps --k0 4e-2 6e-2 8e-2 1.2e-1 1.6e-1

For each seed the dense trials (k0 = 0) of some task weights train first, with the schedule --baseline. Then every k0 trains with the
same task weights: *cold* from the initial network, as in an ordinary sweep, and *warm* from the kept network of the dense trial whose
task weights are nearest. Each start uses several schedules (warm starts none longer than the baseline). A warm trial differs from a
cold one only in its first weights; batches, multipliers, moments, learning rates, anchors and the limits of the layers are the same.
(The limit of an epoch is an even part of that of phase 1, so a short phase may prune as much as a long one.)

The script prints for each start and schedule, as means and standard deviations over the seeds:

- `hypervolume`: of (1 - SR, test losses of the two tasks) in the box from 0 to (1, 1.5, 1.5) of volume 2.25, of sparse and dense
  trials; larger is better;
- `SR`, `accuracy`, `loss`: means over the sparse trials, the latter two on test data;
- `reached`: the share of trials whose scalarised validation value (max k_t L_t over the tasks, in phase 2, when rows have been removed
  for good) falls to the value at which the cold trial of the same k and seed was kept after the baseline; `epochs`: the median over the
  trials of the epochs until then, phase 1 included; `loss reached` and `epochs`: the same for the mean validation loss. The cold trial of
  the baseline reaches both by definition;
- at each k0: the mean sparsity rate in % and the mean test loss.

Then it prints the difference in hypervolume between warm and cold starts at equal cost in epochs per sparse trial, paired by seed: once
for sweeps that contain the dense trials anyway (warm and cold have the same schedule), and once with the dense trials charged to the
warm starts (cold is interpolated between its schedules).

Results are stored in --out, one file for each model, start, schedule and seed, so that an interrupted run continues where it stopped.
"""

import argparse
import dataclasses
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from sweep.planning.inherit import Vector, nearest_dense
from trainer.settings import GrowlSettings, RetrainSettings, SparsifySettings, TrainingSettings

QUICKSTART = "3x2+4x2"
SCHEDULES = ("2x1+3x1", "3x1+4x1", "3x2+4x1", QUICKSTART, "3x3+4x3")
"""Outer iterations x epochs of phase 1, then of phase 2. The longest shows what more epochs alone would gain."""
SHARES = (0.25, 0.5, 0.75)
"""Shares of the first task among the tasks."""
LEARNING_RATE = 5e-3
REFERENCE = (1.0, 1.5, 1.5)


def settings_of(schedule: str, learning_rate: float) -> TrainingSettings:
    """Return the settings of the quickstart as it was before its vectors were placed (rows removed by the prox), with another schedule."""
    (outer_1, epochs_1), (outer_2, epochs_2) = ([int(number) for number in part.split("x")] for part in schedule.split("+"))
    return TrainingSettings(
        learning_rate=learning_rate,
        learning_rate_decay=0.8,
        sparsify=SparsifySettings(outer_iterations=outer_1, epochs=epochs_1),
        retrain=RetrainSettings(outer_iterations=outer_2, epochs=epochs_2),
        growl=GrowlSettings(sparsity_min=0.0),
    )


def n_epochs(schedule: str) -> int:
    """Return the number of epochs of both phases."""
    settings = settings_of(schedule, 1.0)
    return settings.sparsify.outer_iterations * settings.sparsify.epochs + settings.retrain.outer_iterations * settings.retrain.epochs


class Bench:
    """One model on one problem, and the folder in which its results are stored."""

    def __init__(self, model: str, sizes: Mapping[str, int], k0: Sequence[float], learning_rate: float, baseline: str, out: Path) -> None:
        self._model, self._sizes, self._k0 = model, dict(sizes), list(k0)
        self._learning_rate, self._baseline = learning_rate, baseline
        self._folder = out / "-".join([model, str(sizes["n_train"]), f"{learning_rate:g}", baseline, *(f"{value:g}" for value in k0)])
        self._folder.mkdir(parents=True, exist_ok=True)
        self._problem: Any = None

    def dense(self, seed: int) -> list[dict[str, Any]]:
        """Return the dense trials, whose networks are stored beside their rows."""
        return self._kept_or(f"dense.{seed}", lambda: self._train(0.0, self._baseline, seed, None))

    def sparse(self, start: str, schedule: str, seed: int) -> list[dict[str, Any]]:
        """Return the sparse trials, `cold` or `warm`, in the order of k0 and of the shares."""

        def train() -> list[dict[str, Any]]:
            givers = self._dense_networks(seed) if start == "warm" else None
            return [row for k0 in self._k0 for row in self._train(k0, schedule, seed, givers)]

        return self._kept_or(f"{start}.{schedule}.{seed}", train)

    def _kept_or(self, name: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        path = self._folder / f"{name}.json"
        if not path.exists():
            started = time.perf_counter()
            rows = make()
            path.write_text(json.dumps(rows))
            print(f"{self._model} {name}: {time.perf_counter() - started:.0f} s", flush=True)
        kept: list[dict[str, Any]] = json.loads(path.read_text())
        return kept

    def _network_file(self, seed: int, share: float) -> Path:
        return self._folder / f"dense.{seed}.{share:g}.safetensors"

    def _dense_networks(self, seed: int) -> dict[Vector, dict[str, Any]]:
        from trainer.api import model_tensors

        return {(0.0, share, 1 - share): model_tensors(self._network_file(seed, share).read_bytes()) for share in SHARES}

    def _train(self, k0: float, schedule: str, seed: int, givers: Mapping[Vector, Mapping[str, Any]] | None) -> list[dict[str, Any]]:
        """Train one pack: one k0 with all shares, where each trial starts from its dense trial's network, or all from the initial one."""
        import torch

        from trainer.api import TrialSpec, start

        torch.set_num_threads(1)
        problem = self._built()
        settings = dataclasses.replace(settings_of(schedule, self._learning_rate), warm_start="none" if givers is None else "neighbour")
        preferences = [(k0, (1 - k0) * share, (1 - k0) * (1 - share)) for share in SHARES]
        specs = [TrialSpec(f"{i}", self._model, "wcal_growl", k, seed, settings) for i, k in enumerate(preferences)]
        starts = None if givers is None else [givers[nearest_dense(k, list(givers))] for k in preferences]
        training = start(specs, problem, starts=starts)
        while not training.done:
            training.step()
        rows = []
        for share, spec, result in zip(SHARES, specs, training.results(), strict=True):
            if k0 == 0 and result.weights is not None:
                self._network_file(seed, share).write_bytes(result.weights)
            rows.append(_row(spec.preference, result, [task.name for task in problem.tasks]))
        return rows

    def _built(self) -> Any:
        if self._problem is None:
            from trainer.catalog import PROBLEMS

            entry = PROBLEMS["multidigits"]
            self._problem = entry.build(entry.options(**self._sizes))
        return self._problem


def _row(preference: Any, result: Any, tasks: Sequence[str]) -> dict[str, Any]:
    measured = result.measurements
    phase_2 = [record for record in result.epochs if record.phase != "sparsify"]
    return {
        "k": preference,
        "state": result.state,
        "sparsity_rate": measured.rows and measured.rows.sparsity_rate,
        "losses": [measured.losses["test"][task] for task in tasks],
        "accuracy": result.mean_accuracy("test"),
        "best_epoch": measured.best_epoch,
        "first_epoch": phase_2[0].epoch if phase_2 else None,
        "scalarized": [record.scalarized for record in phase_2],
        "validation": [statistics.mean(record.validation_losses) for record in phase_2],
    }


def hypervolume_of(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the hypervolume of (1 - SR, test losses)."""
    from analysis.pareto.indicators import hypervolume

    return hypervolume(np.array([[1 - row["sparsity_rate"], *row["losses"]] for row in rows if row["state"] == "ok"]), list(REFERENCE))


def epochs_until(rows: Sequence[Mapping[str, Any]], cold: Sequence[Mapping[str, Any]], kind: str) -> list[float]:
    """Return each trial's first epoch of phase 2 with a curve at or below the cold trial's value at its kept epoch; inf for never."""
    found = []
    for row, goal in zip(rows, cold, strict=True):
        if goal["state"] != "ok":
            continue
        target = goal[kind][goal["best_epoch"] - goal["first_epoch"]]
        found.append(next((row["first_epoch"] + i for i, value in enumerate(row[kind]) if value <= target), math.inf))
    return found


def _with_deviation(values: Sequence[float], digits: int = 4) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.{digits}f} +- {deviation:.{digits}f}"


def report(bench: Bench, seeds: Sequence[int], schedules: Sequence[str], baseline: str) -> None:
    """Train what is missing and print the tables of one model."""
    dense = {seed: bench.dense(seed) for seed in seeds}
    starts = [
        (start, schedule)
        for schedule in schedules
        for start in ("cold", "warm")
        if start == "cold" or n_epochs(schedule) <= n_epochs(baseline)
    ]
    # Seed after seed, so that a run that is cut off leaves whole seeds.
    found = {(start, schedule, seed): bench.sparse(start, schedule, seed) for seed in seeds for start, schedule in starts}
    volumes = {key: hypervolume_of([*rows, *dense[key[2]]]) for key, rows in found.items()}
    print(f"dense: accuracy {_with_deviation([statistics.mean(row['accuracy'] for row in dense[seed]) for seed in seeds])}")
    titles = f"{'hypervolume':>17s} {'SR':>15s} {'accuracy':>17s} {'loss':>17s}"
    print(f"{'start':5s} {'schedule':8s} {titles}  reached, epochs;  loss reached, epochs;  at each k0: SR % (loss)")
    for start, schedule in starts:
        of_seed = {seed: [row for row in found[start, schedule, seed] if row["state"] == "ok"] for seed in seeds}
        line = [_with_deviation([volumes[start, schedule, seed] for seed in seeds])]
        line.append(_with_deviation([statistics.mean(row["sparsity_rate"] for row in of_seed[seed]) for seed in seeds], 3))
        line.append(_with_deviation([statistics.mean(row["accuracy"] for row in of_seed[seed]) for seed in seeds]))
        line.append(_with_deviation([statistics.mean(statistics.mean(row["losses"]) for row in of_seed[seed]) for seed in seeds]))
        for kind in ("scalarized", "validation"):
            epochs = [n for seed in seeds for n in epochs_until(found[start, schedule, seed], found["cold", baseline, seed], kind)]
            line.append(f"{100 * statistics.mean(map(math.isfinite, epochs)):5.0f} %, {statistics.median(epochs):4.1f};")
        for k0 in dict.fromkeys(row["k"][0] for row in found["cold", baseline, seeds[0]]):
            rows = [row for seed in seeds for row in of_seed[seed] if row["k"][0] == k0]
            rate, loss = (
                statistics.mean(values)
                for values in ([row["sparsity_rate"] for row in rows], [statistics.mean(row["losses"]) for row in rows])
            )
            line.append(f"{100 * rate:.1f} ({loss:.3f})")
        print(f"{start:5s} {schedule:8s} {' '.join(line)}")
    n_sparse, costs = len(found["cold", baseline, seeds[0]]), [n_epochs(schedule) for schedule in schedules]
    dense_share = n_epochs(baseline) * len(SHARES) / n_sparse
    print(f"the dense trials cost {dense_share:.1f} epochs a sparse trial; hypervolume of warm minus cold:")
    for schedule in (schedule for start, schedule in starts if start == "warm"):
        warm, cost = [volumes["warm", schedule, seed] for seed in seeds], n_epochs(schedule)
        for text, at in (
            ("the same epochs", cost),
            ("the dense trials charged to warm", cost + dense_share),
            ("the baseline", n_epochs(baseline)),
        ):
            if at <= costs[-1]:
                cold = [float(np.interp(at, costs, [volumes["cold", other, seed] for other in schedules])) for seed in seeds]
                print(f"  warm {schedule} against cold at {at:4.1f} epochs ({text}): {_with_deviation(list(np.subtract(warm, cold)))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mdmtn"])
    parser.add_argument(
        "--k0",
        type=float,
        nargs="+",
        default=[5e-3, 8e-3, 1e-2, 1.5e-2, 4e-2],
        help="default: those of the earlier quickstart",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--schedules", nargs="+", default=list(SCHEDULES), metavar="SCHEDULE", help="shortest first")
    parser.add_argument("--baseline", default=QUICKSTART, metavar="SCHEDULE", help="one of the schedules; the dense trials' too")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--sizes", type=int, nargs=3, default=[3000, 1000, 1000], metavar=("TRAIN", "VALIDATION", "TEST"))
    parser.add_argument("--out", type=Path, default=Path("results/bench/warm_starts"))
    asked = parser.parse_args()
    if asked.baseline not in asked.schedules or asked.schedules != sorted(asked.schedules, key=n_epochs):
        parser.error("--schedules expects the shortest first and the baseline among them")
    sizes = dict(zip(("n_train", "n_validation", "n_test"), asked.sizes, strict=True))
    for model in asked.models:
        print(f"\n{model}, multidigits {sizes}, seeds {asked.seeds}, learning rate {asked.learning_rate:g}, k0 = {asked.k0}")
        bench = Bench(model, sizes, asked.k0, asked.learning_rate, asked.baseline, asked.out)
        report(bench, asked.seeds, asked.schedules, asked.baseline)


if __name__ == "__main__":
    main()
