"""The exact fronts, and the exact minimum of max_i k_i f_i on each of them (numpy only).

At an interior optimum all k_i f_i are equal, so the optimum is the point where the ray f ~ 1/k meets the front.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Front = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_N_CURVE, _N_SURFACE = 200, 600


def _zdt1(s: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([s**2, 1 - s], axis=-1)  # in sqrt(f1): the curve is vertical at f1 = 0


def _zdt2(s: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([s, 1 - s**2], axis=-1)


def _vlmop2(s: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([1 - np.exp(-4 * s**2), 1 - np.exp(-4 * (1 - s) ** 2)], axis=-1)


def _quadratics(s: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([s**2, (1 - s) ** 2], axis=-1)


_CURVES: dict[str, Front] = {"zdt1": _zdt1, "zdt2": _zdt2, "vlmop2": _vlmop2, "quadratics": _quadratics}
"""Fronts of two objectives as curves over [0, 1]; f1 increases and f2 decreases along each."""


def front(function: str, n_objectives: int) -> list[list[float]]:
    """Compute points of the exact front, for figures.

    Args:
        function: name of the problem after `analytic/`.
        n_objectives: number of objectives.

    Returns:
        Shape (n_points, n_objectives); two objectives are sorted by the first one.
    """
    if function in _CURVES:
        points = _CURVES[function](np.linspace(0, 1, _N_CURVE))
    elif n_objectives == 2:
        share = np.linspace(0, 1, _N_CURVE)
        points = _on_front(function, np.stack([share, 1 - share], axis=1))
    else:
        # Uniform on the surface: exponential (flat front) or normal (sphere) coordinates, normalised.
        rng = np.random.default_rng(0)
        size = (_N_SURFACE, n_objectives)
        points = _on_front(function, rng.exponential(size=size) if function == "dtlz1" else np.abs(rng.normal(size=size)))
    return [[float(value) for value in point] for point in points]


def optimum(function: str, preference: Sequence[float]) -> float:
    """Compute the minimum of max_i k_i f_i on the front.

    Args:
        function: name of the problem after `analytic/`.
        preference: k of the objectives, shape (n_objectives,), >= 0, at least one above 0.

    Returns:
        The exact value up to rounding. It is 0 if an objective has no weight: the ideal point of the other objectives is attainable,
        or, on the DTLZ fronts, this objective alone can be non-zero.
    """
    k = np.asarray(preference, dtype=np.float64)
    if (k == 0).any():
        return 0.0
    if function not in _CURVES:
        return float((k * _on_front(function, 1 / k[None])[0]).max())
    curve = _CURVES[function]

    def gap(s: float) -> float:
        first, second = k * curve(np.asarray(s))
        return float(first - second)

    return float((k * curve(np.asarray(brentq(gap, 0.0, 1.0, xtol=1e-15)))).max())


def _on_front(function: str, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute where rays of directions (n, n_objectives) meet the front of DTLZ1 (sum f = 0.5) or DTLZ2 (|f| = 1)."""
    if function == "dtlz1":
        return np.asarray(0.5 * directions / directions.sum(axis=1, keepdims=True))
    return np.asarray(directions / np.sqrt((directions**2).sum(axis=1, keepdims=True)))
