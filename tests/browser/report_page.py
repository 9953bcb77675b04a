"""What tests do with a report in a browser: open it, move its controls, ask what it drew and what it complained of."""

import json
import time

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


def until(browser, code, seconds=30):
    """Wait for some code to be true."""
    end = time.monotonic() + seconds
    while not run(browser, code):
        assert time.monotonic() < end, f"not true after {seconds} s: {code}"
        time.sleep(0.05)


def run(browser, code, *arguments):
    return browser.execute_script(code, *arguments)


def after_drawing(browser):
    """Let plotly finish two frames."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 100)))"
    )


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
