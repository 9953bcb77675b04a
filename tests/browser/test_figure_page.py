"""The pages of `sweep figure` and the report's first section in a real browser: drawn, and connected to nothing."""

import sys
from pathlib import Path

import pytest
from report_page import after_drawing, problems, run, show

from analysis import draw_figure, read_results, write_figure

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "analysis"))
from network_stores import write_network_store

from tests.unit.analysis.figures.test_paper_figures import samples

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("name", "drawn"), [("front", ".table"), ("similarity", ".heatmaplayer image"), ("samples", ".layer-above image")])
def test_a_page_is_drawn_and_connects_to_nothing(browser, tmp_path, name, drawn):
    rows = write_network_store(tmp_path / "results")
    figure = draw_figure(
        read_results(tmp_path / "results"),
        name,
        rows[1]["trial_id"] if name == "similarity" else None,
        samples() if name == "samples" else None,
    )
    path = write_figure(figure, tmp_path / "figure.html", "html", name)
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri())
    after_drawing(browser)
    assert run(browser, f"return document.querySelectorAll('#figure {drawn}').length") > 0
    assert run(browser, "return document.querySelectorAll('#figure [data-title*=loud], #figure [data-title*=hart]').length") == 0
    assert problems(browser, "figure.html") == []


def test_the_report_answers_the_question_first(browser, store, resize):
    folder = store(n_trials=40)
    for width in (1280, 390):
        resize(width, 900)
        show(browser, folder)
        after_drawing(browser)
        titles = run(browser, "return [...document.querySelectorAll('main h2')].map(e => e.textContent)")
        assert titles[0] == "At what sparsity do the tasks begin to conflict?"
        assert run(browser, "return document.getElementById('conflict-figure').data.length") >= 2
        assert run(browser, "return document.documentElement.scrollWidth <= window.innerWidth")
        run(browser, "document.querySelector('#conflict summary').click()")
        assert run(browser, "return document.querySelectorAll('#conflict tbody tr').length") == 4
        assert problems(browser) == []
