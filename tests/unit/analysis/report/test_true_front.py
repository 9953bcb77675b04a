"""The exact front beside the found one: where it is drawn, and that it never counts as a trial."""

import numpy as np
import pytest
from other_stores import write_analytic_store, write_owl_store
from synthetic_store import TWO_TASKS, write_manifest, write_store

from analysis import (
    front_2d_projection,
    front_2d_staircase,
    front_3d,
    label_points,
    loss_against_sparsity,
    read_results,
    scatter_matrix,
    summary,
)
from analysis.measures.study_indicators import box_of
from analysis.report.embed import MAX_FRONT_POINTS, exact_front_columns


def exact_traces(figure):
    return [trace for trace in figure.data if trace.meta["group"] == "exact"]


@pytest.mark.parametrize("draw", [front_2d_projection, front_2d_staircase, loss_against_sparsity, scatter_matrix])
def test_two_objectives_have_a_thin_line_behind_the_points(tmp_path, draw):
    write_analytic_store(tmp_path, n_tasks=2)
    figure = draw(read_results(tmp_path))
    (line,) = exact_traces(figure)
    assert figure.data[0] is line
    assert (line.mode, line.name, line.hoverinfo) == ("lines", "exact front", "skip")
    assert np.allclose(np.hypot(line.x, line.y), 1)
    assert figure.layout.xaxis.title.text == "f1"
    assert list(line.x) == sorted(line.x)


@pytest.mark.parametrize("draw", [front_3d, front_2d_projection, front_2d_staircase, scatter_matrix])
def test_three_objectives_have_markers(tmp_path, draw):
    write_analytic_store(tmp_path, n_tasks=3)
    traces = exact_traces(draw(read_results(tmp_path)))
    assert len(traces) == (3 if draw is scatter_matrix else 1)
    for trace in traces:
        assert trace.mode == "markers"
        assert len(trace.x) == 60
    if draw is front_3d:
        assert np.allclose(np.sum(np.square([traces[0].x, traces[0].y, traces[0].z]), axis=0), 1)


def test_it_is_no_trial(tmp_path):
    write_analytic_store(tmp_path, n_tasks=3)
    table = read_results(tmp_path)
    for trace in exact_traces(front_3d(table)):
        assert list(trace.customdata) == []
    assert len(label_points(table)) == summary(table)["counts"]["ok"] == 24


def test_sparsity_and_one_loss(tmp_path):
    write_owl_store(tmp_path)
    (line,) = exact_traces(loss_against_sparsity(read_results(tmp_path)))
    assert list(line.x) == np.linspace(0, 4, 40).tolist()
    assert np.allclose(line.y, (4 - np.array(line.x)) ** 2 / 8)


def test_an_axis_that_is_no_objective_has_none(tmp_path):
    write_store(tmp_path, n_trials=8)
    write_manifest(tmp_path, TWO_TASKS, true_front=[[1.0, 0.1, 0.2], [2.0, 0.2, 0.1]])
    table = read_results(tmp_path)
    assert len(exact_traces(front_3d(table))) == 1
    assert exact_traces(front_3d(table, z="sparsity_rate")) == []


def test_two_objectives_are_sorted_by_the_first(tmp_path):
    write_store(tmp_path, n_trials=4, tasks=("distance",))
    write_manifest(tmp_path, ("distance",), true_front=[[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    table = read_results(tmp_path)
    assert table.true_front.tolist() == [[0.0, 3.0], [1.0, 1.0], [2.0, 0.0]]
    assert exact_front_columns(table) == {"objective.sparsity": [0.0, 1.0, 2.0], "loss.validation.distance": [3.0, 1.0, 0.0]}


@pytest.mark.parametrize(
    "bad", [[[1.0]], [[1.0, 2.0, None]], [[1.0, 2.0, 3.0], [1.0]], "front", [], [[[1.0, 2.0, 3.0]]], {"a": 1}, [[10**400, 1, 1]]]
)
def test_a_front_that_is_none_is_named_and_left_out(tmp_path, bad):
    write_store(tmp_path, n_trials=4)
    write_manifest(tmp_path, TWO_TASKS, true_front=bad)
    table = read_results(tmp_path)
    assert table.true_front is None
    assert table.unreadable[0].startswith("manifest.json: true_front ")
    assert exact_traces(front_3d(table)) == []


def test_distance_of_the_exact_front_is_a_fact(tmp_path):
    write_analytic_store(tmp_path)
    table = read_results(tmp_path)
    assert summary(table)["igd_plus"] == box_of(table).igd_plus(table.ok.values(), table.true_front) > 0
    write_store(tmp_path / "other", n_trials=4)
    assert summary(read_results(tmp_path / "other"))["igd_plus"] is None


def test_a_report_embeds_a_part_of_a_very_large_one(tmp_path):
    write_analytic_store(tmp_path, n_tasks=3, n_front=4000)
    columns = exact_front_columns(read_results(tmp_path))
    assert {len(values) for values in columns.values()} == {MAX_FRONT_POINTS}
    assert list(columns) == ["loss.validation.f1", "loss.validation.f2", "loss.validation.f3"]
