"""Accuracy against real size and time in a real browser: wide and on a phone, light and dark; a click opens the trial."""

import pytest
from report_page import after_drawing, problems, run, show

pytestmark = pytest.mark.browser
PLOT = "const p = document.getElementById('real-size-figure');"


@pytest.fixture
def folder(tmp_path):
    from sized_stores import write_latency, write_sized_store

    for row in write_sized_store(tmp_path, 40):
        write_latency(tmp_path, row)
    return tmp_path


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_the_section_fits_and_every_panel_is_drawn(browser, folder, resize, width):
    resize(width, 844)
    show(browser, folder)
    after_drawing(browser)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    assert browser.find_element("id", "real-size-title").text == "Real size"
    titles = run(browser, f"{PLOT} return p.layout.annotations.map(a => a.text)")
    assert titles == ["Bytes on disk", "Parameters kept", "Multiply-adds kept", "Time, batch 1", "Time, batch 256"]
    assert run(browser, f"{PLOT} return p.querySelectorAll('.scatterlayer .trace .point').length") == 5 * 40
    box = run(browser, "const b = document.querySelector('#real-size .view'); return [b.clientWidth, b.scrollWidth]")
    assert (box[1] > box[0]) == (width == 390), "a phone scrolls inside the box"
    assert problems(browser) == []


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_dense_trials_have_the_colour_of_the_text(browser, folder, scheme):
    show(browser, folder)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        after_drawing(browser)
        ink = run(browser, "return getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()")
        colours = run(browser, f"{PLOT} return p.data.filter(t => t.meta.group === 'dense').map(t => t.marker.color)")
        assert set(colours) == {ink}
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_point_and_a_line_of_the_table_open_their_trial(browser, folder):
    show(browser, folder)
    after_drawing(browser)
    trial = run(browser, f"{PLOT} const id = p.data[0].customdata[0]; p.emit('plotly_click', {{points: [{{customdata: id}}]}}); return id")
    assert browser.find_element("id", "detail-title").text == f"Trial {trial}"
    browser.find_element("id", "close-detail").click()
    run(browser, "document.querySelector('#real-size details').open = true")
    button = browser.find_element("css selector", "#real-size [data-trial]")
    trial = button.text
    run(browser, "arguments[0].click()", button)
    assert browser.find_element("id", "detail-title").text == f"Trial {trial}"
    assert "bytes when compressed" in browser.find_element("id", "detail").text
    assert problems(browser) == []
