"""The served report in a real browser: it grows with the store and keeps what the reader chose."""

import contextlib
import threading

import numpy as np
import pytest
import waiting
from report_page import after_drawing, eye, n_drawn, problems, run, set_value, turn
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row

from analysis.report.page import render_report
from sweep.artifacts.serve import LivePage, opened
from sweep.store.lock import Lock

pytestmark = pytest.mark.browser

ROWS = [trial_row(i, k, TWO_TASKS) for i, k in enumerate(preference_grid(2, 60))]


@pytest.fixture
def folder(tmp_path):
    """Sixty planned trials, of which 40 are complete."""
    write_manifest(tmp_path / "results", TWO_TASKS)
    write_plan(tmp_path / "results", ROWS)
    for row in ROWS[:40]:
        write_row(tmp_path / "results", row, TWO_TASKS)
    return tmp_path / "results"


@contextlib.contextmanager
def serving(browser, folder):
    """A server of this folder, open in the browser."""
    with opened(0) as found:
        found.live = LivePage(folder, lambda table, version: render_report(table, live=version), poll_s=0.3)
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        browser.get_log("performance")
        browser.get_log("browser")
        browser.get(found.address)
        after_drawing(browser)
        try:
            yield found
        finally:
            browser.get("about:blank")
            found.shutdown()
            thread.join()
            found.live.stop()


@pytest.fixture
def server(browser, folder):
    """As `serving`."""
    with serving(browser, folder) as found:
        yield found


def status(browser):
    return run(browser, "return document.querySelector('#live p').textContent")


def until(browser, code):
    """Wait until some code is true; the page may load itself anew in between."""
    from selenium.common.exceptions import WebDriverException

    def is_true():
        try:
            return run(browser, code)
        except WebDriverException:
            return None

    return waiting.until(is_true, f"page of which this is true: {code}")


def grow(browser, folder, n_before):
    """One more trial, and the page that shows it, with everything put back."""
    write_row(folder, ROWS[n_before], TWO_TASKS)
    until(browser, f"return report.n_points === {n_before + 1} && document.querySelector('#live p').textContent !== ''")
    after_drawing(browser)


def elsewhere(browser, server):
    """Complaints, and requests to anything but this server."""
    return [found for found in problems(browser) if not found.startswith((server.address, f"{server.address}version"))]


def test_it_grows_and_keeps_what_the_reader_chose(browser, server, folder):
    until(browser, "return document.querySelector('#live p').textContent.startsWith('no run is active · 40 of 60 trials · updated ')")
    set_value(browser, "eps-range", 600)
    set_value(browser, "sparsity", "10")
    set_value(browser, "axis-x", "loss.validation.right")
    set_value(browser, "plane", "staircase")
    run(browser, "document.querySelectorAll('#legend button')[1].click()")
    seen_from = turn(browser)
    run(browser, "Plotly.relayout('view-1', {'xaxis.range': [0.05, 0.3], 'xaxis.autorange': false})")
    set_value(browser, "search", "ok")
    header = next(button for button in browser.find_elements("css selector", "#trial-table th button") if button.text == "CR")
    header.click()
    header.click()
    run(browser, "document.getElementById('next').click()")
    run(browser, "select(7, null)")
    run(browser, "document.getElementById('clusters-title').scrollIntoView()")
    look = """return {
        choice: [choice.eps, choice.accuracy, choice.sparsity, choice.plane, choice.axes, [...choice.hidden]],
        fields: ['eps', 'sparsity', 'axis-x', 'plane', 'search'].map((id) => document.getElementById(id).value),
        selected: document.getElementById('detail').hidden ? null : document.getElementById('detail-title').textContent,
        ringed: document.getElementById('view-1').data.some((trace) => trace.name === 'selected'),
        pressed: [...document.querySelectorAll('#legend button')].map((button) => button.getAttribute('aria-pressed')),
        listing: [listing.sort, listing.descending, listing.page, document.querySelector('th[aria-sort]').textContent],
        range: document.getElementById('view-1').layout.xaxis.range,
        place: Math.round(document.getElementById('clusters-title').getBoundingClientRect().top),
    }"""
    before, first = run(browser, look), run(browser, "return report.live")
    assert before["listing"] == ["compression_rate", True, 1, "CR"]
    assert "false" in before["pressed"]
    for n_before in (40, 41):
        grow(browser, folder, n_before)
        after = run(browser, look)
        assert abs(after.pop("place") - before["place"]) <= 2
        assert after == {name: value for name, value in before.items() if name != "place"}
        assert np.allclose(eye(browser), seen_from, atol=1e-6)
    assert run(browser, "return report.live") > first
    assert "42 of 60 trials" in status(browser)
    set_value(browser, "eps-range", 700)
    assert np.allclose(eye(browser), seen_from, atol=1e-6), "a later drawing keeps the camera too"
    assert elsewhere(browser, server) == []


