"""Measures how long the report of a finished sweep takes to build and how large it is."""

import resource
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from analysis.report.page import write_report
from sweep.grid.load import load_config
from tests.bench.scale.figures import peak_mb, seconds, show
from tests.bench.scale.made_sweep import write_grid, write_results

_LIMIT_S, _LIMIT_MB = 10.0, 15.0
_EPOCHS = 3


def measure(folder: Path, asked: Namespace) -> None:
    """Measure a sweep with five seeds; its rows and curves are written before the clock starts."""
    root = write_results(load_config(write_grid(folder, asked.trials // 5, 5)), _EPOCHS)
    target = root / "report.html"
    show("write_report", seconds(lambda: write_report(root, target)), "s", _LIMIT_S)
    show("  its size", target.stat().st_size / 1e6, "MB", _LIMIT_MB)
    show("  peak memory, making the rows included", peak_mb(resource.getrusage(resource.RUSAGE_SELF)), "MB")
    if asked.browser:
        _open(target, folder)


def _open(report: Path, folder: Path) -> None:
    """Print the seconds until headless Chromium with software rendering has drawn the page, and after its slowest control was moved."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        print("  not opened: needs chromium and chromium-driver")
        return
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = ("headless=new", "no-sandbox", "disable-gpu", "use-angle=swiftshader", "enable-unsafe-swiftshader", "disable-dev-shm-usage")
    for flag in (*flags, "window-size=1400,900", f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    browser.set_script_timeout(120)

    def drawn(act: Callable[[], object]) -> float:
        started = time.perf_counter()
        act()
        browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 0)))")
        return time.perf_counter() - started

    browser.get("about:blank")
    show("chromium, software rendering: page loaded and drawn", drawn(lambda: browser.get(report.as_uri())), "s")
    every = "const e = document.getElementById('eps'); e.value = 1e9; e.dispatchEvent(new Event('input'))"
    show("  eps moved so that every embedded point is drawn", drawn(lambda: browser.execute_script(every)), "s")
    browser.quit()
