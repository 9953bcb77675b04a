"""A headless chromium with software WebGL, and the synthetic store of the analysis room's tests."""

import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "analysis"))

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-watchdog",  # a busy machine is no broken graphics card
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser a file of tests, at 1280 x 900; it logs its console and every request."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("not run: needs chromium and chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = _started(lambda: webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)))
    chrome.set_script_timeout(110)  # the driver's own connection has a limit of 120 s
    _resize(chrome, 1280, 900)
    yield chrome
    chrome.quit()


def _started(start: Callable[[], Any]) -> Any:
    """The driver gives a browser half a minute to start, which a busy machine may not have."""
    from selenium.common.exceptions import WebDriverException

    for _ in range(2):
        try:
            return start()
        except WebDriverException:
            continue
    return start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the page's console."""
    report = yield
    chrome = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and chrome:
        report.sections.append(("console of the page", "\n".join(entry["message"] for entry in chrome.get_log("browser")) or "empty"))
    return report


@pytest.fixture
def resize(browser: Any) -> Iterator[Callable[[int, int], None]]:
    """Set the page's size, put back afterwards; the window itself cannot be as narrow as a phone."""
    yield lambda width, height: _resize(browser, width, height)
    _resize(browser, 1280, 900)


def _resize(browser: Any, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Make a synthetic results folder; arguments as `write_store`."""
    from synthetic_store import write_store

    def make(**options: Any) -> Path:
        write_store(tmp_path / "results", **options)
        return tmp_path / "results"

    return make
