"""The table of methods and the second study in a real browser, wide and on a phone."""

import pytest
from report_page import after_drawing, problems, run, show

pytestmark = pytest.mark.browser


@pytest.fixture
def folder(tmp_path):
    from method_stores import write_table_store

    write_table_store(tmp_path, problem={"name": "multifashion", "options": {}, "fingerprint": "f"})
    return tmp_path


def boxes(browser, selector):
    """Width of what scrolls and of what is in it, for each match."""
    return run(browser, "return [...document.querySelectorAll(arguments[0])].map(e => [e.clientWidth, e.scrollWidth])", selector)


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.slow)])
def test_the_sections_are_there_and_scroll_inside_their_own_boxes(browser, folder, resize, width):
    resize(width, 844)
    show(browser, folder)
    after_drawing(browser)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    assert [browser.find_element("id", name).text for name in ("methods-title", "second-title")] == ["Methods", "Second study"]
    for selector in (".methods", "#second .second"):
        found = boxes(browser, selector)
        assert found
        assert all(outer <= width for outer, _ in found)
        if width == 390:
            assert all(inner > outer for outer, inner in found)
    reachable = run(browser, "return [...document.querySelectorAll('.methods, .second')].every(e => e.tabIndex === 0)")
    assert reachable
    assert problems(browser) == []


def test_the_table_says_what_python_computed(browser, folder):
    from analysis import read_results
    from analysis.method_table.cells import cells_of, leading_texts, shown_columns
    from analysis.method_table.table import method_table

    show(browser, folder)
    (dataset,) = method_table(read_results(folder)).datasets
    columns = shown_columns(dataset, dataset.lines)
    rows = browser.find_elements("css selector", "#methods .methods:first-of-type tbody tr")
    assert len(rows) == len(dataset.lines) == 9
    for row, line in zip(rows, dataset.lines, strict=True):
        _, label, k = leading_texts(line, dataset)
        assert row.find_element("css selector", "th[scope=row]").text == label
        assert row.find_element("css selector", "td").text == k
        numbers = run(
            browser,
            "return [...arguments[0].querySelectorAll('td.n')].map(td => "
            "[...td.childNodes].filter(n => n.className !== 'aloud').map(n => n.textContent).join('').trim())",
            row,
        )
        cells = cells_of(line, columns)
        assert numbers[:-1] == [f"{cell.text} ± {cell.spread}" if cell.spread else cell.text for cell in cells]
        assert len(row.find_elements("css selector", ".boxed")) == sum(cell.is_boxed for cell in cells)
        assert len(row.find_elements("css selector", "strong")) == sum(cell.is_bold for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_marks_are_a_border_and_a_weight_and_words(browser, folder, scheme):
    show(browser, folder)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        after_drawing(browser)
        style = run(
            browser,
            "const s = getComputedStyle(document.querySelector('#methods .boxed')), page = getComputedStyle(document.body);"
            "return [parseFloat(s.borderTopWidth), s.borderTopStyle, s.borderTopColor, s.color, page.backgroundColor]",
        )
        assert style[0] >= 1
        assert style[1] == "solid"
        assert style[2] == style[3] != style[4]
        assert run(browser, "return getComputedStyle(document.querySelector('#methods strong')).fontWeight >= 600")
        words = run(browser, "return document.querySelector('#methods .boxed').parentElement.textContent")
        assert ", best of " in words
        title = run(browser, "return document.querySelector('#second-figure .gtitle, #second-figure .annotation-text').style.fill")
        ink = run(browser, "return getComputedStyle(document.body).color")
        assert title == ink
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hypervolumes_stand_beside_the_literature(browser, folder):
    show(browser, folder)
    text = browser.find_element("id", "methods").text
    for part in ("Hypervolume of test cross-entropy on multifashion", "GMOOAR 0.583", "(2, 2)", "The data differ"):
        assert part in text


def test_the_second_study_is_drawn_and_its_points_open_their_trials(browser, folder):
    show(browser, folder)
    after_drawing(browser)
    plot = "const p = document.getElementById('second-figure');"
    assert run(browser, f"{plot} return p.querySelectorAll('.xy, .x2y2, .x3y3').length") >= 3
    assert run(browser, f"{plot} return p.layout.annotations.map(a => a.text)") == ["HPS", "MDMTN", "All fronts"]
    trial = run(browser, f"{plot} const id = p.data[0].customdata[0]; p.emit('plotly_click', {{points: [{{customdata: id}}]}}); return id")
    assert browser.find_element("id", "detail-title").text == f"Trial {trial}"
    assert problems(browser) == []


@pytest.mark.slow
def test_printing_shows_all_of_the_table(browser, folder):
    show(browser, folder)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert run(browser, "return getComputedStyle(document.querySelector('.methods')).overflowX") == "visible"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.slow
def test_trials_without_a_preference_say_so(browser, tmp_path):
    from method_stores import ALL_STUDIES, table_rows, write_table_store

    studies = [entry for entry in ALL_STUDIES if entry["name"] in ("hps", "stl", "kdmtl")]
    write_table_store(tmp_path, table_rows(studies, seeds=(0,)), studies)
    show(browser, tmp_path)
    after_drawing(browser)
    browser.find_element("id", "search").send_keys("kdmtl")
    (row,) = browser.find_elements("css selector", "#trial-table tbody tr")
    assert " none " in f" {row.text} "
    row.find_element("css selector", "button").click()
    detail = browser.find_element("id", "detail").text
    assert "none" in detail
    assert "began from the trials" in detail
    header = next(button for button in browser.find_elements("css selector", "#trial-table th button") if button.text == "k")
    run(browser, "document.getElementById('search').value = ''; document.getElementById('search').dispatchEvent(new Event('input'))")
    header.click()
    sorted_k = run(browser, "return listing.rows.map(row => cell('k', row))")
    assert [k is None for k in sorted_k] == [False] * 6 + [True] * 2
    assert problems(browser) == []
