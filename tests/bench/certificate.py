"""Which rule tells the trials that solve the problem as stated from the others? Analytic problems, whose optimum is known, decide.

    python -m tests.bench.certificate
    python -m tests.bench.certificate --trials 60 --seed 3

The real trainer trains random preference vectors of the problems of configs/theory.yaml from random starts and stops early: the number of
outer iterations is drawn between 1 and 60, log-uniformly. A quarter of the packs has a penalty that grows from 1 to 64, with which some
vectors end in corners of a non-convex front. The table counts, for each rule, the trials that are called converged although they are
further than 1 % from the optimum, and those that are called unconverged although they are within 0.1 %. 504 trials take about four
minutes of one core.
"""

import argparse
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from analysis.measures.convergence import IMPROVABLE, UNCONVERGED
from sweep.grid.load import SweepConfig, load_configs
from trainer.api import TrialSpec, start
from trainer.objectives.certificate import StatedProblem
from trainer.training.trial import Convergence
from trainer.training.two_phase import TwoPhase

FAR, NEAR = 0.01, 0.001
"""Relative distances from the optimum beyond which a trial must not be called converged, and up to which it should be."""
N_IN_PACK = 4
_LEAST_SHARE = 0.02
_MOST_OUTER = 60
_WEAK = {"penalty": 1.0, "penalty_growth": 2.0, "penalty_max": 64.0}


@dataclass(frozen=True)
class StoppedTrial:
    """A trial that was stopped early."""

    problem: str
    gap: float
    """Relative distance of its scalarised value from the optimum."""
    scalarized: float
    convergence: Convergence
    predicted: float
    """Decrease of max g that linear models of the objectives predict within 1 % of each variable's range, a share of max g."""
    perturbed: float
    """Decrease of max g by the best of 200 random perturbations, a share of max g."""


Rule = Callable[[StoppedTrial], bool]
"""Returns whether a trial is called unconverged."""


def _share(residual: float | None, largest: float | None) -> float:
    return math.nan if residual is None or largest is None else residual / max(largest, 1e-300)


RULES: dict[str, Rule] = {
    "earlier releases: residual / scalarized > 10 %": lambda one: one.convergence.residual / one.scalarized > UNCONVERGED,
    "residual / largest > 1 %": lambda one: _share(one.convergence.residual, one.convergence.largest) > FAR,
    "residual / largest > 0.1 %": lambda one: _share(one.convergence.residual, one.convergence.largest) > NEAR,
    "residual_stated / largest_stated > 1 %": lambda one: _share(one.convergence.residual_stated, one.convergence.largest_stated) > FAR,
    "residual_stated / largest_stated > 0.1 %": lambda one: _share(one.convergence.residual_stated, one.convergence.largest_stated) > NEAR,
    "spread_stated / largest_stated > 1 %": lambda one: _share(one.convergence.spread_stated, one.convergence.largest_stated) > FAR,
    "predicted > 1 %": lambda one: one.predicted > FAR,
    "predicted > 0.1 %": lambda one: one.predicted > NEAR,
    "perturbed > 0.3 %": lambda one: one.perturbed > IMPROVABLE,
    "perturbed > 0.01 %": lambda one: one.perturbed > 1e-4,
    f"improvement > {100 * IMPROVABLE:.1f} %": lambda one: (one.convergence.improvement or 0.0) > IMPROVABLE,
}


def stopped_trials(n: int, seed: int, most_outer: int = _MOST_OUTER) -> Iterator[StoppedTrial]:
    """Train `n` trials of random problems, vectors, starts and lengths; the same arguments give the same trials."""
    random = np.random.default_rng(seed)
    configs = load_configs(Path("configs/theory.yaml"))
    for i in range(math.ceil(n / N_IN_PACK)):
        yield from _pack(configs[i % len(configs)], random, min(N_IN_PACK, n - i * N_IN_PACK), most_outer)


