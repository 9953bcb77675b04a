"""A mean over seeds, and how far it may be from the truth."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of a number over seeds, with an interval; in the number's own unit."""

    mean: float | None
    """None when no seed has a value."""
    low: float | None
    """Lower end of the confidence interval; None with fewer than two seeds."""
    high: float | None
    n: int
    """Seeds that have a value."""

    @property
    def half_width(self) -> float | None:
        """Half the interval's length, None where there is none."""
        return None if self.mean is None or self.high is None else self.high - self.mean


def estimate(values: Iterable[float], confidence: float = CONFIDENCE) -> Estimate:
    """Mean and Student's t interval of one number measured with several seeds.

    Args:
        values: one a seed; those that are not finite are left out.
        confidence: share of such intervals that would hold the true mean, if the values were normal.

    Returns:
        mean +- t * s / sqrt(n), s with n - 1 in its denominator and t the (1 + confidence) / 2 quantile of Student's
        distribution with n - 1 degrees of freedom. The sum is exact before it is rounded, so the order does not matter.

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
    """Refuse a confidence that is no fraction between 0 and 1.

    Raises:
        ValueError: the message names the value.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"an interval expects 0 < confidence < 1, found confidence = {confidence}")
