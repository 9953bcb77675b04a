"""Filters, tolerances and leads on sets small enough to work out by hand."""

import numpy as np
import pytest

from analysis.pareto.dominance import eps_nondominated, nondominated, slack, sparsity_clusters, thin_front, unit_of_eps
from analysis.pareto.eps_dominance import beaten, largest_lead, lead

FRONT = np.array([[1.0, 8.0], [2.0, 4.0], [5.0, 2.0], [6.0, 6.0]])
"""Three points of a front, and one that the second beats by 4 and 2, the third by 1 and 4."""


def test_the_unit_of_eps_is_one_the_ideal_point_or_the_range_of_the_front_alone():
    values = FRONT * [-1, 1]
    assert unit_of_eps(FRONT).tolist() == unit_of_eps(FRONT, "absolute").tolist() == [1.0, 1.0]
    assert unit_of_eps(FRONT, "ideal").tolist() == [1.0, 2.0]
    assert unit_of_eps(FRONT, "range").tolist() == [4.0, 6.0]
    assert unit_of_eps(values, "ideal").tolist() == [6.0, 2.0], "the size of the ideal value"
    assert unit_of_eps(np.zeros((0, 3)), "range").tolist() == [1.0, 1.0, 1.0]


def test_a_point_stays_from_the_lead_of_the_point_that_beats_it_by_most():
    assert slack(FRONT).tolist() == [0.0, 0.0, 0.0, np.nextafter(2.0, 3)]
    assert slack(FRONT, "ideal")[3] == np.nextafter(1.0, 2)
    assert slack(FRONT, "range")[3] == np.nextafter(2 / 6, 1)
    assert slack(FRONT, unit=[8.0, 0.5])[3] == np.nextafter(0.5, 1)
    assert slack(FRONT, unit=2.0)[3] == np.nextafter(1.0, 2), "one unit for all objectives"
    assert slack(FRONT, unit=[0.0, 1.0])[3] == np.nextafter(4.0, 5), "without a unit in the first objective any lead is enough"


def test_eps_is_counted_in_the_unit_of_its_mode():
    assert eps_nondominated(FRONT, 2.0).tolist() == [True, True, True, False]
    assert eps_nondominated(FRONT, 2.125).all()
    assert eps_nondominated(FRONT).tolist() == nondominated(FRONT).tolist()
    assert eps_nondominated(FRONT, [4.0, 2.0]).tolist() == [True, True, True, False]
    assert eps_nondominated(FRONT, [4.0, 2.0], "ideal").all()
    assert eps_nondominated(FRONT, [2.0, 0.25], "ideal").tolist() == [True, True, True, False]
    assert eps_nondominated(FRONT, [0.0, 0.0]).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nondominated([1.0]), r"a front expects values of shape \(n_points, n_objectives\), found shape = \(1,\)"),
        (lambda: slack(FRONT, unit=[1.0, 2.0, 3.0]), r"a front expects unit as a scalar or of shape \(2,\), found shape = \(3,\)"),
        (lambda: slack(FRONT, unit=np.inf), r"a front expects unit >= 0 and finite, found unit = inf"),
        (lambda: thin_front(FRONT, [1.0, -1.0]), r"a front expects eps >= 0 and finite, found eps = \[1\.0, -1\.0\]"),
        (lambda: slack(FRONT, "any"), r"eps expects mode one of absolute, ideal, range, found mode = 'any'"),
        (lambda: unit_of_eps(FRONT, "any"), r"found mode = 'any'"),
        (lambda: sparsity_clusters([0.1], width=np.inf), "sparsity_clusters expects width > 0, found width = inf"),
        (lambda: sparsity_clusters([0.1], width=-1.0), r"found width = -1\.0"),
    ],
)
def test_errors_name_the_rule_and_the_value(call, message):
    with pytest.raises(ValueError, match=f"^{message}$" if message[0] in "ae" else message):
        call()


def test_a_tolerance_of_one_unit_is_no_special_case_and_a_missing_value_drops_its_own_point_alone():
    front = np.array([[0.0, 4.0], [0.5, 4.25], [2.0, 5.5], [np.nan, 0.0]])
    assert eps_nondominated(front).tolist() == [True, False, False, False], "the default is the exact front"
    assert eps_nondominated(front, 1.0).tolist() == [True, True, False, False]
    assert slack(front).tolist() == [0.0, np.nextafter(0.25, 1), np.nextafter(1.5, 2), np.inf]


def test_of_each_box_the_point_nearest_to_its_lower_corner_stays():
    front = np.array([[0.1, 9.9], [0.5, 9.2], [4.1, 4.9], [4.2, 4.1], [9.5, 0.5]])
    assert thin_front(front, 1.0).tolist() == [False, True, False, True, True]
    assert thin_front(np.vstack([front, front[3]]), 1.0).tolist() == [False, True, False, True, True, True], "and the rows equal to it"


