"""Intervals of a mean over seeds by resampling the seeds: no normal distribution is assumed."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.intervals import CONFIDENCE, Estimate, check_confidence

N_RESAMPLES = 10_000


def bootstrap_mean(values: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Mean and percentile bootstrap interval of a number measured with several seeds.

    Args:
        values: shape (n_seeds,); those that are not finite are left out.
        confidence: share of the resampled means between the ends.
        seed: of the resampling, so that an interval can be computed twice.

    Returns:
        The mean; its interval from `N_RESAMPLES` means of as many values drawn with replacement, None with fewer than two
        seeds. The interval lies within the range of the values, so with three seeds it is rather too narrow.

    Raises:
        ValueError: the confidence is not between 0 and 1.

    Source: Efron, Annals of Statistics 7(1), 1979.
    """
    return _estimate([values], confidence, seed)


def bootstrap_difference(first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Mean of the first numbers minus mean of the second, with an interval; the two are resampled apart from each other.

    Args:
        first: shape (n_first,), one a seed.
        second: shape (n_second,), one a seed; equal seeds are not taken for pairs, as two sweeps share nothing but a number.
        confidence: share of the resampled differences between the ends.
        seed: of the resampling.

    Returns:
        The difference; None where one side has no value, no interval where one side has fewer than two. `n` counts the
        side with fewer values.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    return _estimate([first, second], confidence, seed)


def _estimate(groups: Sequence[ArrayLike], confidence: float, seed: int) -> Estimate:
    """The first group's mean minus those of the others."""
    check_confidence(confidence)
    known = [_finite(group) for group in groups]
    n = min(map(len, known))
    if n == 0:
        return Estimate(None, None, None, 0)
    signs = [1.0, *[-1.0] * (len(known) - 1)]
    mean = math.fsum(sign * float(values.mean()) for sign, values in zip(signs, known, strict=True))
    if n == 1:
        return Estimate(mean, None, None, 1)
    rng = np.random.default_rng(seed)
    resampled = sum(
        sign * values[rng.integers(len(values), size=(N_RESAMPLES, len(values)))].mean(axis=1)
        for sign, values in zip(signs, known, strict=True)
    )
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(mean, float(low), float(high), n)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return numbers[np.isfinite(numbers)]
