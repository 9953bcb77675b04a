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
