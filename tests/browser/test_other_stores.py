"""Analytic problems, regression tasks and many objectives in a real browser."""

import csv
import io

import numpy as np
import pytest
from report_page import after_drawing, n_drawn, problems, run, set_value, show, until

from analysis import read_results

pytestmark = pytest.mark.browser

RMSE = "root mean squared error"


def exact(browser, view):
    """x, y and mode of the exact front drawn in a view, None when there is none."""
    return run(
        browser,
        f"const t = document.getElementById('view-{view}').data.find(t => t.name === 'exact front');"
        "return t ? {x: [...t.x], y: [...t.y], mode: t.mode, type: t.type} : null",
    )


def text_of(browser, selector):
    return [element.text for element in browser.find_elements("css selector", selector)]


@pytest.mark.slow
def test_the_exact_front_of_two_objectives_is_a_line_that_counts_as_no_point(browser, tmp_path):
    from other_stores import write_analytic_store

    write_analytic_store(tmp_path, n_tasks=2)
    show(browser, tmp_path)
    after_drawing(browser)
    line = exact(browser, 0)
    assert line["mode"] == "lines"
    assert np.allclose(np.hypot(line["x"], line["y"]), 1)
    assert n_drawn(browser, 0) == len(run(browser, "return shownRows()"))
    assert run(browser, "return document.getElementById('view-0').data[0].name") == "exact front"
    assert browser.find_element("id", "shown").text.endswith("of 24 points shown")
    chip = browser.find_elements("css selector", "#legend button")[-1]
    assert chip.text.endswith("exact front")
    chip.click()
    assert exact(browser, 0) is None
    browser.find_element("css selector", "#controls button[type=reset]").click()
    assert exact(browser, 0) is not None
    assert len(list(csv.reader(io.StringIO(run(browser, "return csv(listing.rows)"))))) == 25
    assert problems(browser) == []


def test_the_exact_front_stays_when_no_point_passes(browser, tmp_path):
    from other_stores import write_analytic_store

    write_analytic_store(tmp_path, n_tasks=2)
    show(browser, tmp_path)
    browser.find_elements("css selector", "#legend button")[0].click()
    assert exact(browser, 0) is not None
    assert run(browser, "return document.getElementById('view-0').layout.annotations[0].text") == "No point passes the filters"


@pytest.mark.slow
def test_the_exact_front_follows_the_axes(browser, tmp_path):
    from other_stores import write_analytic_store

    write_analytic_store(tmp_path, n_tasks=3)
    show(browser, tmp_path)
    after_drawing(browser)
    front = read_results(tmp_path).true_front
    assert exact(browser, 0)["type"] == "scatter3d"
    assert exact(browser, 1)["mode"] == "markers"
    assert exact(browser, 1)["x"] == front[:, 0].tolist()
    set_value(browser, "axis-x", "loss.validation.f3")
    set_value(browser, "axis-z", "loss.validation.f1")
    after_drawing(browser)
    assert exact(browser, 1)["x"] == front[:, 2].tolist()
    assert run(browser, "return [...document.getElementById('view-0').data[0].z]") == front[:, 0].tolist()
    assert problems(browser) == []


@pytest.mark.slow
def test_a_height_that_is_no_objective_has_no_exact_front(browser, tmp_path):
    from synthetic_store import TWO_TASKS, write_manifest, write_store

    write_store(tmp_path, n_trials=12)
    write_manifest(tmp_path, TWO_TASKS, true_front=[[20.0, 0.1, 0.2], [30.0, 0.2, 0.1]])
    show(browser, tmp_path)
    assert exact(browser, 0) is not None
    set_value(browser, "axis-z", "sparsity_rate")
    assert exact(browser, 0) is None
    assert exact(browser, 1) is not None


