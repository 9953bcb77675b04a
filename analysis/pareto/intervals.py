"""Means over seeds with confidence intervals: Student's t and the bootstrap."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of a quantity over seeds with its interval, in the quantity's own unit."""

    mean: float | None
    """None if no seed has a value."""
    low: float | None
    """Lower end of the confidence interval; None for fewer than two seeds."""
    high: float | None
    """Upper end of the confidence interval; None for fewer than two seeds."""
    n: int
    """Number of seeds with a value."""

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval; None if there is no interval."""
        return None if self.mean is None or self.high is None else self.high - self.mean


def estimate(values: Iterable[float], confidence: float = CONFIDENCE) -> Estimate:
    """Compute the mean of a quantity over several seeds, with Student's t interval.

    Args:
        values: one value for each seed; values that are not finite are left out.
        confidence: the share of such intervals that would contain the true mean if the values were normal.

    Returns:
        mean +- t * s / sqrt(n), where s has n - 1 in its denominator and t is the (1 + confidence) / 2 quantile of Student's distribution
        with n - 1 degrees of freedom. Sums are exact before rounding, so the order of the values does not matter.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    known = [float(value) for value in values if math.isfinite(value)]
    n = len(known)
    if not n:
        return Estimate(None, None, None, 0)
    mean = math.fsum(known) / n
    if n == 1:
        return Estimate(mean, None, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    half_width = float(stdtrit(n - 1, (1 + confidence) / 2)) * deviation / math.sqrt(n)
    return Estimate(mean, mean - half_width, mean + half_width, n)


def check_confidence(confidence: float) -> None:
    """Raise an error if a confidence is not between 0 and 1.

    Raises:
        ValueError: it is not; the message names the value.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"an interval expects 0 < confidence < 1, found confidence = {confidence}")


N_RESAMPLES = 10_000


def bootstrap_mean(values: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Compute the mean of a quantity over several seeds, with the percentile bootstrap interval.

    Args:
        values: shape (n_seeds,); values that are not finite are left out.
        confidence: the share of the resampled means that lies within the interval.
        seed: seed of the resampling, so that results are reproducible.

    Returns:
        The mean, with an interval from `N_RESAMPLES` means of n_seeds values each, drawn with replacement; no interval for fewer than two
        seeds. The interval lies within the range of the values, so with three seeds it tends to be too narrow.

    Raises:
        ValueError: the confidence is not between 0 and 1.

    Source: Efron, Annals of Statistics 7(1), 1979.
    """
    return _estimate([values], confidence, seed)


def bootstrap_difference(first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Compute the mean of the first numbers minus the mean of the second, with an interval; both are resampled independently.

    Args:
        first: shape (n_first,), one value for each seed.
        second: shape (n_second,), one value for each seed; equal seeds are not paired, because two sweeps share only the seed's number.
        confidence: the share of the resampled differences that lies within the interval.
        seed: seed of the resampling.

    Returns:
        The difference. Its mean is None if one side has no value, and it has no interval if one side has fewer than two values. `n` is the
        number of values on the side that has fewer.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    return _estimate([first, second], confidence, seed)


def _estimate(groups: Sequence[ArrayLike], confidence: float, seed: int) -> Estimate:
    """Estimate the mean of the first group minus the means of the other groups."""
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
