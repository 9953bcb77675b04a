"""0.5 |X - B|^2 versus the GrOWL norm, whose front is the path of the proximal operator (numpy only).

Every Pareto point is X = prox of tau * GrOWL at B for a tau >= 0; with increasing tau the rows shrink and become zero one after another.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, isotonic_regression

_N_CURVE = 200
_SEED = 20


def targets(n_rows: int, row_length: int) -> NDArray[np.float64]:
    """Return B, shape (n_rows, row_length), with seeded directions and lengths that decrease from 1 to 0.05."""
    directions = np.random.default_rng(_SEED).normal(size=(n_rows, row_length))
    lengths = np.geomspace(1.0, 0.05, n_rows)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True) * lengths[:, None])


def distance_at_zero(n_rows: int, row_length: int) -> float:
    """Return 0.5 |B|^2, the distance at X = 0."""
    return float(0.5 * (targets(n_rows, row_length) ** 2).sum())


def objectives_along_path(lengths: NDArray[np.float64], theta: NDArray[np.float64], tau: float) -> tuple[float, float]:
    """Compute the GrOWL norm and the distance at the point of the path with parameter tau.

    Args:
        lengths: row lengths of B, shape (n_rows,), largest first.
        theta: weights of GrOWL, shape (n_rows,), non-increasing.
        tau: parameter of the path, >= 0.
    """
    shrunk = isotonic_regression(lengths - tau * theta, increasing=False).x.clip(min=0)
    return float((theta * shrunk).sum()), float(0.5 * ((lengths - shrunk) ** 2).sum())


def optimum(lengths: NDArray[np.float64], theta: NDArray[np.float64], k0: float, k1: float) -> float:
    """Compute the minimum of max(k0 GrOWL(X), k1 0.5 |X - B|^2), where both are equal on the path; 0 if k0 or k1 is 0."""
    if k0 == 0 or k1 == 0:
        return 0.0

    def gap(tau: float) -> float:
        norm, distance = objectives_along_path(lengths, theta, tau)
        return k0 * norm - k1 * distance

    last = float(lengths.sum() / theta[theta > 0].min())
    norm, distance = objectives_along_path(lengths, theta, float(brentq(gap, 0.0, last, xtol=1e-15)))
    return max(k0 * norm, k1 * distance)


def owl_front(n_rows: int, row_length: int) -> list[list[float]]:
    """Compute points (GrOWL norm, distance) of the front for the default pattern (spike, 0.8 and 0.2), for figures."""
    from trainer.settings import GrowlSettings

    settings = GrowlSettings()
    theta = np.full(n_rows, settings.beta2)
    theta[0] += settings.beta1
    lengths = np.linalg.norm(targets(n_rows, row_length), axis=1)
    last = float(lengths.max() / settings.beta2 + settings.beta1)
    return sorted([list(objectives_along_path(lengths, theta, tau)) for tau in np.linspace(0, last, _N_CURVE)])
