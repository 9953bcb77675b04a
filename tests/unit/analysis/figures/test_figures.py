"""What each picture shows: which points, where, in which colour."""

import numpy as np
import pytest

from analysis import (
    front_2d_projection,
    front_2d_staircase,
    front_3d,
    label_points,
    loss_against_sparsity,
    nondominated,
    parallel_objectives,
    read_results,
)
from analysis.figures.style import COLOURS, SYMBOLS, marker_of
from analysis.measures.labels import DENSE, SPARSE


def rows_of(figure, group=None):
    return sorted(row for trace in figure.data if group in (None, trace.meta["group"]) for row in trace.customdata)


@pytest.mark.full
def test_projection_shows_the_points_of_the_3d_front(store):
    table = read_results(store(n_trials=40))
    space, plane = front_3d(table), front_2d_projection(table)
    assert rows_of(space) == rows_of(plane) == np.flatnonzero(label_points(table)["kept"]).tolist()
    trace = next(trace for trace in space.data if trace.meta["group"] == SPARSE)
    frame = table.ok.frame.loc[list(trace.customdata)]
    assert list(trace.x) == frame["loss.validation.left"].tolist()
    assert list(trace.y) == frame["loss.validation.right"].tolist()
    assert list(trace.z) == frame["objective.sparsity"].tolist()
    assert space.layout.scene.camera.projection.type == "orthographic"
    assert space.layout.uirevision
    assert space.layout.scene.uirevision


def test_height_may_be_the_sparsity_rate(store):
    figure = front_3d(read_results(store(n_trials=12)), z="sparsity_rate")
    assert max(z for trace in figure.data for z in trace.z) <= 1


@pytest.mark.full
def test_dense_front_is_black_and_hidden_in_3d_where_it_would_stretch_the_axis(store):
    table = read_results(store(n_trials=40))
    for figure, visible in ((front_3d(table), "legendonly"), (front_2d_projection(table), None)):
        dense = [trace for trace in figure.data if trace.meta["group"] == DENSE]
        assert [trace.marker.color for trace in dense] == ["#000000"]
        assert [trace.visible for trace in dense] == [visible]


def test_staircase_is_the_front_of_two_losses(store):
    table = read_results(store(n_trials=40))
    figure = front_2d_staircase(table)
    sparse = np.flatnonzero(label_points(table)["group"] == SPARSE)
    losses = table.ok.values(["loss.validation.left", "loss.validation.right"])[sparse]
    assert rows_of(figure, SPARSE) == sparse[nondominated(losses)].tolist()
    stairs = [trace for trace in figure.data if trace.mode == "lines" and trace.meta["group"] == SPARSE]
    assert stairs[0].line.shape == "hv"
    assert list(stairs[0].x) == sorted(stairs[0].x)
    assert list(stairs[0].y) == sorted(stairs[0].y, reverse=True)


def test_hover_says_trial_preference_sparsity_and_test_accuracy(store):
    table = read_results(store(n_trials=8))
    trace = front_2d_projection(table).data[-1]
    row = table.ok.frame.loc[trace.customdata[0]]
    for part in (row["trial_id"], "k = (", "SR ", "CR ", "PS ", "left: ", "right: ", "mean: "):
        assert part in trace.hovertext[0]


def test_names_are_escaped_for_plotly(store):
    table = read_results(store(n_trials=8, tasks=("<b>a</b>", "ß&Δ")))
    figure = front_2d_projection(table)
    assert figure.layout.xaxis.title.text.startswith("&lt;b&gt;a&lt;/b&gt;")
    assert "<b>a</b>" not in figure.data[0].hovertext[0]


def test_many_clusters_stay_apart():
    looks = [tuple(marker_of(SPARSE, cluster).values()) for cluster in range(len(COLOURS) * len(SYMBOLS))]
    assert len(set(looks)) == 42
    assert "x" not in SYMBOLS
    assert "#F0E442" not in COLOURS


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5])
def test_every_number_of_tasks_has_its_pictures(store, n_tasks):
    table = read_results(store(n_trials=12, tasks=tuple(f"t{i}" for i in range(n_tasks))))
    kept = np.flatnonzero(label_points(table)["kept"]).tolist()
    assert rows_of(loss_against_sparsity(table)) == kept
    assert sorted(set(rows_of(parallel_objectives(table)))) == kept
    if n_tasks == 1:
        with pytest.raises(ValueError, match="expects three objectives, found 2"):
            front_3d(table)
    else:
        assert front_3d(table).layout.scene.zaxis.title.text.startswith("sparsity objective")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("draw", [front_3d, front_2d_projection, parallel_objectives])
def test_everything_draws_the_dropped_points_too(store, draw, everything):
    table = read_results(store(n_trials=20))
    assert (len(set(rows_of(draw(table, everything=everything)))) == 20) == everything


@pytest.mark.parametrize("draw", [front_3d, front_2d_projection, front_2d_staircase, loss_against_sparsity, parallel_objectives])
def test_no_points_draw_an_empty_picture(store, draw):
    assert rows_of(draw(read_results(store(n_trials=0)))) == []
