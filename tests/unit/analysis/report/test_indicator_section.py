"""The report's section on indicators and trade-offs."""

import json
import re

import pytest
from other_stores import write_analytic_store
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row, write_store

from analysis.measures.study_indicators import study_indicators
from analysis.report.indicators import indicators_as_html
from analysis.report.page import render_report
from analysis.results.table import read_results


def write_seeds(folder, n_seeds, **changes):
    write_manifest(folder, TWO_TASKS)
    rows = [trial_row(100 * s + i, k, TWO_TASKS, seed=s, **changes) for s in range(n_seeds) for i, k in enumerate(preference_grid(2, 8))]
    write_plan(folder, rows)
    for row in rows:
        write_row(folder, row, TWO_TASKS)
    return read_results(folder)


def embedded(page):
    return json.loads(re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)[0])


@pytest.mark.full
def test_a_sweep_of_several_seeds_has_intervals_trade_offs_and_a_figure(tmp_path):
    table = write_seeds(tmp_path, 3)
    page = render_report(table)
    (one,) = study_indicators(table)
    assert one.hypervolume is not None
    assert f"{one.hypervolume.mean:.5g} [{one.hypervolume.low:.5g}, {one.hypervolume.high:.5g}]" in page
    assert one.compromise_trial is not None
    assert f"{one.compromise_trial}: sparsity rate" in page
    assert "points of" in page
    assert 'id="indicators-figure"' in page
    assert len(embedded(page)["figures"]["indicators"]["traces"]) == 3
    assert "Knee: the point farthest below" in page


def test_a_sweep_of_one_seed_has_no_interval_and_no_figure(tmp_path):
    page = render_report(write_seeds(tmp_path, 1))
    assert 'id="indicators"' in page
    assert 'id="indicators-figure"' not in page
    assert "indicators" not in embedded(page)["figures"]


def test_unconverged_trials_are_counted_listed_and_marked(tmp_path):
    page = render_report(write_seeds(tmp_path, 1, largest=1.0, residual=0.25))
    assert '<th scope="col" class="n">Unconverged</th>' in page
    assert "unconverged: a residual is above 10 %" in page
    assert "unconverged: residual 25 % of max g" in embedded(page)["hover"][0]


def test_the_exact_front_brings_igd_plus(tmp_path):
    write_analytic_store(tmp_path)
    fragment = indicators_as_html(read_results(tmp_path), has_figure=False)
    assert fragment is not None
    assert "IGD+" in fragment


@pytest.mark.full
@pytest.mark.parametrize("tasks", [("one",), ("a", "b", "c", "d", "e")])
def test_one_task_and_six_objectives_have_a_section(tmp_path, tasks):
    write_store(tmp_path, n_trials=8, tasks=tasks)
    assert 'id="indicators"' in render_report(read_results(tmp_path))


def test_an_empty_sweep_has_none(tmp_path):
    write_store(tmp_path, n_trials=0)
    assert indicators_as_html(read_results(tmp_path), has_figure=False) is None


def test_names_are_escaped(tmp_path):
    write_manifest(tmp_path, TWO_TASKS, studies=[{"name": "<b>x</b>", "model": "mdmtn", "method": "wcal_growl"}])
    for i, k in enumerate(preference_grid(2, 6)):
        write_row(tmp_path, trial_row(i, k, TWO_TASKS, study="<b>x</b>"), TWO_TASKS)
    fragment = indicators_as_html(read_results(tmp_path), has_figure=False)
    assert fragment is not None
    assert "<b>" not in fragment
    assert "&lt;b&gt;x" in fragment
