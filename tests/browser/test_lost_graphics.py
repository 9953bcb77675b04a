"""A browser takes WebGL away, in the middle of a drawing or later: the rest of the page stays, and the view comes back."""

import contextlib

import pytest
from report_page import n_drawn, run, set_value, show, until

pytestmark = pytest.mark.browser

LOSE = "this.getExtension('WEBGL_lose_context').loseContext();"


@contextlib.contextmanager
def losing(browser, when):
    """In pages opened here, the surface goes with the tenth buffer of a drawing; `when` says with which drawing."""
    source = f"""
    window.nLost = 0;
    for (const gl of [WebGLRenderingContext.prototype, WebGL2RenderingContext.prototype]) {{
      const create = gl.createBuffer;
      let n = 0;
      gl.createBuffer = function () {{ n += 1; if (n % 10 === 0 && {when}) {{ window.nLost += 1; {LOSE} }} return create.call(this); }};
    }}"""
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def unexpected(browser):
    """Errors that nobody caught; that a view was tried again is only a warning."""
    return [entry["message"] for entry in browser.get_log("browser") if "Uncaught" in entry["message"]]


def test_a_view_lost_while_it_is_drawn_is_drawn_again(browser, store):
    with losing(browser, "window.nLost === 0"):
        show(browser, store(n_trials=20))
    assert run(browser, "return window.nLost") == 1
    assert len(browser.find_elements("css selector", "#clusters th")) == 6, "what comes after the view is there"
    shown = len(run(browser, "return shownRows()"))
    assert n_drawn(browser, 1) == shown
    assert 0 < n_drawn(browser, 0) <= shown
    assert unexpected(browser) == []


def test_a_view_that_cannot_be_drawn_says_so_and_the_page_works(browser, store):
    with losing(browser, "!window.isBack"):
        show(browser, store(n_trials=20), wait=False)
        until(browser, "return document.querySelector('#view-0 .undrawn') !== null")
    assert "could not draw this view" in browser.find_element("id", "view-0").text
    set_value(browser, "eps", "1000")
    assert n_drawn(browser, 1) == 20
    assert sum(int(line.text) for line in browser.find_elements("css selector", "#clusters tbody td:nth-child(3)")) == 20
    run(browser, "window.isBack = true")
    browser.find_element("css selector", "#view-0 .undrawn button").click()
    assert n_drawn(browser, 0) > 0
    assert browser.find_elements("css selector", "#view-0 .undrawn") == []
    assert unexpected(browser) == []


@pytest.mark.slow
def test_a_choice_draws_what_stayed_undrawn_too(browser, store):
    with losing(browser, "!window.isBack"):
        show(browser, store(n_trials=20), wait=False)
        until(browser, "return document.querySelector('#view-0 .undrawn') !== null")
    run(browser, "window.isBack = true")
    set_value(browser, "eps", "1000")
    assert n_drawn(browser, 0) > 0
    assert browser.find_elements("css selector", "#view-0 .undrawn") == []
    assert unexpected(browser) == []


@pytest.mark.slow
def test_a_surface_that_is_lost_again_and_again_is_left_alone(browser, store):
    """(Plotly's own frames may complain meanwhile; nobody can catch that.)"""
    show(browser, store(n_trials=20))
    lose = "document.querySelector('#view-0 canvas')?.getContext('webgl').getExtension('WEBGL_lose_context').loseContext()"
    run(browser, f"window.losing = setInterval(() => {lose}, 50)")
    until(browser, "return document.querySelector('#view-0 .undrawn') !== null")
    run(browser, "clearInterval(window.losing)")
    assert n_drawn(browser, 1) == len(run(browser, "return shownRows()"))
    assert run(browser, "return drawn.get(document.getElementById('view-0')).timer === null"), "nothing is tried any more"
    assert browser.find_elements("css selector", "#view-0 .undrawn")


@pytest.mark.slow
def test_a_choice_right_after_a_loss_waits_for_the_new_surface(browser, store):
    show(browser, store(n_trials=20))
    run(browser, "document.querySelector('#view-0 canvas').getContext('webgl').getExtension('WEBGL_lose_context').loseContext()")
    set_value(browser, "eps", "1000")
    until(browser, "return document.getElementById('view-0')._fullLayout?.scene?._scene?.glplot?.contextLost === false")
    assert n_drawn(browser, 0) > 0
    assert unexpected(browser) == []


def test_a_view_lost_later_comes_back_as_it_was_turned(browser, store):
    show(browser, store(n_trials=20))
    eye = "const e = document.getElementById('view-0')._fullLayout.scene.camera.eye; return [e.x, e.y, e.z]"
    run(browser, "Plotly.relayout('view-0', {'scene.camera.eye': {x: 0.3, y: 2, z: 1}})")
    canvas = "document.querySelector('#view-0 canvas')"
    run(browser, f"window.old = {canvas}; window.old.getContext('webgl').getExtension('WEBGL_lose_context').loseContext()")
    until(browser, f"return Boolean({canvas}) && {canvas} !== window.old")
    assert n_drawn(browser, 0) > 0
    assert run(browser, eye) == [0.3, 2, 1]
    run(browser, "document.getElementById('view-0').emit('plotly_click', {points: [{customdata: 2}]})")
    assert "0002c0ffee0002" in browser.find_element("id", "detail-title").text
    assert unexpected(browser) == []
