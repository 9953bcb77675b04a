"""The report in a real browser: quiet, linked, filtered as Python filters, usable by keyboard and on a phone."""

import csv
import io
import json

import numpy as np
import pytest
from report_page import after_drawing, eye, n_drawn, problems, run, set_value, show, turn

from analysis import cluster_table, label_points, read_results

pytestmark = pytest.mark.browser


@pytest.mark.short
@pytest.mark.parametrize("n_tasks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 5))])
def test_opens_without_a_complaint_or_a_request(browser, store, n_tasks):
    show(browser, store(n_trials=16, tasks=tuple(f"t{i}" for i in range(n_tasks))))
    after_drawing(browser)
    for view in range(len(run(browser, "return report.views"))):
        assert n_drawn(browser, view) > 0
    assert problems(browser) == []


@pytest.mark.parametrize("n_trials", [0, 1])
def test_opens_with_hardly_anything(browser, store, n_trials):
    show(browser, store(n_trials=n_trials))
    after_drawing(browser)
    assert len(browser.find_elements("css selector", "#trial-table tbody tr[data-row]")) == n_trials
    assert problems(browser) == []


@pytest.mark.parametrize("mode", ["absolute", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("ideal", "range"))])
def test_the_slider_filters_exactly_as_python_does(browser, store, mode):
    folder = store(n_trials=40)
    show(browser, folder, mode=mode)
    table = read_results(folder)
    slacks = label_points(table, mode=mode)["slack"].to_numpy()
    finite = np.sort(slacks[np.isfinite(slacks)])
    for eps in (0.0, finite[len(finite) // 2], finite[-1] / 2, finite[-1]):
        set_value(browser, "eps", repr(float(eps)))
        expected = np.flatnonzero(label_points(table, eps=float(eps), mode=mode)["kept"]).tolist()
        assert run(browser, "return shownRows()") == expected
        assert n_drawn(browser, 1) == len(expected)
        assert browser.find_element("id", "shown").text == f"{len(expected)} of 40 points shown"


def test_moving_the_sliders_changes_both_views(browser, store):
    show(browser, store(n_trials=40))
    before = [n_drawn(browser, view) for view in (0, 1)]
    set_value(browser, "eps-range", 1000)
    everything = [n_drawn(browser, view) for view in (0, 1)]
    assert everything > before
    assert everything[1] == 40
    set_value(browser, "sparsity", 50)
    assert run(browser, "return shownRows().every(row => cell('sparsity_rate', row) >= 0.5)")
    assert 0 < n_drawn(browser, 1) < 40
    set_value(browser, "accuracy-range", 900)
    assert n_drawn(browser, 1) == len(run(browser, "return shownRows()"))
    browser.find_element("css selector", "#controls button[type=reset]").click()
    assert [n_drawn(browser, view) for view in (0, 1)] == before


def test_filtering_keeps_the_camera(browser, store):
    show(browser, store(n_trials=40))
    after_drawing(browser)
    before = eye(browser)
    turned = turn(browser)
    assert not np.allclose(turned, before, atol=0.01)
    set_value(browser, "eps-range", 700)
    assert np.allclose(eye(browser), turned, atol=1e-6)


def test_clusters_are_those_of_python(browser, store):
    folder = store(n_trials=40)
    show(browser, folder)
    table = read_results(folder)
    clusters = cluster_table(table, label_points(table))
    lines = [
        [cell.text for cell in line.find_elements("tag name", "td")] for line in browser.find_elements("css selector", "#clusters tbody tr")
    ]
    assert [int(line[2]) for line in lines] == clusters["n_points"].tolist()
    assert [line[3] for line in lines] == [f"{100 * accuracy:.2f} %" for accuracy in clusters["accuracy"]]
    assert [line[5] for line in lines] == [trial_id[:12] for trial_id in clusters["trial_id"]]
    browser.find_elements("css selector", "#legend button")[1].click()
    assert len(browser.find_elements("css selector", "#clusters tbody tr")) == len(lines) - 1
    assert browser.find_elements("css selector", "#legend button")[1].get_attribute("aria-pressed") == "false"


@pytest.mark.slow
def test_the_staircase_is_the_front_of_two_losses(browser, store):
    from analysis import front_2d_staircase

    folder = store(n_trials=40)
    show(browser, folder)
    set_value(browser, "plane", "staircase")
    drawn = run(browser, "return document.getElementById('view-1').data.filter(t => t.mode === 'markers').flatMap(t => t.customdata)")
    expected = [row for trace in front_2d_staircase(read_results(folder)).data for row in trace.customdata]
    assert sorted(drawn) == sorted(expected)


def test_search_sort_and_pages(browser, store):
    show(browser, store(n_trials=40))
    assert browser.find_element("id", "page").text == "1 to 25"
    browser.find_element("id", "next").click()
    assert browser.find_element("id", "page").text == "26 to 40"
    header = next(button for button in browser.find_elements("css selector", "#trial-table th button") if button.text == "SR")
    header.click()
    ascending = run(browser, "return listing.rows.map(row => cell('sparsity_rate', row))")
    assert ascending == sorted(ascending)
    header.click()
    assert run(browser, "return listing.rows.map(row => cell('sparsity_rate', row))") == ascending[::-1]
    assert header.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    browser.find_element("id", "search").send_keys("0007c0f")
    assert browser.find_element("id", "listed").text == "1 of 40 listed"
    browser.find_element("id", "search").clear()
    browser.find_element("id", "search").send_keys("<nothing>")
    assert browser.find_element("id", "page").text == "none"


@pytest.mark.slow
def test_csv_holds_what_is_listed_at_full_precision(browser, store):
    folder = store(n_trials=12)
    show(browser, folder)
    run(browser, "document.getElementById('only-shown').click()")
    lines = list(csv.DictReader(io.StringIO(run(browser, "return csv(listing.rows)"))))
    table = read_results(folder)
    kept = table.ok.frame[label_points(table)["kept"]]
    assert [line["trial_id"] for line in lines] == kept["trial_id"].tolist()
    assert [float(line["loss.validation.left"]) for line in lines] == kept["loss.validation.left"].tolist()
    assert [json.loads(line["k"]) for line in lines] == [list(k) for k in kept["k"]]


def test_a_row_opens_its_trial_and_escape_returns(browser, store):
    from selenium.webdriver.common.keys import Keys

    show(browser, store(n_trials=12))
    button = browser.find_elements("css selector", "#trial-table tbody button")[3]
    button.send_keys(Keys.ENTER)
    detail = browser.find_element("id", "detail")
    assert detail.is_displayed()
    for part in ("Trial 0003c0ffee0003", "trunk.3", "wall time", "weights", "parameter sharing", "0000000000000003"):
        assert part in detail.text
    assert "selected" in run(browser, "return document.getElementById('view-1').data.map(t => t.name)")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not detail.is_displayed()
    assert browser.switch_to.active_element == button
    browser.find_elements("css selector", "#trial-table tbody td")[3].click()
    assert detail.is_displayed()


def test_a_click_on_a_point_opens_its_trial(browser, store):
    show(browser, store(n_trials=12))
    after_drawing(browser)
    run(browser, "const p = document.getElementById('view-1'); p.emit('plotly_click', {points: [{customdata: 2}]})")
    assert "0002c0ffee0002" in browser.find_element("id", "detail-title").text


def test_hostile_names_stay_text(browser, tmp_path):
    from synthetic_store import trial_row, write_manifest, write_row

    evil = "</script><img src=x onerror=document.title='owned'><b>\u2028ß"
    write_manifest(tmp_path, (evil, "b"), name=evil)
    for number, state in ((1, "ok"), (2, "error")):
        row = trial_row(number, [0.01, 0.5, 0.49], (evil, "b"), study=evil, model=evil, error=evil, state=state)
        write_row(tmp_path, row, (evil, "b"))
    show(browser, tmp_path)
    after_drawing(browser)
    browser.find_elements("css selector", "#trial-table tbody button")[1].click()
    assert evil in browser.find_element("id", "detail").get_attribute("textContent")
    assert browser.title.startswith("</script>")
    assert problems(browser) == []


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_nothing_is_wider_than_the_page(browser, store, resize, width):
    resize(width, 844)
    show(browser, store(n_trials=16, tasks=("left", "a task with quite a long name", "third")))
    after_drawing(browser)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    browser.find_elements("css selector", "#trial-table tbody button")[0].click()
    assert run(browser, "return document.getElementById('detail').getBoundingClientRect().left") >= 0


@pytest.mark.slow
def test_every_control_has_a_name(browser, store):
    show(browser, store(n_trials=16))
    unnamed = run(
        browser,
        "return [...document.querySelectorAll('main input, main select, main button')].filter(e => !e.closest('.js-plotly-plot'))"
        ".filter(e => !(e.labels?.length || e.ariaLabel || e.textContent.trim())).map(e => e.outerHTML)",
    )
    assert unnamed == []


def test_a_printed_page_is_light_and_shows_the_front_in_space(browser, store):
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        show(browser, store(n_trials=20))
        after_drawing(browser)
        ink = "return [getComputedStyle(document.body).color, document.getElementById('view-1').layout.font.color]"
        before = run(browser, ink)
        run(browser, "window.dispatchEvent(new Event('beforeprint'))")
        assert run(browser, "return [...document.querySelectorAll('.still')].map(s => s.src.length > 5000)") == [True]
        assert run(browser, ink) == ["rgb(21, 24, 28)", "#15181c"]
        run(browser, "window.dispatchEvent(new Event('afterprint'))")
        assert run(browser, "return document.querySelectorAll('.still').length") == 0
        assert run(browser, ink) == before != ["rgb(21, 24, 28)", "#15181c"]
        assert problems(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