def test_an_analytic_sweep_speaks_of_exactness_and_of_k_without_k0(browser, tmp_path):
    from other_stores import write_analytic_store

    rows = write_analytic_store(tmp_path, n_tasks=2)
    show(browser, tmp_path)
    n_exact = sum(row["scalarized"] <= 1.001 * row["optimum"] for row in rows)
    assert f"{n_exact} of 24 exact" in text_of(browser, ".tiles li")
    heads = text_of(browser, "#trial-table th")
    assert [head for head in heads if "accuracy" in head or head in ("SR", "CR", "PS")] == []
    assert "Gap to the optimum" in heads
    assert {"f1", "f2"} <= set(heads)
    shown = f"({rows[2]['k'][1]:.4g}, "
    assert text_of(browser, "#trial-table tbody tr")[2].split(" ok ")[1].startswith(shown)
    browser.find_elements("css selector", "#trial-table tbody button")[2].click()
    detail = browser.find_element("id", "detail").text
    for part in ("gap to the optimum, relative", "its exact optimum", "Value", shown):
        assert part in detail
    assert "sparsity rate" not in detail
    page = browser.find_element("tag name", "body").text
    assert "NaN" not in page
    assert "undefined" not in page
    header = next(button for button in browser.find_elements("css selector", "#trial-table th button") if button.text == "k")
    header.click()
    shares = run(browser, "return listing.rows.map(row => cell('k', row)[1])")
    assert shares == sorted(shares)


def test_filters_that_filter_nothing_are_not_shown(browser, tmp_path):
    from other_stores import NOTHING_PRUNED, no_accuracies, task_objectives, write_store_of
    from synthetic_store import trial_row

    tasks = ("f1", "f2")
    changes = no_accuracies(tasks) | NOTHING_PRUNED
    rows = [trial_row(i, [0.0, 0.5, 0.5], tasks, **changes | {f"loss.validation.f{j}": 1.0 for j in (1, 2)}) for i in range(3)]
    write_store_of(tmp_path, rows, tasks, objectives=task_objectives(tasks), hypervolume_reference=None)
    show(browser, tmp_path)
    assert not browser.find_element("id", "controls").is_displayed()
    assert browser.find_element("id", "shown").text == "3 of 3 points shown"
    assert problems(browser) == []


def test_sparsity_and_one_exact_loss(browser, tmp_path):
    from other_stores import write_owl_store

    write_owl_store(tmp_path)
    show(browser, tmp_path)
    after_drawing(browser)
    line = exact(browser, 0)
    assert line["x"] == np.linspace(0, 4, 40).tolist()
    assert "Best: distance test value" in text_of(browser, "#clusters th")
    assert problems(browser) == []


def test_regression_metrics_have_their_names_and_no_percent(browser, tmp_path):
    from other_stores import write_regression_store

    rows = write_regression_store(tmp_path, {"depth": RMSE, "pose": "mean angle"})
    show(browser, tmp_path)
    heads = text_of(browser, "#clusters th")
    assert [f"Best: depth test {RMSE}", "Best: pose test mean angle"] == heads[3:5]
    table_heads = text_of(browser, "#trial-table th")
    assert f"depth test {RMSE}" in table_heads
    assert [head for head in table_heads if "accuracy" in head] == []
    assert not browser.find_element("id", "accuracy").is_displayed()
    browser.find_elements("css selector", "#trial-table tbody button")[0].click()
    detail = browser.find_element("id", "detail").text
    assert f"depth: {RMSE}" in detail
    assert "Accuracy" not in detail
    assert f"{rows[0]['metric.test.depth']:.4g}"[:5] in detail
    from analysis import cluster_table, label_points

    table = read_results(tmp_path)
    lines = [line.find_elements("tag name", "td") for line in browser.find_elements("css selector", "#clusters tbody tr")]
    clusters = cluster_table(table, label_points(table))
    assert [line[-1].text for line in lines] == [trial_id[:12] for trial_id in clusters["trial_id"]]
    assert np.allclose([float(line[3].text) for line in lines], clusters["metric.test.depth"], rtol=1e-3)
    assert problems(browser) == []


