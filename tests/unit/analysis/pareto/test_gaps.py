"""Where the next preference vectors go."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_plan, write_row, write_store

from analysis.decide.suggest import suggest, suggestions_text
from analysis.pareto.gaps import CLOSE, fill_gaps
from analysis.pareto.indicators import hypervolume
from analysis.pareto.neighbors import MAX_POINTS
from analysis.results.manifest import ResultsError
from analysis.results.table import read_results


def sphere(k):
    """The exact Chebyshev point of the unit sphere: all k_i f_i are equal."""
    point = 1 / np.asarray(k)
    return point / np.linalg.norm(point)


def trial_points(shares):
    k = np.array([[share, 1 - share] for share in shares])
    return np.array([sphere(one) for one in k]), k


def test_the_largest_gap_comes_first_and_its_preference_is_the_ray_through_its_middle():
    values, k = trial_points([0.05, 0.1, 0.8, 0.9, 0.95])
    (gap,) = fill_gaps(values, k, 1, [0, 0])
    assert gap.between == (1, 2)
    middle = values[[1, 2]].mean(axis=0)
    expected = (1 / middle) / (1 / middle).sum()
    assert gap.preference == pytest.approx(expected, rel=1e-3)
    found = sphere(gap.preference)
    assert found / np.linalg.norm(found) == pytest.approx(middle / np.linalg.norm(middle), rel=1e-3)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(st.integers(1, 99), min_size=2, max_size=9, unique=True), st.integers(1, 8))
def test_proposals_are_new_preferences_on_the_simplex(shares, n):
    values, k = trial_points([share / 100 for share in shares])
    gaps = fill_gaps(values, k, n, [0, 0], [1.1, 1.1])
    done = k.tolist()
    for gap in gaps:
        assert math.fsum(gap.preference) == pytest.approx(1, abs=1e-9)
        assert min(gap.preference) >= 0
        assert all(any(abs(a - b) > CLOSE * max(a, b) for a, b in zip(gap.preference, old, strict=True)) for old in done)
        done.append(gap.preference)


@pytest.mark.parametrize("length", [1.0, 0.25])
def test_a_front_that_lies_elsewhere_with_its_origin_has_the_same_gaps(length):
    """Powers of two keep the arithmetic exact. Without a corner and without an origin below the values both depend on the front alone."""
    k = np.array([[0.125, 0.875], [0.25, 0.75], [0.75, 0.25]])
    values, shift = length * np.array([[0.75, 0.125], [0.5, 0.25], [0.25, 0.75]]), np.array([4.0, 32.0])
    for origin, corner in (([0.0, 0.0], length * np.ones(2)), ([0.0, 0.0], None), (2 * np.ones(2), None)):
        plain = fill_gaps(values, k, 5, origin, corner)
        moved = fill_gaps(values + shift, k, 5, origin + shift, None if corner is None else corner + shift)
        assert [gap.between for gap in moved] == [gap.between for gap in plain]
        for one, other in zip(moved, plain, strict=True):
            assert one.preference == pytest.approx(other.preference, abs=1e-9)
            assert one.gain == pytest.approx(other.gain, rel=1e-9)


def test_the_order_of_the_units_does_not_matter():
    values, k = trial_points([0.1, 0.3, 0.8])
    scaled = k / [100, 1] / (k / [100, 1]).sum(axis=1, keepdims=True)
    plain = fill_gaps(values, k, 3, [0, 0], [1.1, 1.1])
    large = fill_gaps(values * [100, 1], scaled, 3, [0, 0], [110, 1.1])
    for one, other in zip(plain, large, strict=True):
        assert other.between == one.between
        assert other.gain == pytest.approx(one.gain)
        moved = np.array(one.preference) / [100, 1]
        assert other.preference == pytest.approx(moved / moved.sum(), rel=2e-3)


def test_an_objective_that_never_balances_keeps_its_balance():
    """The first weighted objective is 9 times the second one at both points, and stays so in the middle."""
    values = np.array([[1.0, 4.0], [4.0, 1.0]])
    k = 9 * (1 / values[:, :1]), 1 / values[:, 1:]
    k = np.concatenate(k, axis=1)
    k /= k.sum(axis=1, keepdims=True)
    (gap,) = fill_gaps(values, k, 1, [0, 0])
    assert gap.preference == pytest.approx((0.9, 0.1))


def test_two_dense_neighbours_get_a_dense_preference():
    values = np.array([[10.0, 0.1, 0.4], [10.0, 0.4, 0.1]])
    (gap,) = fill_gaps(values, [[0, 0.8, 0.2], [0, 0.2, 0.8]], 1, [0, 0, 0])
    assert gap.preference == (0.0, 0.5, 0.5)


def test_the_ends_get_one_preference_each_and_lie_beyond_the_front():
    values, k = trial_points([0.4, 0.5, 0.6])
    gaps = [gap for gap in fill_gaps(values, k, 8, [0, 0], [1.1, 1.1]) if min(gap.between) < 0]
    assert sorted(min(gap.between) for gap in gaps) == [-2, -1]
    firsts = sorted(gap.preference[0] for gap in gaps)
    assert firsts[0] < 0.4
    assert firsts[1] > 0.6


def test_dominated_failed_and_tried_ones_are_no_gaps():
    values, k = trial_points([0.3, 0.6])
    (free,) = fill_gaps(values, k, 1, [0, 0])
    more = np.concatenate([values, values[:1] + 1, [[np.nan, 1.0]]])
    more_k = np.concatenate([k, [[0.01, 0.99], [0.02, 0.98]]])
    assert fill_gaps(more, more_k, 1, [0, 0])[0].preference == free.preference
    assert free.preference not in [gap.preference for gap in fill_gaps(values, k, 3, [0, 0], tried=[free.preference])]
    assert fill_gaps(np.full((2, 2), np.nan), k, 3, [0, 0]) == []


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        fill_gaps([[1.0, 2.0]], [[0.5, 0.3, 0.2]], 1, [0, 0])


def test_half_of_the_trials_of_a_uniform_lattice_reach_its_hypervolume_where_objectives_differ_in_size():
    scale = np.array([100.0, 1.0])

    def solve(preferences):
        return np.array([sphere(k * scale / (k * scale).sum()) * scale for k in np.asarray(preferences)])

    uniform = np.array([[i / 20, 1 - i / 20] for i in range(1, 20)])
    goal = hypervolume(solve(uniform), 1.1 * scale)
    k = np.array([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])
    while len(k) < 9:
        new = fill_gaps(solve(k), k, 2, [0, 0], 1.1 * scale)
        k = np.concatenate([k, [gap.preference for gap in new]])
    assert hypervolume(solve(k), 1.1 * scale) > goal


def write_front_store(folder, shares, seeds=(0,), **manifest):
    """Three objectives; trials of dense task weights on a curve."""
    write_manifest(folder, TWO_TASKS, **manifest)
    rows = []
    for seed in seeds:
        for i, share in enumerate(shares):
            losses = {"loss.validation.left": (1 - share) + 0.01 * seed, "loss.validation.right": share + 0.01 * seed}
            k = [0.0, share, 1 - share]
            rows.append(trial_row(100 * seed + i, k, TWO_TASKS, seed=seed, **losses, **{"objective.sparsity": 50.0}))
    write_plan(folder, rows)
    for row in rows:
        write_row(folder, row, TWO_TASKS)


def test_suggest_reads_a_store_and_names_what_the_gap_lies_between(tmp_path):
    write_front_store(tmp_path, [0.1, 0.2, 0.7, 0.8], seeds=(0, 1), hypervolume_reference=None)
    table = read_results(tmp_path)
    found = suggest(table, 1)
    assert found[0].between == (str(table.frame["trial_id"][1]), str(table.frame["trial_id"][2]))
    assert found[0].preference[0] == 0
    assert 0.25 < found[0].preference[1] < 0.65
    assert str(found[0].preference[1])[:4] in suggestions_text(table, found)


def test_a_planned_preference_is_not_suggested_again(tmp_path):
    write_front_store(tmp_path, [0.2, 0.7])
    table = read_results(tmp_path)
    first = suggest(table, 1)[0].preference
    assert table.plan is not None
    table.plan["trials"].append({"trial_id": "new", "study": "main", "k": list(first), "seed": 0})
    assert suggest(table, 1)[0].preference != first


def test_a_damaged_plan_does_not_stop_it(tmp_path):
    write_front_store(tmp_path, [0.2, 0.7])
    table = read_results(tmp_path)
    assert table.plan is not None
    first = suggest(table, 1)
    table.plan["trials"] += [{"trial_id": "x", "study": "main", "k": k} for k in ("json:loads", [{}], ["a", 1, 2], 7, None, [0.5])]
    assert suggest(table, 1) == first


def test_a_sweep_without_gaps_to_look_for_is_refused(tmp_path):
    write_store(tmp_path / "empty", n_trials=0)
    with pytest.raises(ResultsError, match="no trial with a preference"):
        suggest(read_results(tmp_path / "empty"))
    write_front_store(tmp_path / "one", [0.5])
    with pytest.raises(ResultsError, match="two expected"):
        suggest(read_results(tmp_path / "one"))
    with pytest.raises(ResultsError, match="no study 'x' with preferences"):
        suggest(read_results(tmp_path / "one"), study="x")


SQUARE = np.array([[1.0, 3.0], [3.0, 1.0]])
EVEN = np.array([[0.5, 0.5], [0.5, 0.5]])
SKEW = np.array([[0.25, 0.75], [0.75, 0.25]])


def test_the_gain_is_the_share_of_the_box_that_the_middle_adds():
    """Between (1, 3) and (3, 1) the middle (2, 2) adds a square of 1 in a box of 4 x 4."""
    (gap,) = fill_gaps(SQUARE, SKEW, 1, [0, 0], [4, 4])
    assert gap.between == (0, 1)
    assert gap.gain == pytest.approx(1 / 16)
    assert gap.preference == (0.5, 0.5)


def test_the_ends_come_after_a_larger_gap_and_each_is_closed_by_its_first_proposal():
    gaps = fill_gaps(SQUARE, SKEW, 9, [0, 0], [4, 4])
    assert [(gap.between, gap.gain) for gap in gaps] == [((0, 1), 1 / 16), ((0, -1), 1 / 64), ((1, -2), 1 / 64)]
    assert [gap.preference for gap in gaps] == [(0.5, 0.5), (0.4375, 0.5625), (0.5625, 0.4375)]


def test_no_more_gaps_than_asked_for_and_none_for_none():
    assert fill_gaps(SQUARE, EVEN, 0, [0, 0]) == []
    assert len(fill_gaps(*trial_points([0.1, 0.4, 0.9]), 2, [0, 0])) == 2


def test_a_corner_and_an_origin_that_the_front_is_not_within_are_put_a_little_beyond_it():
    """A twentieth of the range, in each objective by itself."""
    plain = fill_gaps(SQUARE, EVEN, 1, [0, 0], [3.1, 3.1])
    assert fill_gaps(SQUARE, EVEN, 1, [0, 0]) == plain
    assert fill_gaps(SQUARE, EVEN, 1, [0, 0], [3.0, 2.0]) == plain
    assert fill_gaps(SQUARE, EVEN, 1, [0, 0], [3.1, 2.0]) == plain
    low = fill_gaps(SQUARE, EVEN, 1, [0.9, 0.9])
    assert fill_gaps(SQUARE, EVEN, 1, [1.0, 0.9]) == low
    assert fill_gaps(SQUARE, EVEN, 1, [7.0, 1.0]) == low
    assert fill_gaps(SQUARE, EVEN, 1, [0.9, 0.5]) != low


def test_in_more_than_four_objectives_the_longest_gap_comes_first_and_its_middle_counts_as_a_point():
    """The first two points are half of the box apart in two objectives, the last two an eighth; middles are numbered after all points."""
    values = np.ones((3, 5))
    values[:, 0], values[:, 1] = [1.0, 5.0, 6.0], [7.0, 3.0, 2.0]
    k = (1 / values) / (1 / values).sum(axis=1, keepdims=True)
    gaps = fill_gaps(values, k, 9, np.zeros(5), [8.0, 8.0, 2.0, 2.0, 2.0])
    inner = [(gap.between, pytest.approx(gap.gain)) for gap in gaps if min(gap.between) >= 0]
    number = 3 + [gap.between for gap in gaps].index((0, 1))
    length = 0.5**0.5
    assert inner[:4] == [((0, 1), length), ((0, number), length / 2), ((1, number), length / 2), ((0, number + 1), length / 4)]
    ends = [end for gap in gaps for end in gap.between if end < 0]
    assert len(ends) == len(set(ends)), "an end gets one preference"
    assert gaps[0].between == (-1, -2)
    assert gaps[0].gain == pytest.approx(2**0.5)
    (middle,) = (gap.preference for gap in gaps if gap.between == (0, 1))
    assert middle == pytest.approx(np.array([1 / 3, 1 / 5, 1, 1, 1]) / (3 + 8 / 15), abs=1e-4)


def test_tried_preferences_count_as_tried_within_five_percent():
    (first,) = fill_gaps(SQUARE, SKEW, 1, [0, 0], [4, 4])
    assert first.preference == (0.5, 0.5)

    def is_proposed(tried):
        gaps = fill_gaps(SQUARE, SKEW, 1, [0, 0], [4, 4], tried=tried)
        return bool(gaps) and gaps[0].preference == (0.5, 0.5)

    assert not is_proposed([0.51, 0.49])
    assert is_proposed([[0.55, 0.45]])
    assert not is_proposed([[0.9, 0.1], [0.5, 0.5]])
    assert is_proposed([])


def test_an_objective_that_nobody_was_trained_for_has_no_end():
    values = np.array([[5.0, 1.0, 3.0], [4.0, 3.0, 1.0]])
    gaps = fill_gaps(values, [[0.0, 0.7, 0.3], [0.0, 0.3, 0.7]], 20, [0, 0, 0], [6, 4, 4])
    assert gaps
    assert all(-1 not in gap.between for gap in gaps)
    assert all(gap.preference[0] == 0 for gap in gaps)


def test_preferences_have_four_digits_and_sum_to_one():
    gaps = fill_gaps(*trial_points([0.123, 0.377, 0.829]), 3, [0, 0])
    for gap in gaps:
        rest = sorted(gap.preference)[:-1]
        assert all(entry == float(f"{entry:.4g}") for entry in rest)
        assert sum(gap.preference) == pytest.approx(1, abs=1e-12)


def test_wrong_shapes_and_numbers_are_named():
    with pytest.raises(
        ValueError, match=r"^fill_gaps expects values and preferences of one shape and n >= 0, found shapes \(2, 2\), \(1, 2\), n = 1$"
    ):
        fill_gaps(SQUARE, EVEN[:1], 1, [0, 0])
    with pytest.raises(ValueError, match="n = -1"):
        fill_gaps(SQUARE, EVEN, -1, [0, 0])
    with pytest.raises(ValueError, match="one shape"):
        fill_gaps([1.0, 2.0], [0.5, 0.5], 1, [0, 0])


def test_gaps_of_a_front_that_is_thinned_still_name_rows_of_the_values():
    """A dense curve with one hole: the last of its many points and the lone one behind the hole."""
    values, k = trial_points([*np.linspace(0.1, 0.4, MAX_POINTS + 40), 0.8])
    (gap,) = fill_gaps(values, k, 1, [0, 0], [1.1, 1.1])
    assert gap.between == (MAX_POINTS + 39, MAX_POINTS + 40)


def test_gains_and_preferences_are_measured_from_the_origin():
    (gap,) = fill_gaps(SQUARE + 10, SKEW, 1, [10, 10], [14, 14])
    assert (gap.between, gap.preference) == ((0, 1), (0.5, 0.5))
    assert gap.gain == pytest.approx(1 / 16)


def test_a_constant_objective_is_bounded_by_a_twentieth_of_its_unit():
    values, k = np.column_stack([SQUARE, [5.0, 5.0]]), [[0.2, 0.6, 0.2], [0.6, 0.2, 0.2]]
    plain = fill_gaps(values, k, 1, [0, 0, 0], [3.1, 3.1, 5.05])
    assert fill_gaps(values, k, 1, [0, 0, 0]) == plain
    assert fill_gaps(values, k, 1, [0, 0, 5]) == fill_gaps(values, k, 1, [0, 0, 4.95])
