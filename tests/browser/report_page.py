"""What tests do with a report in a browser: open it, move its controls, ask what it drew and what it complained of."""

import json

import waiting

from analysis import write_report

_VIEWS_ARE_DRAWN = "return report.views.every((_, i) => document.getElementById(`view-${i}`).data)"


def show(browser, folder, wait=True, **options):
    """Write a store's report, open it and wait until its views are drawn; forgets earlier logs."""
    browser.get_log("performance")
    browser.get_log("browser")
    path = write_report(folder, **options)
    browser.get(path.as_uri())
    if wait:
        until(browser, _VIEWS_ARE_DRAWN)
    return path


def until(browser, code, *arguments):
    """Wait for some code to be true; what it returns."""
    return waiting.until(lambda: run(browser, code, *arguments), f"page of which this is true: {code}")


def run(browser, code, *arguments):
    return browser.execute_script(code, *arguments)


_UNTIL_STILL = """
const done = arguments[0], page = document.documentElement;
const look = () => [document.querySelectorAll("*").length, page.scrollWidth, page.scrollHeight].join();
let last = look(), still = 0;
const frame = () => {
  const now = look();
  still = now === last ? still + 1 : 0;
  last = now;
  if (still === 3) done(); else requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
"""


def after_drawing(browser):
    """Wait until the page has shown three frames without a change, however long they take."""
    browser.execute_async_script(_UNTIL_STILL)


def set_value(browser, id_, value):
    """What typing or moving a control does."""
    event = "change" if id_.startswith(("axis", "plane", "study", "only")) else "input"
    run(
        browser,
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event(arguments[2]))",
        id_,
        value,
        event,
    )


def settled(browser, code):
    """The value of some code once it no longer changes: software rendering lags behind the mouse."""
    value, last = run(browser, code), None
    while value != last:
        after_drawing(browser)
        after_drawing(browser)
        value, last = run(browser, code), value
    return value


_EYE = "const e = document.getElementById('view-{}')._fullLayout.scene.camera.eye; return [e.x, e.y, e.z]"


def eye(browser, view=0):
    """Where a view in space is seen from, once it no longer moves."""
    return settled(browser, _EYE.format(view))


def turn(browser, view=0):
    """Turn a view in space with the mouse, and return where it is seen from then.

    A view does not follow the mouse while it is being drawn, so a drag without effect is repeated, as a reader would do.
    """
    from selenium.webdriver.common.action_chains import ActionChains

    plot, before = browser.find_element("id", f"view-{view}"), eye(browser, view)

    def follows():
        mouse = ActionChains(browser, duration=50).move_to_element(plot).click_and_hold()
        mouse.move_by_offset(60, 25).move_by_offset(40, 10).release().perform()
        return eye(browser, view) != before

    waiting.until(follows, f"turn of view-{view} by the mouse")
    return eye(browser, view)


def n_drawn(browser, view):
    """Points in a view; one whose surface the browser took away is waited for."""
    until(browser, f"return Boolean(document.getElementById('view-{view}').data)")
    return run(
        browser, f"return document.getElementById('view-{view}').data.filter(t => t.name !== 'selected').flatMap(t => t.customdata).length"
    )


def problems(browser, own="report.html"):
    """Errors of the console, and every request but the page itself, whose address ends with `own`."""
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("data:", "blob:", "chrome")) and not url.endswith(own):
                errors.append(url)
    return errors