def _pack(config: SweepConfig, random: np.random.Generator, n: int, most_outer: int) -> Iterator[StoppedTrial]:
    (study,) = config.resolved_studies
    outer, seed = round(math.exp(random.uniform(0, math.log(most_outer)))), int(random.integers(1000))
    settings = dataclasses.replace(study.training, sparsify=dataclasses.replace(study.training.sparsify, outer_iterations=outer))
    if random.random() < 0.25:
        settings = dataclasses.replace(settings, lagrangian=dataclasses.replace(settings.lagrangian, **_WEAK))
    facts = config.problem.facts
    vectors = [_vector(random, len(facts.objectives)) for _ in range(n)]
    full = [k if facts.has_sparsity else (0.0, *k) for k in vectors]
    problem = config.problem.entry.build(config.problem.options)
    training = start([TrialSpec(str(i), study.model, study.method, k, seed, settings) for i, k in enumerate(full)], problem)
    assert isinstance(training, TwoPhase)
    while not training.done:
        training.step()
    for i, result in enumerate(training.results()):
        leaves = {name: value[i].detach() for name, value in training.pack.parameters.items()}
        stated = training.stated_problem(i, leaves)
        x = torch.cat([value.flatten() for value in leaves.values()])
        measured = result.measurements
        assert measured.scalarized is not None
        assert measured.optimum is not None
        assert measured.convergence is not None
        gap = measured.scalarized / measured.optimum - 1
        others = predicted_decrease(stated, x), perturbed_decrease(stated, x, np.random.default_rng(i))
        yield StoppedTrial(config.problem.name, gap, measured.scalarized, measured.convergence, *others)


def predicted_decrease(stated: StatedProblem, x: Tensor) -> float:
    """Return the decrease of max g in a linear model: min over d of max_i (g_i + grad g_i . d), with d within the box and 1 % of its width.

    A first-order measure of criticality: it vanishes exactly at the points that satisfy the optimality conditions. Sparsity counts as
    constant, because it is not smooth.
    """
    place = x.clone().requires_grad_()
    g = stated.values(place)
    rows = np.stack([torch.autograd.grad(one, place, retain_graph=True, allow_unused=True, materialize_grads=True)[0].numpy() for one in g])
    value, width, at = g.detach().numpy(), np.where(np.isfinite(stated.high), stated.high - stated.low, 1.0), x.numpy()
    bounds = [*zip(np.maximum(stated.low - at, -FAR * width), np.minimum(stated.high - at, FAR * width), strict=True), (None, None)]
    unit = value.max()
    slopes = np.nan_to_num(np.column_stack([rows / unit, -np.ones(len(g))]))
    solved = linprog([*[0.0] * len(at), 1.0], slopes, -value / unit, bounds=bounds)
    return float(1 - solved.x[-1])


def perturbed_decrease(stated: StatedProblem, x: Tensor, random: np.random.Generator) -> float:
    """Return the decrease of max g by the best of 200 normal perturbations of 1e-4 to 0.1 of the box's width."""
    width = np.where(np.isfinite(stated.high), stated.high - stated.low, 1.0)
    sizes = 10.0 ** random.uniform(-4, -1, size=(200, 1)) * width
    moved = np.clip(x.numpy() + sizes * random.normal(size=(200, len(x))), stated.low, stated.high)
    value = stated.largest(x)
    return max(0.0, 1 - min(stated.largest(torch.from_numpy(place)) for place in moved) / value)


def _vector(random: np.random.Generator, n_objectives: int) -> tuple[float, ...]:
    while True:
        k = random.dirichlet(np.ones(n_objectives))
        if k.min() >= _LEAST_SHARE:
            return tuple(float(share) for share in k)


def errors_of(rule: Rule, trials: Sequence[StoppedTrial]) -> tuple[int, int]:
    """Count the trials that a rule falsely calls converged, and those that it falsely calls unconverged."""
    gap: NDArray[np.float64] = np.array([one.gap for one in trials])
    unconverged = np.array([rule(one) for one in trials], dtype=bool)
    return int(((gap > FAR) & ~unconverged).sum()), int(((gap <= NEAR) & unconverged).sum())


def main() -> None:
    """Train the trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=504)
    parser.add_argument("--seed", type=int, default=11)
    asked = parser.parse_args()
    trials = list(stopped_trials(asked.trials, asked.seed))
    n_far, n_near = sum(one.gap > FAR for one in trials), sum(one.gap <= NEAR for one in trials)
    print(f"{len(trials)} trials, {n_far} further than {100 * FAR:g} % from the optimum, {n_near} within {100 * NEAR:g} %")
    print("| called unconverged when | falsely converged | falsely unconverged |")
    print("|---|---:|---:|")
    for name, rule in RULES.items():
        print(f"| {name} | {' | '.join(map(str, errors_of(rule, trials)))} |")


if __name__ == "__main__":
    main()
