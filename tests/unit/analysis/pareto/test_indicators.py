"""Indicators on sets whose value is known."""

import numpy as np
import pytest

from analysis.pareto.indicators import MAX_EXACT_OBJECTIVES, Box, beyond_text, epsilon_additive, hypervolume, igd_plus, spread


def test_hypervolume_of_a_staircase():
    assert hypervolume([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]], [4.0, 4.0]) == 6.0


def test_hypervolume_ignores_what_is_no_better_than_the_reference():
    points = np.array([[1.0, 1.0], [0.0, 5.0], [2.0, 0.0], [np.nan, 0.0], [-np.inf, 0.0]])
    assert hypervolume(points, [2.0, 2.0]) == 1.0


@pytest.mark.parametrize("n_objectives", [1, 2, 4])
def test_hypervolume_of_one_point_is_a_box_and_of_none_is_zero(n_objectives):
    assert hypervolume(np.ones((1, n_objectives)), np.full(n_objectives, 3.0)) == 2.0**n_objectives
    assert hypervolume(np.zeros((0, n_objectives)), np.ones(n_objectives)) == 0.0


def test_igd_plus_counts_only_what_is_worse():
    front = [[0.0, 1.0], [1.0, 0.0]]
    assert igd_plus(front, front) == 0.0
    assert igd_plus([[-1.0, -1.0]], front) == 0.0
    assert igd_plus([[3.0, 4.0]], [[0.0, 0.0]]) == 5.0
    assert igd_plus(np.zeros((0, 2)), front) == np.inf


