"""How long does a browser with software rendering take to open a report and draw everything that is visible at first?

    python -m tests.bench.first_draw                     90 trials of every section, and 20,000 trials of three objectives
    python -m tests.bench.first_draw --rounds 1

The time is measured in the page itself, from the start of navigation to two frames after the last of plotly's `afterplot` events.
Of 20,000 trials the page draws the front and embeds as many points as `analysis.report.embed.MAX_VALUES` allows. The script prints
both numbers, and the time until all embedded points are drawn after eps has been moved.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from analysis import read_results, write_report
from tests.bench.scale.figures import machine, show

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "analysis"))
_LIMITS = {90: 3.0, 20_000: 6.0}  # seconds
_FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "use-angle=swiftshader", "enable-unsafe-swiftshader", "disable-dev-shm-usage")
_QUIET_MS = 1500
"""When no further `afterplot` has come for this long, the drawing counts as finished."""
_COUNT = """(() => {
let asked = 0;
window.lastDrawn = 0;
const count = () => { const mine = ++asked; requestAnimationFrame(() => requestAnimationFrame(() => {
  if (mine === asked) window.lastDrawn = performance.now(); })); };
const seen = new WeakSet();
const watch = () => { for (const plot of document.querySelectorAll('.js-plotly-plot')) if (!seen.has(plot) && plot.on) {
  seen.add(plot); plot.on('plotly_afterplot', count); count(); } };
new MutationObserver(watch).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['class'] });
})();
"""
_WAIT = f"""
const done = arguments[0];
const look = () => window.lastDrawn && performance.now() - window.lastDrawn > {_QUIET_MS} ? done(window.lastDrawn) : setTimeout(look, 50);
look();
"""
_EVERY = "const e = document.getElementById('eps'); e.value = 1e9; window.began = performance.now(); e.dispatchEvent(new Event('input'))"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times that each page is opened; the median is printed")
    asked = parser.parse_args()
    print(f"first draw ({machine()})", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for n_trials, write in ((90, _every_section), (20_000, _many_trials)):
            root = Path(folder) / str(n_trials)
            write(root, n_trials)
            _measure(root, n_trials, asked.rounds)


def _every_section(root: Path, n_trials: int) -> None:
    """Make a sweep that fills every section of the report: two seeds of two studies, with cosines and device times."""
    from method_stores import study
    from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_epochs, write_manifest, write_parquet, write_plan

    from sweep.store.schema import row_schema

    studies = [study("mdmtn", "mdmtn", "wcal_growl", scalarization="chebyshev_al"), study("hps", "hps", "wcal_growl")]
    grid = preference_grid(2, -(-n_trials // 4))
    rows: list[dict[str, Any]] = []
    for entry in studies:
        for seed in (0, 1):
            for k in grid:
                own = {"study": entry["name"], "model": entry["model"], "seed": seed, "device_s": 0.5, "energy_wh": 0.01}
                rows.append(trial_row(len(rows), k, TWO_TASKS, **own, energy_estimated=False, gradient_cosine=[-0.2]))
    rows = rows[:n_trials]
    write_manifest(root, TWO_TASKS, studies=studies)
    write_plan(root, rows)
    write_parquet(root / "trials.parquet", rows, row_schema(TWO_TASKS))
    for row in rows:
        write_epochs(root, row, TWO_TASKS, n_epochs=40)


def _many_trials(root: Path, n_trials: int) -> None:
    from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_parquet, write_plan

    from sweep.store.schema import row_schema

    rows = [trial_row(i, k, TWO_TASKS) for i, k in enumerate(preference_grid(2, n_trials))]
    write_manifest(root, TWO_TASKS)
    write_plan(root, rows)
    write_parquet(root / "trials.parquet", rows, row_schema(TWO_TASKS))


def _measure(root: Path, n_trials: int, rounds: int) -> None:
    report = write_report(root, root / "report.html")
    assert isinstance(report, Path)
    browser = _browser(root)
    try:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _COUNT})
        times = []
        for _ in range(rounds):
            browser.get("about:blank")
            browser.get(report.as_uri())
            times.append(browser.execute_async_script(_WAIT) / 1000)
        n_shown, n_embedded, n_plots = browser.execute_script(
            "return [shownRows().length, report.n_points, document.querySelectorAll('.js-plotly-plot').length]"
        )
        show(
            f"{n_trials:,} trials, {len(read_results(root).ok.frame):,} finished: first draw",
            statistics.median(times),
            "s",
            _LIMITS[n_trials],
        )
        print(f"  each: {', '.join(f'{t:.2f}' for t in times)} s; {n_plots} pictures; {n_shown:,} of {n_embedded:,} embedded points drawn")
        browser.execute_script(_EVERY)
        began = browser.execute_script("return window.began")
        drawn = browser.execute_async_script(_WAIT.replace("window.lastDrawn &&", "window.lastDrawn > window.began &&"))
        show(f"  eps moved so that all {n_embedded:,} embedded points are drawn", (drawn - began) / 1000, "s", _LIMITS[n_trials])
    finally:
        browser.quit()


def _browser(folder: Path) -> Any:
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        sys.exit("Error: this bench needs chromium and chromium-driver\n  hint: Debian: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, "window-size=1280,900", f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_script_timeout(180)
    return browser


if __name__ == "__main__":
    main()
