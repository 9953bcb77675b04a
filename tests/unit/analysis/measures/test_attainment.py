"""Attainment surfaces over seeds, and differences between two groups of fronts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_store import preference_grid, trial_row, write_manifest, write_plan, write_row

from analysis.figures.attainment import attainment_figure
from analysis.measures.attainment import attainment_surfaces
from analysis.pareto.attainment import attainment_difference, attainment_surface
from analysis.results.table import read_results

fronts = st.lists(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=5), min_size=1, max_size=4)


def share(group, at):
    """By definition: of how many fronts some point is at least as good."""
    return np.mean([any(x <= at[0] and y <= at[1] for x, y in points) for points in group])


@pytest.mark.full
@settings(deadline=None, derandomize=True, max_examples=60)
@given(fronts, fronts)
def test_the_difference_is_that_of_the_shares_in_every_cell(first, second):
    found = attainment_difference(*[[np.array(points, dtype=float) for points in group] for group in (first, second)])
    for j, y in enumerate(found.y[:-1]):
        for i, x in enumerate(found.x[:-1]):
            assert found.share[j, i] == pytest.approx(share(first, (x, y)) - share(second, (x, y)))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(fronts)
def test_the_median_surface_is_attained_by_half_of_the_seeds_and_nothing_better_is(group):
    points = np.array([point for front in group for point in front], dtype=float)
    sets = np.repeat(np.arange(len(group)), [len(front) for front in group])
    corners = attainment_surface(points, sets, [50])[:, :-1]
    for corner in corners:
        assert share(group, corner) >= 0.5
        assert share(group, corner - [1e-9, 0]) < 0.5
        assert share(group, corner - [0, 1e-9]) < 0.5


def test_of_two_seeds_a_quarter_is_the_union_and_three_quarters_what_both_attain():
    found = attainment_surface([[0.0, 1.0], [1.0, 0.0]], [0, 1]).tolist()
    assert found == [[0.0, 1.0, 25.0], [1.0, 0.0, 25.0], [0.0, 1.0, 50.0], [1.0, 0.0, 50.0], [1.0, 1.0, 75.0]]


def test_three_objectives_work_and_others_are_refused():
    assert attainment_surface([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0]], [0, 1], [100]).tolist() == [[1.0, 1.0, 2.0, 100.0]]
    with pytest.raises(ValueError, match="2 or 3"):
        attainment_surface(np.zeros((2, 4)), [0, 1])
    with pytest.raises(ValueError, match="found 0"):
        attainment_surface(np.zeros((2, 2)), [0, 1], [0])
    assert attainment_surface([[np.nan, 1.0]], [0]).shape == (0, 3)
    with pytest.raises(ValueError, match="at least one finite point"):
        attainment_difference([[[np.nan, 1.0]]], [])


def test_a_sweep_of_three_seeds_has_surfaces_and_a_figure_and_one_of_one_seed_none(tmp_path):
    tasks = ("left", "right")
    for n_seeds in (1, 3):
        folder = tmp_path / str(n_seeds)
        write_manifest(folder, tasks)
        grid = preference_grid(2, 8)
        rows = [trial_row(8 * seed + i, k, tasks, seed=seed) for seed in range(n_seeds) for i, k in enumerate(grid)]
        write_plan(folder, rows)
        for row in rows:
            write_row(folder, row, tasks)
        table = read_results(folder)
        surfaces = attainment_surfaces(table)
        assert sorted(surfaces["percentile"].unique()) == ([25.0, 50.0, 75.0] if n_seeds == 3 else [])
        figure = attainment_figure(table)
        assert (figure is None) == (n_seeds == 1)
        assert figure is None or len(figure.data) == 3


def test_of_three_seeds_the_surfaces_are_the_quarters_by_default_whatever_the_order_of_the_rows():
    """Sets are named by anything; the best of three points is attained by a third, the worst by all."""
    values, sets = np.array([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0], [np.inf, 0.0]]), np.array(["c", "a", "b", "a"])
    assert attainment_surface(values, sets).tolist() == [[1.0, 1.0, 25.0], [2.0, 2.0, 50.0], [3.0, 3.0, 75.0]]
    assert attainment_surface(values[:, [0, 1, 0]], sets, (100, 50)).tolist() == [[2.0, 2.0, 2.0, 50.0], [3.0, 3.0, 3.0, 100.0]]
    corners = attainment_surface([[1.0, 0.0, 3.0], [0.0, 2.0, 5.0], [0.0, 2.0, 4.0], [0.0, 3.0, 1.0]], [0, 0, 0, 0], [50])
    assert corners.tolist() == [[0.0, 2.0, 4.0, 50.0], [0.0, 3.0, 1.0, 50.0], [1.0, 0.0, 3.0, 50.0]], "sorted by the objectives"


def test_a_percentile_may_be_less_than_one():
    assert attainment_surface([[1.0, 2.0]], [0], [0.5]).tolist() == [[1.0, 2.0, 0.5]]


@pytest.mark.parametrize(
    ("values", "sets", "percentiles", "message"),
    [
        (
            [[1.0, 2.0]],
            [0, 1],
            [50],
            r"points of shape \(n_points, 2 or 3\) and sets of shape \(n_points,\), found shapes = \(1, 2\), \(2,\)$",
        ),
        ([1.0, 2.0], [0, 1], [50], r"^attainment_surface expects points"),
        ([[1.0]], [0], [50], r"found shapes = \(1, 1\)"),
        ([[1.0, 2.0]], [0], [50, 101, -1], r"^attainment_surface expects percentiles in \(0, 100\], found 101$"),
    ],
)
def test_what_does_not_fit_a_surface_is_named(values, sets, percentiles, message):
    with pytest.raises(ValueError, match=message):
        attainment_surface(values, sets, percentiles)


def test_a_difference_has_cells_from_every_coordinate_to_a_little_beyond_the_last():
    found = attainment_difference([[[0.0, 4.0], [2.0, 0.0], [np.nan, 0.0]]], [[[1.0, 4.0]], [[9.0, 9.0]]])
    assert found.x.tolist() == [0.0, 1.0, 2.0, 9.0, pytest.approx(9.45)]
    assert found.y.tolist() == [0.0, 4.0, 9.0, pytest.approx(9.45)]
    assert found.share.tolist() == [[0.0, 0.0, 1.0, 1.0], [1.0, 0.5, 0.5, 0.5], [1.0, 0.5, 0.5, 0.0]]


def test_a_difference_to_no_front_is_the_share_of_the_other_and_a_lone_coordinate_gets_an_edge():
    alone = attainment_difference([[[1.0, 2.0]]], [])
    assert (alone.x.tolist(), alone.y.tolist(), alone.share.tolist()) == ([1.0, 2.0], [2.0, 3.0], [[1.0]])
    assert attainment_difference([], [[[1.0, 2.0]]]).share.tolist() == [[-1.0]]
    assert attainment_difference([np.zeros((0, 2))], [[[1.0, 2.0]]]).share.tolist() == [[-1.0]]
    for wrong in ([[1.0, 2.0, 3.0]], [1.0, 2.0]):
        with pytest.raises(ValueError, match=r"^attainment_difference expects fronts of shape \(n_points, 2\), found shape = "):
            attainment_difference([wrong], [])
    with pytest.raises(ValueError, match=r"^attainment_difference expects at least one finite point, found none$"):
        attainment_difference([], [])
