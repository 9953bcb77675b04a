"""Do the backends train equally good networks? In float32 their trajectories diverge after a few steps.

    python -m tests.bench.backends [--backends loop loop+kernel packed] [--seeds 5] [--model mdmtn] [--n-train 3000]

The problem is MultiDigits (or --problem multifashion) with the quickstart's schedule, with one dense and three sparse trials for
each seed. For each backend the script prints the mean and standard deviation over seeds of the mean test accuracy and of the
sparsity rate, and the paired difference to the first backend with its 95 % interval.
"""

import argparse
import statistics
import time

import torch
from scipy.stats import t as student

from trainer.api import TrainingSettings, TrialSpec, train
from trainer.catalog import PROBLEMS
from trainer.settings import RetrainSettings, SparsifySettings

SETTINGS = TrainingSettings(learning_rate=5e-3, sparsify=SparsifySettings(3, 2), retrain=RetrainSettings(4, 2))
DENSE = ((0.0, 0.5, 0.5),)
SPARSE = ((0.008, 0.496, 0.496), (0.01, 0.3, 0.69), (0.015, 0.6, 0.385))


def measured(problem_name: str, backend: str, model: str, seed: int, n_train: int) -> tuple[float, float]:
    """Return the mean test accuracy of the dense and sparse trials of a seed, and the mean sparsity rate of the sparse ones."""
    entry = PROBLEMS[problem_name]
    parts = {} if problem_name == "multidigits" else {"n_validation": n_train // 5, "n_test": n_train // 5}
    problem = entry.build(entry.options(n_train=n_train, **parts))
    results = []
    for preferences in (DENSE, SPARSE):
        specs = [TrialSpec(str(i), model, "wcal_growl", k, seed, SETTINGS) for i, k in enumerate(preferences)]
        results += train(specs, problem, backend=backend)
    accuracy = statistics.mean(result.mean_accuracy("test") for result in results)
    return accuracy, statistics.mean(result.measurements.rows.sparsity_rate for result in results[len(DENSE) :])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backends", nargs="+", default=["loop", "loop+kernel", "packed"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problem", choices=("multidigits", "multifashion"), default="multidigits")
    parser.add_argument("--model", default="mdmtn")
    parser.add_argument("--n-train", type=int, default=3000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    first: list[float] = []
    of = f"{asked.problem}, {asked.n_train} training samples, {asked.model}, {asked.seeds} seeds"
    print(f"{of}: test accuracy and SR, mean +- deviation, in %")
    for backend in asked.backends:
        started = time.process_time()
        found = [measured(asked.problem, backend, asked.model, seed, asked.n_train) for seed in range(asked.seeds)]
        accuracies, rates = ([100 * value for value in column] for column in zip(*found, strict=True))
        first = first or accuracies
        gaps = [mine - theirs for mine, theirs in zip(accuracies, first, strict=True)]
        spread = statistics.stdev(gaps) if asked.seeds > 1 else float("nan")
        half = float(student.ppf(0.975, asked.seeds - 1)) * spread / asked.seeds**0.5 if asked.seeds > 1 else float("nan")
        deviations = [statistics.stdev(values) if asked.seeds > 1 else float("nan") for values in (accuracies, rates)]
        figures = f"{statistics.mean(accuracies):6.2f} +- {deviations[0]:.2f}   SR {statistics.mean(rates):5.1f} +- {deviations[1]:.1f}"
        gap = f"against {asked.backends[0]} {statistics.mean(gaps):+.2f} +- {half:.2f}"
        print(f"  {backend:16s} {figures}   {gap}   {time.process_time() - started:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