def test_errors_name_the_value():
    with pytest.raises(ValueError, match=r"shape \(n_points, 3\), found shape = \(1, 2\)"):
        hypervolume([[1.0, 2.0]], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite reference"):
        hypervolume([[1.0]], [np.inf])
    with pytest.raises(ValueError, match="non-empty front"):
        igd_plus([[1.0]], np.zeros((0, 1)))


def test_hypervolume_counts_only_below_the_reference_and_takes_the_best_of_one_objective():
    assert hypervolume([[1.0], [3.0]], [4.0]) == 3.0
    assert hypervolume([[4.0, 1.0]], [4.0, 4.0]) == 0.0, "a point on the reference has no volume"
    with pytest.raises(ValueError, match=r"an indicator expects points of shape \(n_points, 0\)"):
        hypervolume([[1.0, 2.0]], 4.0)
    with pytest.raises(ValueError, match=r"^hypervolume expects a finite reference, found reference = \[nan, 1\.0\]$"):
        hypervolume([[1.0, 2.0]], [np.nan, 1.0])


@pytest.mark.parametrize("n_objectives", [MAX_EXACT_OBJECTIVES, MAX_EXACT_OBJECTIVES + 1])
def test_hypervolume_of_two_boxes_is_exact_up_to_five_objectives_and_estimated_beyond(n_objectives):
    """Objectives of very different sizes: an edge of 2 and one of 1, all in the size of the objective."""
    size = 10.0 ** np.arange(n_objectives)
    low, high = np.full(n_objectives, 2.0), np.full(n_objectives, 2.0)
    low[0], high[1] = 1.0, 1.0
    points = np.array([low, high, np.full(n_objectives, 5.0)]) * size
    wanted = (2 + 2 - 1) * np.prod(size)  # below the reference (3, 3, ...) each box is 2 x 1 x ..., both have 1 x 1 x ... in common
    found = hypervolume(points, 3.0 * size)
    assert found == pytest.approx(wanted, rel=1e-12 if n_objectives <= MAX_EXACT_OBJECTIVES else 5e-3)
    assert found == hypervolume(points, 3.0 * size)


def test_points_outside_the_box_are_counted_and_stated():
    """Points on the border are not counted, although they add nothing."""
    box = Box((0.0, 0.0), (2.0, 2.0))
    points = [[1.0, 1.0], [2.0, 0.0], [0.0, 5.0], [-1.0, 1.0], [np.nan, 9.0]]
    assert (box.n_beyond(points), box.n_below(points)) == (1, 1)
    assert [beyond_text(n) for n in (0, 1, 2000)] == [
        "",
        "1 finished trial lies beyond the nadir and adds nothing",
        "2,000 finished trials lie beyond the nadir and add nothing",
    ]
    assert beyond_text(0, 2, 1) == (
        "2 finished trials are better than the ideal somewhere and count as equal to it; "
        "1 finished trial without a measured share of the network adds nothing"
    )
    with pytest.raises(ValueError, match=r"shape \(n_points, 3\)"):
        Box((0.0, 0.0, 0.0), (1.0, 2.0, 3.0)).n_beyond(points)


@pytest.mark.parametrize("n_objectives", [1, 2, 3, MAX_EXACT_OBJECTIVES + 1])
def test_the_hypervolume_of_a_box_is_a_share_that_no_unit_changes(n_objectives):
    """Powers of two as units keep the exact arithmetic of the first five; a point at the ideal dominates everything, one at the nadir
    nothing."""
    rng = np.random.default_rng(3)
    points = rng.integers(-2, 12, size=(20, n_objectives)) / 8.0
    unit, shift = 2.0 ** rng.integers(-10, 10, n_objectives), rng.integers(-3, 3, n_objectives).astype(float)
    box = Box((0.0,) * n_objectives, (1.0,) * n_objectives)
    scaled = Box(tuple(shift * unit), tuple((shift + 1) * unit))
    share = box.hypervolume(points)
    assert 0 <= share <= 1
    assert scaled.hypervolume((points + shift) * unit) == pytest.approx(share, rel=1e-12)
    assert box.hypervolume([box.ideal]) == pytest.approx(1, rel=1e-2)
    assert box.hypervolume([box.nadir]) == 0 == box.hypervolume(np.zeros((0, n_objectives)))
    assert box.hypervolume([np.full(n_objectives, -5.0)]) == box.hypervolume([box.ideal]), "nothing counts beyond the ideal"


def test_igd_plus_in_a_box_and_a_part_of_a_box():
    box = Box((0.0, 0.0, 0.0), (1.0, 1000.0, 4.0))
    assert box.part([1, 2]) == Box((0.0, 0.0), (1000.0, 4.0))
    assert box.part([1, 2]).igd_plus([[500.0, 0.0]], [[0.0, 0.0]]) == 0.5


@pytest.mark.parametrize(
    ("ideal", "nadir", "message"),
    [
        ((0.0, 0.0), (1.0, 0.0), "ideal < nadir in every objective"),
        ((0.0,), (1.0, 1.0), "of one shape"),
        ((), (), "of one shape"),
        ((0.0, np.nan), (1.0, 1.0), "a finite ideal and nadir"),
    ],
)
def test_a_box_without_a_range_is_refused(ideal, nadir, message):
    with pytest.raises(ValueError, match=message):
        Box(ideal, nadir)


def test_igd_plus_is_a_mean_over_the_front_of_points_that_are_finite():
    front = [[0.0, 1.0], [1.0, 0.0]]
    assert igd_plus([[1.0, 1.0], [np.nan, 0.0]], front) == 1.0
    assert igd_plus([[0.0, 3.0]], front) == 2.5
    for wrong in ([1.0, 2.0], [[np.inf, 1.0]]):
        with pytest.raises(ValueError, match=r"^igd_plus expects a finite, non-empty front of shape"):
            igd_plus([[1.0, 2.0]], wrong)
    with pytest.raises(ValueError, match=r"shape \(n_points, 2\), found shape = \(2,\)"):
        igd_plus([1.0, 2.0], front)


def test_epsilon_is_the_shift_that_lets_a_set_dominate_another():
    assert epsilon_additive([[1.0, 3.0], [3.0, 1.0]], [[0.0, 3.0], [2.0, 0.5]]) == 1.0
    assert epsilon_additive([[0.0, 0.0]], [[1.0, 2.0]]) == -1.0
    assert epsilon_additive([[np.nan, 0.0]], [[1.0, 2.0]]) == np.inf
    assert epsilon_additive([[1.0, 0.0]], [[np.nan, 2.0]]) == -np.inf
    with pytest.raises(ValueError, match=r"shape \(n_points, 3\), found shape = \(1, 2\)"):
        epsilon_additive([[1.0, 2.0]], [[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match=r"shape \(n_points, 0\)"):
        epsilon_additive([[1.0, 2.0]], [1.0, 2.0])


def test_spread_measures_gaps_in_the_range_of_the_front():
    """Distances to the nearest point are 0.25, 0.25, 0.5 and 0.25 times the diagonal: mean 0.3125, deviations 3/16 and three of 1/16."""
    x = np.array([0.0, 0.25, 0.5, 1.0])
    front = np.stack([x, 1 - x], axis=1)
    expected = (3 * 0.0625 + 0.1875) / (4 * 0.3125)
    assert spread(front) == pytest.approx(expected)
    assert spread(front * [1000, 1] - 5) == pytest.approx(expected)
    assert spread(np.vstack([front, front[1], [[np.nan, 0.0]]])) == pytest.approx(expected)
    assert spread(np.column_stack([front, np.full(4, 7.0)])) == pytest.approx(expected), "a constant objective counts for nothing"
    assert spread([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]]) == 0.0
    assert np.isnan(spread(front[:2]))
    bent = np.array([[0.0, 1.0], [0.1, 0.2], [0.5, 0.15], [1.0, 0.0]])
    assert spread(bent * [1000, 1]) == pytest.approx(spread(bent)), "whose neighbour is nearest does not depend on the units"
    with pytest.raises(ValueError, match=r"shape \(n_points, 0\), found shape = \(2,\)"):
        spread([1.0, 2.0])


def test_the_estimate_does_not_depend_on_where_the_objectives_begin():
    points = np.vstack([np.full(6, 2.0) - np.eye(6)[0], np.full(6, 2.0) - np.eye(6)[1]])
    shift = 100.0 * np.arange(6) ** 2
    assert hypervolume(points + shift, np.full(6, 3.0) + shift) == pytest.approx(3.0, rel=5e-3)
