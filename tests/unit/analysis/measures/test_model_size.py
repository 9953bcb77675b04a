"""Accuracy against what compression keeps, and against time where it was measured."""

import numpy as np
import pytest
from other_stores import write_analytic_store
from sized_stores import write_latency, write_sized_store
from synthetic_store import TWO_TASKS, write_manifest, write_store

from analysis.figures.model_size import MAX_POINTS, real_size_figure
from analysis.measures.labels import label_points
from analysis.measures.model_size import real_size
from analysis.report.model_size import real_size_as_html
from analysis.report.page import render_report, write_report
from analysis.results.table import read_results


def titles(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def test_what_is_kept_is_what_there_was_less_what_goes(tmp_path):
    rows = write_sized_store(tmp_path, 8)
    write_latency(tmp_path, rows[1])
    sizes = real_size(read_results(tmp_path))
    assert sizes is not None
    assert sizes.is_accuracy
    kept = sizes.frame.iloc[1]
    assert kept["params_kept"] == rows[1]["n_params"] - rows[1]["removable_params"]
    assert kept["macs_kept"] == rows[1]["n_macs"] - rows[1]["removable_macs"]
    assert kept["bytes"] == rows[1]["compact_bytes"]
    assert kept["value"] == pytest.approx(rows[1]["accuracy.test.mean"])
    assert (kept["ms_1"], kept["ms_256"]) == (0.6, 54.0)
    assert np.isnan(sizes.frame["ms_1"].to_numpy()[[0, 2, 3]]).all()


def test_a_panel_for_each_measure_that_is_known(tmp_path):
    rows = write_sized_store(tmp_path)
    table = read_results(tmp_path)
    labels = label_points(table)
    figure = real_size_figure(table, real_size(table), labels)
    assert titles(figure) == ["Bytes on disk", "Parameters kept", "Multiply-adds kept"]
    for row in rows:
        write_latency(tmp_path, row)
    figure = real_size_figure(table, real_size(table), labels)
    assert titles(figure)[3:] == ["Time, batch 1", "Time, batch 256"]
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert len(legend) == len(set(legend)) == len({(t.meta["group"], t.meta["cluster"]) for t in figure.data})
    dense = [trace for trace in figure.data if trace.meta["group"] == "dense"]
    assert {trace.marker.color for trace in dense} == {"#000000"}
    by_id = {row["trial_id"]: row for row in rows}
    for trace in figure.data:
        values = [by_id[trial_id]["accuracy.test.mean"] for trial_id in trace.customdata]
        assert list(trace.y) == pytest.approx(values)
        assert len(trace.hovertext) == len(trace.x) == len(trace.marker.opacity)


def test_points_of_the_front_are_strong_and_come_first(tmp_path):
    write_sized_store(tmp_path, 2 * MAX_POINTS)
    table = read_results(tmp_path)
    labels = label_points(table)
    figure = real_size_figure(table, real_size(table), labels)
    panel = [trace for trace in figure.data if trace.xaxis == "x"]
    shown = {trial_id: opacity for trace in panel for trial_id, opacity in zip(trace.customdata, trace.marker.opacity, strict=True)}
    front = set(table.frame["trial_id"][labels["kept"].to_numpy()])
    assert len(shown) == MAX_POINTS
    assert {trial_id for trial_id, opacity in shown.items() if opacity > 0.5} == front
    assert f"{MAX_POINTS} of {2 * MAX_POINTS:,} trials are drawn" in real_size_as_html(table, real_size(table), labels)


def test_the_table_lists_the_front(tmp_path):
    rows = write_sized_store(tmp_path, 8)
    table = read_results(tmp_path)
    labels = label_points(table)
    page = real_size_as_html(table, real_size(table), labels)
    front = list(table.frame["trial_id"][labels["kept"].to_numpy()])
    assert all(f'data-trial="{trial_id}"' in page for trial_id in front)
    assert page.count("data-trial=") == len(front)
    assert f"<code>sweep measure {tmp_path}</code> measures those of the front" in page
    assert "ms, batch" not in page
    write_latency(tmp_path, rows[0])
    page = real_size_as_html(table, real_size(table), labels)
    assert "ms, batch 256" in page
    assert "54 → 52" in page
    assert "A Processor &lt;of&gt; 3 GHz" in page
    assert "1 of 8 finished trials were measured" in page


def test_without_accuracies_the_loss_is_shown(tmp_path):
    splits = ("train", "validation", "test")
    write_sized_store(tmp_path, 8, **{f"accuracy.{split}.{name}": None for split in splits for name in ("left", "right", "mean")})
    write_manifest(tmp_path, TWO_TASKS, metrics=dict.fromkeys(TWO_TASKS, "root mean squared error"))
    table = read_results(tmp_path)
    sizes = real_size(table)
    assert not sizes.is_accuracy
    assert real_size_figure(table, sizes, label_points(table)).layout.yaxis.title.text == "mean test loss"
    assert "Mean test loss" in real_size_as_html(table, sizes, label_points(table))


@pytest.mark.full
def test_where_nothing_is_removed_or_known_there_is_no_section(tmp_path):
    write_sized_store(tmp_path / "dense", 8, removable_params=0, removable_macs=0)
    write_sized_store(tmp_path / "old", 8, removable_params=None, removable_macs=None, n_macs=None, compact_bytes=None)
    write_analytic_store(tmp_path / "analytic")
    write_store(tmp_path / "none", n_trials=0)
    for name in ("dense", "old", "analytic", "none"):
        table = read_results(tmp_path / name)
        assert real_size(table) is None
        assert 'id="real-size"' not in render_report(table)


def test_rows_that_say_impossible_things_are_not_drawn(tmp_path):
    write_sized_store(tmp_path, 8, n_params=5, removable_params=9, n_macs=7, removable_macs=3)
    table = read_results(tmp_path)
    figure = real_size_figure(table, real_size(table), label_points(table))
    assert "Parameters kept" not in titles(figure)
    assert "–" in real_size_as_html(table, real_size(table), label_points(table))


def test_the_report_has_the_section_and_names_are_escaped(tmp_path):
    rows = write_sized_store(tmp_path, 8, study="<script>x")
    write_latency(tmp_path, rows[0], processor="<script>y", host="</script>")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert '<section aria-labelledby="real-size-title" id="real-size">' in page
    assert "<script>x" not in page
    assert "<script>y" not in page
    assert "&lt;script&gt;y" in page
