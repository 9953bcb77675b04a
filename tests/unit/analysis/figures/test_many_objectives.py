"""Pictures of more than three objectives: every pair once, sharing axes; at most six objectives."""

import numpy as np
import pytest
from other_stores import write_analytic_store
from synthetic_store import write_manifest

from analysis import label_points, read_results, scatter_matrix
from analysis.figures.many_objectives import MAX_PAIRED, paired_columns
from analysis.pareto.indicators import hypervolume


def names(n_tasks):
    return tuple(f"t{i}" for i in range(n_tasks))


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5])
def test_every_pair_of_objectives_is_one_panel(store, n_tasks):
    table = read_results(store(n_trials=16, tasks=names(n_tasks)))
    figure = scatter_matrix(table)
    columns = [*(f"loss.validation.{name}" for name in names(n_tasks)), "objective.sparsity"]
    panels = {}
    for trace in figure.data:
        assert trace.type == "scatter"  # `splom` and `scattergl` need code that the report's policy forbids
        panels.setdefault((trace.xaxis, trace.yaxis), []).append(trace)
    assert len(panels) == n_tasks * (n_tasks + 1) // 2
    for (x_axis, y_axis), traces in panels.items():
        x, y = columns[int(x_axis[1:] or 1) - 1], columns[int(y_axis[1:] or 1)]
        for trace in traces:
            rows = table.ok.frame.loc[list(trace.customdata)]
            assert list(trace.x) == rows[x].tolist()
            assert list(trace.y) == rows[y].tolist()
        assert sorted(row for trace in traces for row in trace.customdata) == np.flatnonzero(label_points(table)["kept"]).tolist()
    assert not figure.layout.annotations
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert len(legend) == len(set(legend)) == len(next(iter(panels.values())))


def test_more_than_six_objectives_show_the_first_six_and_say_so(store):
    table = read_results(store(n_trials=8, tasks=names(8)))
    assert paired_columns(table) == [*(f"loss.validation.t{i}" for i in range(5)), "objective.sparsity"]
    figure = scatter_matrix(table)
    assert len({(trace.xaxis, trace.yaxis) for trace in figure.data}) == MAX_PAIRED * (MAX_PAIRED - 1) // 2
    assert figure.layout.annotations[0].text == "the first 6 of 9 objectives"


def test_everything_draws_the_dropped_points_too(store):
    table = read_results(store(n_trials=20))
    assert {row for trace in scatter_matrix(table, everything=True).data for row in trace.customdata} == set(range(20))
    assert {row for trace in scatter_matrix(table).data for row in trace.customdata} < set(range(20))


def test_no_trials_draw_no_points(store):
    assert len(scatter_matrix(read_results(store(n_trials=0, tasks=names(3)))).data) == 0


def test_one_objective_has_no_pairs(tmp_path):
    objectives = [{"name": "f", "column": "loss.validation.f", "sense": "min", "unit": ""}]
    write_manifest(tmp_path, ("f",), objectives=objectives, hypervolume_reference=None)
    with pytest.raises(ValueError, match="expects two objectives, found 1"):
        scatter_matrix(read_results(tmp_path))


def test_long_and_hostile_names_are_cut_and_escaped(store):
    figure = scatter_matrix(read_results(store(n_trials=4, tasks=("<b>bold</b>", "a name of more than sixteen letters"))))
    assert figure.layout.xaxis.title.text == "&lt;b&gt;bold&lt;/b&gt;"
    assert figure.layout.yaxis.title.text == "a name of more …"


@pytest.mark.full
def test_hypervolume_of_many_objectives_is_estimated_in_no_time(tmp_path):
    write_analytic_store(tmp_path, n_tasks=12, n_trials=80)
    table = read_results(tmp_path)
    value = hypervolume(table.ok.values(), [1.5] * 12)
    assert value == hypervolume(table.ok.values(), [1.5] * 12)
    assert 0 < value < 1.5**12
    assert hypervolume([[1.0, 1, 1, 1, 1, 100]], [3.0, 3, 3, 3, 3, 300]) == pytest.approx(2**5 * 200, rel=0.02)