@pytest.mark.parametrize(
    ("front", "eps"),
    [
        ([[2.9, 2.8], [2.2, 3.4]], 2.0),  # 0.45 and 0.4 of a box from its corner are nearer than 0.1 and 0.7, though their sum is larger
        ([[1.55, 0.25], [1.75, 0.1]], 0.5),  # 0.1 and 0.5 of a box are nearer than 0.5 and 0.2
    ],
)
def test_the_distance_to_a_corner_is_euclidean_in_units_of_the_box(front: list[list[float]], eps: float):
    assert thin_front(front, eps).tolist() == [True, False]


def test_boxes_shorter_than_one_unit_keep_apart_what_a_unit_would_join():
    assert thin_front([[0.2, 0.8], [0.7, 0.3]], 0.5).all()
    assert thin_front([[0.2, 0.8], [0.7, 0.3]], 1.0).sum() == 1


def test_an_objective_without_boxes_tells_all_its_values_apart():
    front = np.array([[1.0, 3.9], [2.0, 3.5], [3.0, 3.1], [4.0, 0.5]])
    assert thin_front(front, [0.0, 1.0]).tolist() == [True, False, False, True], "equal boxes in the second: the least in the first"
    assert thin_front(front, 0.0).all()
    assert thin_front(front, [8.0, 8.0]).sum() == 1


def test_boxes_that_another_box_dominates_are_empty_handed():
    """(0, 1) and (1, 0) are boxes of the front, (1, 1) is dominated though its point is not."""
    front = np.array([[0.5, 1.6], [1.2, 1.2], [1.9, 0.1]])
    assert nondominated(front).all()
    assert thin_front(front, 1.0).tolist() == [True, False, True]


def test_of_points_as_near_to_their_corner_the_first_in_order_of_the_objectives_stays():
    assert thin_front([[0.75, 0.25], [0.25, 0.75]], 1.0).tolist() == [False, True]


def test_sparsity_rates_are_parted_where_the_gap_is_wider_than_two_points():
    assert sparsity_clusters([0.5, 0.515, 0.54, 0.1]).tolist() == [1, 1, 2, 0]
    assert sparsity_clusters([0.25, 0.5, 0.75], 0.25).tolist() == [0, 0, 0], "a gap of the width itself parts nothing"
    assert sparsity_clusters([]).tolist() == []
    assert sparsity_clusters([np.inf, np.nan]).tolist() == [-1, -1]
    assert sparsity_clusters([0.1, 0.2]).dtype == np.int64


def test_a_lead_counts_in_units_and_without_one_any_is_enough():
    worse, better = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.5])
    assert lead(worse, better, 0.5).tolist() == [4.0, 0.0, -1.0]
    assert lead(worse, better, 0.0).tolist() == [np.inf, np.inf, -np.inf]
    with np.errstate(over="raise"):
        assert lead(np.array([1e308]), np.array([-1e308]), 1.0).tolist() == [np.inf]
        assert lead(np.array([1.0]), np.array([0.0]), 1e-320).tolist() == [np.inf]


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4, 5])
def test_leads_and_who_is_beaten_are_those_of_all_pairs(n_objectives):
    """A front of one row too, and several rows with one coordinate in common."""
    rng = np.random.default_rng(n_objectives)
    for n_front in (1, 2, 7, 300):
        points, front = rng.integers(0, 12, (400, n_objectives)) / 4, rng.integers(0, 9, (n_front, n_objectives)) / 4
        front = front[nondominated(front)]
        unit = np.array([1.0, 0.5, 2.0, 1.0, 0.25])[:n_objectives]
        leads = ((points[:, None] - front[None]) / unit).min(axis=2).max(axis=1)
        assert largest_lead(points, front, unit).tolist() == leads.tolist()
        for least in (0.25, 0.5, 1.0, 4.0):
            assert beaten(points, front, unit, least).tolist() == (leads >= least).tolist()
    assert largest_lead(np.zeros((0, n_objectives)), front, unit).shape == (0,)
    assert beaten(np.zeros((0, n_objectives)), front, unit, 1.0).shape == (0,)


def test_values_near_the_largest_float_overflow_without_a_warning():
    rng = np.random.default_rng(0)
    values = rng.choice([-1e308, 0.0, 1e308], (600, 3)) * rng.random((600, 3))
    with np.errstate(over="raise", invalid="raise"):
        assert ((slack(values) == 0) == nondominated(values)).all()
        assert (eps_nondominated(values, 1.0) >= nondominated(values)).all()


def test_a_rate_that_is_none_is_unknown():
    assert sparsity_clusters(np.array([0.5, None, 0.1], dtype=object)).tolist() == [1, -1, 0]


def test_nearest_to_a_corner_is_meant_in_the_euclidean_distance_in_edges():
    assert thin_front([[0.5, 0.5], [0.65, 0.1]], 1.0).tolist() == [False, True]
    assert thin_front(np.array([[0.5, 0.5], [0.65, 0.1]]) * [8, 1], [8.0, 1.0]).tolist() == [False, True]
