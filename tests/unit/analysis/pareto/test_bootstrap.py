"""Bootstrap intervals over seeds."""

import numpy as np
import pytest

from analysis.pareto.intervals import Estimate, bootstrap_difference, bootstrap_mean


def test_the_interval_holds_the_mean_and_stays_within_the_values():
    found = bootstrap_mean([1.0, 2.0, 6.0])
    assert found.mean == 3.0
    assert found.low is not None
    assert found.high is not None
    assert 1.0 <= found.low < 3.0 < found.high <= 6.0


def test_the_interval_is_as_wide_as_theory_says():
    """For many values the resampled mean is normal with variance s^2 / n."""
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap_mean(values)
    assert found.half_width == pytest.approx(1.96 * values.std() / 20, rel=0.05)


def test_the_same_values_give_the_same_interval_and_more_confidence_a_wider_one():
    values = [1.0, 2.0, 4.0, 8.0]
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert (bootstrap_mean(values, 0.99).half_width or 0) > (bootstrap_mean(values, 0.5).half_width or 0)


def test_one_seed_has_no_interval_and_none_no_mean():
    assert bootstrap_mean([2.0]).low is None
    assert bootstrap_mean([]).mean is None
    assert bootstrap_mean([np.nan, 3.0]).mean == 3.0


def test_a_difference_of_separate_groups_excludes_zero_and_changes_its_sign_with_the_order():
    found = bootstrap_difference([5.0, 6.0, 7.0], [1.0, 2.0])
    assert found.mean == 4.5
    assert found.low is not None
    assert found.low > 0
    assert bootstrap_difference([1.0, 2.0], [5.0, 6.0, 7.0]).mean == -4.5


def test_a_difference_with_one_seed_on_a_side_has_no_interval():
    found = bootstrap_difference([5.0], [1.0, 2.0])
    assert (found.mean, found.low, found.n) == (3.5, None, 1)


def test_a_confidence_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="found confidence = 1"):
        bootstrap_mean([1.0], confidence=1)


def test_the_ends_are_quantiles_of_resampled_means():
    """Two values: the resampled mean is 0, 1 or 2 with shares of 1/4, 1/2 and 1/4."""
    assert bootstrap_mean([0.0, 2.0], 0.6) == Estimate(1.0, 0.0, 2.0, 2)
    assert bootstrap_mean([0.0, 2.0], 0.4) == Estimate(1.0, 1.0, 1.0, 2)
    assert bootstrap_mean([0.0, 2.0, np.nan], 0.4) == Estimate(1.0, 1.0, 1.0, 2)
    assert bootstrap_mean([[0.0], [2.0]], 0.4).n == 2


def test_other_seeds_resample_differently_and_the_default_is_seed_0_and_95_percent():
    values = np.random.default_rng(3).normal(size=30)
    assert bootstrap_mean(values) == bootstrap_mean(values, 0.95, 0)
    assert bootstrap_mean(values) != bootstrap_mean(values, 0.95, 1)
    assert bootstrap_difference(values, values[:9]) == bootstrap_difference(values, values[:9], 0.95, 0)
    assert bootstrap_difference(values, values[:9]) != bootstrap_difference(values, values[:9], 0.95, 1)


def test_the_interval_of_a_difference_is_as_wide_as_theory_says_and_lies_around_it():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=400), 3 * rng.normal(size=300) + 5
    found = bootstrap_difference(first, second)
    deviation = (first.var() / 400 + second.var() / 300) ** 0.5
    assert found.n == 300
    assert found.mean == pytest.approx(first.mean() - second.mean())
    assert found.low == pytest.approx(found.mean - 1.96 * deviation, abs=0.1 * deviation)
    assert found.high == pytest.approx(found.mean + 1.96 * deviation, abs=0.1 * deviation)


def test_a_difference_of_nothing_is_unknown():
    assert bootstrap_difference([], [1.0, 2.0]) == bootstrap_difference([1.0], [np.nan]) == Estimate(None, None, None, 0)
    assert bootstrap_mean([2.0]) == Estimate(2.0, None, None, 1)
    with pytest.raises(ValueError, match="found confidence = 0"):
        bootstrap_difference([1.0], [1.0], confidence=0)
