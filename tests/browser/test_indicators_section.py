"""Indicators, trade-offs and the attainment figure in a real browser, wide and on a phone."""

import pytest
from report_page import after_drawing, problems, run, show

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path):
    from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row

    write_manifest(tmp_path, TWO_TASKS)
    grid = preference_grid(2, 8)
    rows = [trial_row(100 * seed + i, k, TWO_TASKS, seed=seed) for seed in range(3) for i, k in enumerate(grid)]
    write_plan(tmp_path, rows)
    for row in rows:
        write_row(tmp_path, row, TWO_TASKS)
    return tmp_path


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_the_section_fits_and_its_figure_is_drawn(browser, folder, resize, width):
    resize(width, 844)
    show(browser, folder)
    after_drawing(browser)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    assert browser.find_element("id", "indicators-title").text == "Indicators and trade-offs"
    names = run(browser, "return document.getElementById('indicators-figure').data.map(trace => trace.name)")
    assert names == ["25 % of the seeds", "50 % of the seeds", "75 % of the seeds"]
    lines = run(browser, "return document.querySelectorAll('#indicators-figure .scatterlayer .trace path.js-line').length")
    assert lines == 3
    assert problems(browser) == []
