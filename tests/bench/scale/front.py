"""Compares the eps-filter with the exact filters of moocore and pymoo on the same points."""

from argparse import Namespace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import moocore
import numpy as np
from numpy.typing import NDArray

from analysis.pareto.dominance import eps_nondominated, slack
from tests.bench.scale.figures import seconds, show

_ROUNDS = 3
_TIMES_MOOCORE = 10.0


def uniform_cube(n: int) -> NDArray[np.float64]:
    """Return uniform points of shape (n, 3), whose front has about a hundred points."""
    return np.random.default_rng(0).random((n, 3))


def sphere(n: int, share: float = 0.3) -> NDArray[np.float64]:
    """Return points of shape (n, 3): the given share is on the surface of a sphere, which is the front, and the others are behind it."""
    rng = np.random.default_rng(0)
    directions = np.abs(rng.normal(size=(n, 3)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = np.where(rng.permutation(n) < share * n, 1.0, rng.uniform(0.5, 0.999, n))
    return np.asarray(1 - directions * radius[:, None])


def measure(folder: Path, asked: Namespace) -> None:
    """Measure both sets; the cube has ten times as many points as there are trials, since its front is thin."""
    n = asked.trials
    _beside("cube", uniform_cube(10 * n))
    _beside("sphere", sphere(n))
    near = sphere(n, share=0.03)
    show("slack of all points, a sphere with 3 % on the front (the report's slider)", seconds(lambda: slack(near)), "s")


def _beside(name: str, values: NDArray[np.float64]) -> None:
    exact = seconds(lambda: moocore.is_nondominated(values, keep_weakly=True), _ROUNDS)
    n_front = int(eps_nondominated(values).sum())
    show(f"{name} {len(values):,} x 3, {n_front:,} on the front: moocore, exact", exact, "s")
    theirs = _pymoo(values, exact)
    for eps in (0.0, 0.01, 0.1):
        ours = seconds(partial(eps_nondominated, values, eps), _ROUNDS)
        ratios = f"{ours / exact:.1f} times moocore" + (f", {ours / theirs:.2f} times pymoo" if theirs else "")
        show(f"  eps_nondominated, eps = {eps:g}", ours, "s", min(_TIMES_MOOCORE * exact, theirs or np.inf), ratios)


def _pymoo(values: NDArray[np.float64], exact: float) -> float | None:
    """Return the seconds of pymoo's non-dominated sorting when only the front is requested; None if pymoo is not installed."""
    if find_spec("pymoo") is None:
        print("  pymoo is not installed (pip install 'pareto-sweep[moead]')")
        return None
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting, find_non_dominated

    sorting = seconds(lambda: NonDominatedSorting().do(values, only_non_dominated_front=True), _ROUNDS)
    show("  pymoo, NonDominatedSorting: its first front", sorting, "s", note=f"{sorting / exact:.1f} times moocore")
    asking = seconds(lambda: find_non_dominated(values), _ROUNDS)
    show("  pymoo, find_non_dominated (calls moocore)", asking, "s", note=f"{asking / exact:.1f} times moocore")
    return sorting
