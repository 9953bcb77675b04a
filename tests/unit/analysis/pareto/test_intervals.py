"""Intervals over seeds, against values worked out by hand and quantiles of printed tables."""

import numpy as np
import pytest

from analysis.pareto.intervals import Estimate, estimate


@pytest.mark.parametrize(
    ("values", "confidence", "mean", "half_width"),
    [
        ([1.0, 2.0, 3.0], 0.95, 2.0, 4.302653 * 1.0 / 3**0.5),
        ([1.0, 3.0], 0.95, 2.0, 12.706205 * 2**0.5 / 2**0.5),
        ([1.0, 3.0], 0.5, 2.0, 1.0),
        ([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 0.99, 5.0, 3.499483 * (32 / 7) ** 0.5 / 8**0.5),
    ],
)
def test_against_hand_computation(values, confidence, mean, half_width):
    found = estimate(values, confidence)
    assert found.mean == mean
    assert found.half_width == pytest.approx(half_width, rel=1e-6)
    assert found.low == pytest.approx(mean - half_width, rel=1e-6)
    assert found.n == len(values)


def test_one_seed_has_no_interval_and_none_no_mean():
    assert estimate([0.5]) == Estimate(0.5, None, None, 1)
    assert estimate([]) == estimate([np.nan, np.inf]) == Estimate(None, None, None, 0)
    assert estimate([0.5, np.nan]) == estimate([0.5])


def test_the_order_of_seeds_does_not_matter():
    values = [0.1, 1e16, 0.3, -1e16, 0.7]
    assert estimate(values) == estimate(sorted(values))


@pytest.mark.parametrize("confidence", [0, 1, -1, 95, float("nan")])
def test_a_confidence_that_is_none(confidence):
    with pytest.raises(ValueError, match="expects 0 < confidence < 1"):
        estimate([1.0, 2.0], confidence)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    """500 samples of three: the share of hits is within four standard errors of 90 %."""
    samples = np.random.default_rng(0).normal(size=(500, 3))
    found = [estimate(sample, 0.9) for sample in samples]
    hits = np.mean([one.low <= 0 <= one.high for one in found])
    assert abs(hits - 0.9) < 4 * (0.9 * 0.1 / 500) ** 0.5


def test_an_interval_without_ends_has_no_width():
    assert estimate([0.5]).half_width is None
    assert estimate([]).half_width is None
    assert estimate([1.0, 1.0]).half_width == 0.0
    assert Estimate(1.0, 0.5, 3.0, 2).half_width == 2.0, "to the upper end"


def test_without_a_confidence_it_is_95_percent():
    assert estimate([1.0, 2.0, 4.0]) == estimate([1.0, 2.0, 4.0], 0.95)


def test_the_message_says_what_is_expected_and_what_was_found():
    with pytest.raises(ValueError, match=r"^an interval expects 0 < confidence < 1, found confidence = 2$"):
        estimate([1.0], 2)
    with pytest.raises(ValueError, match="found confidence = 0"):
        estimate([], 0)
