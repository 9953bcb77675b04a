"""Indicators on sets whose value is known."""

import numpy as np
import pytest

from analysis.pareto.indicators import hypervolume, igd_plus


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