def test_notes_are_listed_searched_and_downloaded(browser, tmp_path):
    from synthetic_store import TWO_TASKS, write_row, write_store

    rows = write_store(tmp_path, n_trials=8)
    note = "layer trunk.3 is all zero <b>"
    write_row(tmp_path, rows[2] | {"attempt": 2, "notes": [note]}, TWO_TASKS)
    show(browser, tmp_path)
    browser.find_element("id", "search").send_keys("trunk.3 is all")
    assert browser.find_element("id", "listed").text == "1 of 8 listed"
    assert note in text_of(browser, "#trial-table tbody tr")[0]
    browser.find_element("css selector", "#trial-table tbody button").click()
    assert text_of(browser, "#detail ul.notes li") == [note]
    (line,) = csv.DictReader(io.StringIO(run(browser, "return csv(listing.rows)")))
    assert line["notes"] == f'["{note}"]'
    assert "1 trial carries notes" in browser.find_element("id", "health").text


@pytest.mark.parametrize(("n_tasks", "n_panels"), [(3, 6), *(pytest.param(n, 15, marks=pytest.mark.slow) for n in (5, 8))])
def test_the_scatter_matrix_filters_and_selects(browser, store, n_tasks, n_panels):
    show(browser, store(n_trials=24, tasks=tuple(f"t{i}" for i in range(n_tasks))))
    after_drawing(browser)
    assert [view["kind"] for view in run(browser, "return report.views")] == ["space", "plane", "parallel", "matrix"]
    title = browser.find_element("id", "view-title-3").text
    assert title == ("Objectives two at a time" if n_tasks < 6 else "Objectives two at a time, the first 6 of 9")
    shown = run(browser, "return shownRows().length")
    assert n_drawn(browser, 3) == n_panels * shown
    browser.find_elements("css selector", "#legend button")[0].click()
    fewer = run(browser, "return shownRows().length")
    assert n_drawn(browser, 3) == n_panels * fewer < n_panels * shown
    place = run(
        browser,
        "const p = document.getElementById('view-3'); p.scrollIntoView({block: 'center'});"
        "const t = p.data[0], l = p._fullLayout, r = p.getBoundingClientRect();"
        "const [x, y] = [l.xaxis._offset + l.xaxis.d2p(t.x[0]), l.yaxis._offset + l.yaxis.d2p(t.y[0])];"
        "return {row: t.customdata[0], x: r.left + x, y: r.top + y}",
    )
    after_drawing(browser)
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        where = {"type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", where)
        after_drawing(browser)
    until(browser, "return !document.getElementById('detail').hidden")
    assert run(browser, "return choice.selected") == place["row"]
    rings = run(browser, "return document.getElementById('view-3').data.filter(t => t.name === 'selected').length")
    assert rings == n_panels
    assert problems(browser) == []


@pytest.mark.slow
def test_very_many_points_are_cut_in_the_matrix_and_it_says_so(browser, store):
    show(browser, store(n_trials=30, tasks=("a", "b", "c")))
    set_value(browser, "eps", "100")
    assert browser.find_element("id", "view-note-3").text == ""
    run(
        browser,
        "window.nearestOf = nearest(report.views[3], [...Array(3000).keys()].map(i => i % 30));",
    )
    assert run(browser, "return window.nearestOf.length") == 2000
    assert browser.find_element("id", "view-note-3").text == "the 2000 points nearest to the front, of 3000"


@pytest.mark.slow
def test_counts_say_that_a_big_sweep_is_embedded_in_part(browser, store, monkeypatch):
    monkeypatch.setattr("analysis.report.embed.MAX_VALUES", 60)
    show(browser, store(n_trials=50))
    set_value(browser, "eps", "100")
    assert browser.find_element("id", "shown").text == "20 of 20 points shown; 30 more are not on this page"
    assert browser.find_element("id", "listed").text == "20 of 20 listed; 30 more are not on this page"
    assert browser.find_element("css selector", ".banner").text.startswith("20 of 50 trials are embedded in this page")
    assert problems(browser) == []


@pytest.mark.parametrize("width", [390, pytest.param(1400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_tasks", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3)), 5])
def test_nothing_is_wider_than_the_page(browser, tmp_path, resize, n_tasks, width):
    from other_stores import write_analytic_store, write_owl_store

    resize(width, 844)
    if n_tasks == 1:
        write_owl_store(tmp_path)
    else:
        write_analytic_store(tmp_path, n_tasks)
    show(browser, tmp_path)
    after_drawing(browser)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    assert problems(browser) == []
