"""A trial's panel and the colours of points: curves, commands to copy, groups by k0, seed, study or method."""

import pytest
from report_page import after_drawing, n_drawn, problems, run, set_value, show, until

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>"


def open_trial(browser, row):
    run(browser, "select(arguments[0])", row)
    after_drawing(browser)


def test_curves_of_a_trial_are_drawn(browser, store):
    from synthetic_store import TWO_TASKS, write_epochs

    folder = store(n_trials=6)
    rows = show_rows(folder)
    write_epochs(folder, rows[0], TWO_TASKS, n_epochs=8)
    show(browser, folder)
    open_trial(browser, 0)
    names = run(browser, "return document.querySelector('.curves').data.map(t => t.name)")
    assert names == [
        "left, validation",
        "left, train",
        "right, validation",
        "right, train",
        "left",
        "right",
        "SR",
        "sparsity",
        "left",
        "right",
    ]
    assert run(browser, "return document.querySelector('.curves').data[0].y.length") == 8
    assert run(browser, "return document.querySelector('.curves').layout.shapes[0].x0") == 4.5
    assert run(browser, "return document.querySelectorAll('#detail .curves svg.main-svg').length") > 0
    open_trial(browser, 1)
    assert not browser.find_elements("css selector", ".curves")
    assert "Its curves are not on this page" in browser.find_element("id", "detail").text
    assert problems(browser) == []


@pytest.mark.slow
def test_names_in_curves_are_text(browser, store):
    folder = store(n_trials=3, tasks=(HOSTILE, "b & c"))
    show(browser, folder)
    open_trial(browser, 0)
    assert run(browser, "return document.querySelectorAll('#detail img').length") == 0
    assert HOSTILE in run(browser, "return [...document.querySelectorAll('.curves .legendtext')].map(n => n.textContent).join(' | ')")
    assert problems(browser) == []


def test_commands_name_the_trial_and_can_be_copied(browser, store):
    folder = store(n_trials=4)
    show(browser, folder)
    browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    open_trial(browser, 1)
    trial = run(browser, "return cell('trial_id', 1)")
    export, figure = (node.text for node in browser.find_elements("css selector", "#detail .command code"))
    assert export == f"sweep export {folder} {trial} --to {trial[:12]}.safetensors"
    assert figure == f"sweep figure {folder} similarity --trial {trial}"
    button = browser.find_element("css selector", "#detail .command button")
    assert button.accessible_name == "Copy: Its network as a smaller file"
    # The button says it for two seconds, which may be over when this test looks.
    watch = "new MutationObserver(() => { window.said ??= arguments[0].textContent; }).observe(arguments[0], { childList: true });"
    run(browser, watch, button)
    button.click()
    said = until(browser, "return window.said")
    assert said in ("Copied", "Press Ctrl+C")
    if said == "Copied":
        assert browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == export
    else:
        assert run(browser, "return String(getSelection())") == export
    assert problems(browser) == []


def test_a_folder_with_spaces_is_quoted(browser, tmp_path):
    from synthetic_store import write_store

    write_store(tmp_path / "my results; rm", n_trials=2)
    show(browser, tmp_path / "my results; rm")
    open_trial(browser, 0)
    assert f"sweep export '{tmp_path}/my results; rm' " in browser.find_element("css selector", "#detail .command code").text


def show_rows(folder):
    from analysis import read_results

    return read_results(folder).frame[["trial_id", "attempt", "retry"]].astype({"attempt": int, "retry": int}).to_dict("records")


@pytest.mark.parametrize("kind", ["k_0", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("seed", "method"))])
def test_points_are_coloured_and_hidden_by_what_is_chosen(browser, tmp_path, kind):
    from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row

    write_manifest(tmp_path, TWO_TASKS)
    rows = [trial_row(i, k, TWO_TASKS, seed=i % 3, method=("wcal_growl", HOSTILE)[i % 2]) for i, k in enumerate(preference_grid(2, 24))]
    write_plan(tmp_path, rows)
    for row in rows:
        write_row(tmp_path, row, TWO_TASKS)
    show(browser, tmp_path)
    set_value(browser, "eps", "1000")
    assert [option.get_attribute("value") for option in browser.find_elements("css selector", "#colour option")] == [
        "cluster", "k_0", "seed", "method",
    ]  # fmt: skip
    run(browser, "const e = document.getElementById('colour'); e.value = arguments[0]; e.dispatchEvent(new Event('change'))", kind)
    after_drawing(browser)
    n_values = {"k_0": 4, "seed": 3, "method": 2}[kind]
    chips = browser.find_elements("css selector", "#legend button")
    assert len(chips) == n_values
    looks = run(browser, "return tracesBy(report.views[1]).map(t => t.marker.color + t.marker.symbol)")
    assert len(set(looks)) == n_values
    assert n_drawn(browser, 1) == 24
    chips[0].click()
    assert n_drawn(browser, 1) == 24 - 24 // n_values
    assert run(browser, "return document.querySelectorAll('#legend img').length") == 0
    assert n_drawn(browser, 0) <= 18, "the norms of k0 = 0 stay out of the 3-D view"
    browser.find_element("css selector", "#controls button[type=reset]").click()
    assert run(browser, "return choice.colour") == "cluster"
    assert browser.find_element("id", "colour").get_attribute("value") == "cluster"
    assert problems(browser) == []


@pytest.mark.slow
def test_colours_follow_into_parallel_coordinates_and_the_matrix(browser, store):
    show(browser, store(n_trials=16, tasks=("a", "b", "c")))
    set_value(browser, "eps", "1000")
    run(browser, "const e = document.getElementById('colour'); e.value = 'k_0'; e.dispatchEvent(new Event('change'))")
    after_drawing(browser)
    assert run(browser, "return new Set(document.getElementById('view-2').data.map(t => t.line.color)).size") == 4
    assert run(browser, "return new Set(document.getElementById('view-3').data[0].marker.color).size") == 4
    assert problems(browser) == []
