"""Pages of a user with trouble: they open quietly, fit a phone, show names as text, and never say NaN."""

import re

import pytest
from report_page import after_drawing, problems, run, show

pytestmark = pytest.mark.browser

PAGES = (
    "nothing planned",
    "no result yet",
    "no rows, odd types",
    "one trial",
    "one dense trial",
    "all failed",
    "all diverged",
    "one objective",
    "sparsity alone",
    "six objectives and sparsity",
    "one trial, six objectives",
    "twelve objectives",
    "identical points",
    "only dense",
    "nulls, bare manifest",
    "half infinite",
    "half tiny",
    "all huge but the front",
    "all tiny but the front",
    "infinite preferences",
    "hostile tasks",
    "hostile names",
    "long names",
    "methods, all failed",
)
IN_EVERY_RUN = (
    "nothing planned",
    "all failed",
    "six objectives and sparsity",
    "hostile names",
)
_NO_NUMBER = re.compile(r"\b(NaN(?! or infinite)|undefined|-?Infinity)\b")


@pytest.mark.parametrize("name", [name if name in IN_EVERY_RUN else pytest.param(name, marks=pytest.mark.slow) for name in PAGES])
def test_an_edge_page_opens_quietly_on_a_phone(browser, tmp_path, resize, name):
    from edge_stores import EDGE_STORES

    EDGE_STORES[name](tmp_path)
    resize(390, 844)
    show(browser, tmp_path)
    after_drawing(browser)
    assert run(browser, "return document.documentElement.scrollWidth") <= 390
    assert _NO_NUMBER.search(run(browser, "return document.body.innerText")) is None
    if buttons := browser.find_elements("css selector", "#trial-table tbody button"):
        run(browser, "arguments[0].click()", buttons[0])
        after_drawing(browser)
        assert _NO_NUMBER.search(run(browser, "return document.getElementById('detail').innerText")) is None
        assert run(browser, "const d = document.getElementById('detail'); return d.scrollWidth - d.clientWidth") <= 0
    assert problems(browser) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("hostile tasks", marks=pytest.mark.slow), "hostile names"])
def test_names_are_shown_as_they_are(browser, tmp_path, name):
    from edge_stores import EDGE_STORES, HOSTILE_NAMES

    EDGE_STORES[name](tmp_path)
    show(browser, tmp_path)
    after_drawing(browser)
    assert HOSTILE_NAMES[0] in browser.find_element("tag name", "h1").text
    drawn = run(browser, "return [...document.querySelectorAll('.plot')].map((plot) => plot.textContent).join(' ')")
    for text in HOSTILE_NAMES[:2]:
        assert text in drawn
    assert "&quot;" not in drawn
    assert "&lt;" not in drawn
    assert run(browser, "return document.querySelectorAll('main script, main b b, aside script').length") == 0
    assert problems(browser) == []


def test_what_failed_is_open_where_nothing_else_is_there(browser, tmp_path):
    from edge_stores import EDGE_STORES

    EDGE_STORES["all failed"](tmp_path)
    show(browser, tmp_path)
    assert "RuntimeError: out of luck" in browser.find_element("id", "health").text