@pytest.mark.slow
def test_everything_stays_everything(browser, server, folder):
    """The slider's right end means all points, also those that come later with a larger slack."""
    set_value(browser, "eps-range", 1000)
    assert n_drawn(browser, 1) == 40
    grow(browser, folder, 40)
    assert n_drawn(browser, 1) == 41


@pytest.mark.slow
def test_what_colours_stand_for_stays_and_so_does_what_is_hidden_of_them(browser, server, folder):
    run(browser, "const e = document.getElementById('colour'); e.value = 'k_0'; e.dispatchEvent(new Event('change'))")
    run(browser, "document.querySelectorAll('#legend button')[2].click()")
    look = (
        "return [choice.colour, document.getElementById('colour').value, [...choice.hidden], document.getElementById('legend').textContent]"
    )
    before = run(browser, look)
    assert before[0] == "k_0"
    assert len(before[2]) == 1
    grow(browser, folder, 40)
    assert run(browser, look) == before


@pytest.mark.slow
def test_a_page_that_was_not_touched_looks_as_it_did_at_first(browser, server, folder):
    look = "return [choice.eps, [...choice.hidden], listing.sort, listing.page, scrollY, document.getElementById('detail').hidden]"
    before = run(browser, look)
    grow(browser, folder, 40)
    assert run(browser, look) == before
    assert run(browser, "return sessionStorage.getItem(KEPT)") is None


@pytest.mark.slow
def test_paused_updates_wait(browser, server, folder):
    button = browser.find_element("id", "live-pause")
    assert button.get_attribute("aria-label") == "Pause updates"
    button.click()
    write_row(folder, ROWS[40], TWO_TASKS)
    until(browser, "return document.querySelector('#live p').textContent.endsWith(', newer data are available')")
    assert "updates are paused · 41 of 60 trials · last updated " in status(browser)
    assert run(browser, "return report.n_points") == 40
    button.click()
    until(browser, "return report.n_points === 41")
    assert browser.find_element("id", "live-pause").text == "Pause"


@pytest.mark.slow
def test_it_waits_while_a_word_is_being_typed(browser, server, folder):
    """The page itself types, so that no delay of this test lets it rest."""
    typing = """
        const search = document.getElementById('search');
        search.focus();
        window.typing = setInterval(() => { search.value += 'c'; search.dispatchEvent(new Event('input', { bubbles: true })); }, 100);
    """
    run(browser, typing)
    write_row(folder, ROWS[40], TWO_TASKS)
    until(browser, "return live.newest.version !== report.live")
    asked = "performance.getEntriesByType('resource').filter((entry) => entry.name.endsWith('/version')).length"
    n_before = run(browser, f"return {asked}")
    until(browser, f"return {asked} >= {n_before + 3}")
    assert run(browser, "return report.n_points") == 40
    run(browser, "clearInterval(window.typing); document.getElementById('search').value = 'c0ffee'")
    until(browser, "return report.n_points === 41")
    until(browser, "return document.activeElement.id === 'search' && document.activeElement.value === 'c0ffee'")


def test_it_says_how_the_sweep_and_the_server_fare(browser, server, folder):
    with Lock(folder / "lock.json"):
        until(browser, "return document.querySelector('#live p').textContent.startsWith('live · 40 of 60 trials · updated ')")
    until(browser, "return document.querySelector('#live p').textContent.startsWith('no run is active')")
    write_plan(folder, ROWS[:40], number=2)
    until(browser, "return document.querySelector('#live p').textContent.startsWith('the sweep has ended · 40 of 40 trials')")
    assert elsewhere(browser, server) == []
    server.shutdown()
    server.server_close()
    until(browser, "return document.querySelector('#live p').textContent.startsWith('the server has stopped · last updated ')")
    assert run(browser, "return report.n_points") == 40


@pytest.mark.slow
def test_it_fits_a_phone_in_light_and_dark(browser, server, resize):
    resize(390, 844)
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        after_drawing(browser)
        box = run(browser, "const b = document.getElementById('live').getBoundingClientRect(); return [b.left, b.right, b.height]")
        assert box[0] >= 0
        assert box[1] <= 390
        assert box[2] <= 64
        assert run(browser, "return document.documentElement.scrollWidth") <= 390
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.slow
def test_a_store_without_a_row_begins_to_show_some(browser, folder):
    for path in (folder / "rows").iterdir():
        path.unlink()
    with serving(browser, folder) as server:
        until(browser, "return document.querySelector('#live p').textContent.startsWith('no run is active · 0 of 60')")
        grow(browser, folder, 0)
        assert elsewhere(browser, server) == []
