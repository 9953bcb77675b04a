"""Neighbours on a front, its knee and its compromise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.pareto.knee import compromise, knee
from analysis.pareto.neighbors import MAX_POINTS, farthest_points, neighbours, to_unit_range

RELAXED = settings(deadline=None, derandomize=True)


@RELAXED
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.lists(st.integers(1, 9), min_size=12, max_size=12), st.randoms())
def test_on_a_front_of_two_objectives_neighbours_follow_each_other(right, down, random):
    """A third point of a front between two others lies in the ball over them, as it sees them under an angle of 90 degrees or more."""
    x, y = np.cumsum(right).astype(float), -np.cumsum(down[: len(right)]).astype(float)
    order = list(range(len(x)))
    random.shuffle(order)
    pairs = neighbours(np.stack([x, y], axis=1)[order])
    assert sorted(sorted((order[i], order[j])) for i, j in pairs) == [[i, i + 1] for i in range(len(x) - 1)]


def test_a_point_between_two_others_parts_them_and_one_beside_does_not():
    assert neighbours([[0.0, 0.0], [2.0, 0.0], [1.0, 0.5]]).tolist() == [[0, 2], [1, 2]]
    assert neighbours([[0.0, 0.0], [2.0, 0.0], [1.0, 1.5]]).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_equal_points_count_once_and_a_large_front_is_thinned():
    assert neighbours([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]).tolist() == [[0, 2]]
    x = np.linspace(0, 1, 3 * MAX_POINTS)
    pairs = neighbours(np.stack([x, 1 - x], axis=1))
    assert len(pairs) == MAX_POINTS - 1
    assert {0, len(x) - 1} <= set(pairs.ravel().tolist())


def test_no_point_and_one_point_have_no_neighbours():
    assert neighbours(np.zeros((0, 2))).shape == (0, 2)
    assert neighbours([[1.0, 2.0]]).shape == (0, 2)
    with pytest.raises(ValueError, match="finite"):
        neighbours([[np.nan, 1.0]])


def test_to_unit_range_leaves_a_constant_objective_at_zero():
    assert to_unit_range([[1.0, 5.0], [3.0, 5.0]]).tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_the_knee_of_a_bent_line_is_its_bend_in_any_units():
    front = np.array([[0.0, 10.0], [1.0, 2.0], [4.0, 0.0], [0.5, 6.0]])
    assert knee(front) == 1
    assert knee(front * [1e6, 1e-3] + [5, -7]) == 1


def test_a_straight_or_hollow_front_has_no_knee_but_a_compromise():
    angles = np.linspace(0, np.pi / 2, 9)
    sphere = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    assert knee(sphere) is None
    assert knee([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]) is None
    assert compromise(sphere) == 4


def test_the_compromise_has_the_least_largest_regret():
    assert compromise([[0.0, 10.0], [5.0, 4.0], [7.0, 1.0], [10.0, 0.0]]) == 1
    assert compromise(np.zeros((0, 2))) is None
    assert compromise([[1.0, 1.0]]) == 0
    assert knee([[1.0, 1.0]]) is None


def test_three_points_are_enough_for_a_knee_and_it_is_the_lowest():
    assert knee([[0.0, 4.0], [1.0, 1.0], [4.0, 0.0]]) == 1
    assert knee([[0.0, 4.0], [4.0, 0.0]]) is None
    assert knee([[0.0, 8.0], [2.0, 4.0], [1.0, 4.5], [8.0, 0.0]]) == 2
    assert knee([[0.0, 2.0], [1.0, 1.0 - 1e-12], [2.0, 0.0]]) is None, "rounding makes no knee"


def test_of_two_points_with_the_same_regret_the_compromise_is_the_one_with_less_of_it_elsewhere():
    assert compromise([[0.0, 8.0, 8.0], [4.0, 2.0, 3.0], [2.0, 1.0, 4.0], [8.0, 0.0, 0.0]]) == 2


def test_a_selection_starts_with_the_least_first_objective_and_goes_on_with_the_farthest():
    points = np.array([[4.0, 0.0], [0.0, 4.0], [1.0, 3.0], [3.0, 2.0], [0.5, 0.0]])
    assert farthest_points(points, 4).tolist() == [1, 0, 4, 3]
    assert farthest_points(points, 1).tolist() == [1]
    assert farthest_points(points, 4).dtype == np.int64


def test_a_point_on_the_ball_parts_nobody_and_the_order_of_pairs_is_that_of_the_rows():
    square = [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert neighbours(square).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert neighbours(np.array(square) * [0.1, 0.3]).shape == (6, 2), "by rounding a corner must not be inside"
    assert neighbours([[0.0, 0.0]]).dtype == np.int64


def test_a_front_of_the_largest_number_is_compared_whole_and_of_a_larger_one_rows_are_named():
    x = np.linspace(0, 1, MAX_POINTS)
    front = np.stack([x, 1 - x], axis=1)
    assert len(neighbours(front)) == MAX_POINTS - 1
    more = np.vstack([front, [[0.5, 0.5]] * 3, [[1.0, -1.0]]])
    pairs = neighbours(more)
    assert MAX_POINTS + 3 in pairs
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(set(pairs.ravel().tolist())) == MAX_POINTS
    with pytest.raises(ValueError, match=r"^neighbours expects finite values of shape \(n_points, n_objectives\), found shape = \(2,\)$"):
        neighbours([1.0, 2.0])


def test_the_unit_range_of_nothing_is_nothing():
    assert to_unit_range(np.zeros((0, 3))).shape == (0, 3)
    assert to_unit_range([[2, 1], [4, 0], [3, 1]]).tolist() == [[0.0, 1.0], [1.0, 0.0], [0.5, 1.0]]
