"""Ray's dashboard as a person sees it in a browser, while a real run is on: the Jobs page names the sweep, the Actors page its packs."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from sweep_process import SweepProcess, live_of, sweep_process, write_grid

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]
TOKEN = "0011223344556677" * 4
COOKIE = "ray-authentication-token"
LONG = {"outer_iterations": 40, "epochs": 25}
GRID: dict[str, Any] = {
    "name": "seen-in-a-browser",
    "problem": {"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64},
    "preferences": {"list": [[0.02, 0.49, 0.49], [0.05, 0.475, 0.475]]},
    "training": {"batch_size": 64, "sparsify": LONG, "retrain": LONG, "growl": {"sparsity_min": 0}, "lsuv": {"n_samples": 128}},
    "output": "out",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SweepProcess, str, Path]]:
    """A run that trains for minutes, its dashboard's address and its results folder."""
    folder = tmp_path_factory.mktemp("b")
    write_grid(folder / "grid.yaml", **GRID)
    with sweep_process("run", "grid.yaml", folder=folder, RAY_AUTH_TOKEN=TOKEN) as process:
        process.until(lambda: live_of(folder / "out"), "running packs")
        (line,) = [line for line in process.printed().splitlines() if line.startswith("Ray dashboard: ")]
        yield process, line.removeprefix("Ray dashboard: "), folder / "out"


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def test_the_dashboard_asks_for_the_token_then_shows_the_sweep_and_its_packs(run: tuple[SweepProcess, str, Path], browser: Any) -> None:
    process, url, out = run
    browser.get(f"{url}/#/jobs")
    process.until(lambda: "token" in text_of(browser).lower(), "the question for the token", timeout=60)
    assert "seen-in-a-browser" not in text_of(browser)
    browser.add_cookie({"name": COOKIE, "value": TOKEN, "path": "/"})
    browser.refresh()
    page = process.until(lambda: text_of(browser) if "sweep seen-in-a-browser" in text_of(browser) else "", "the job's name", timeout=60)
    assert "RUNNING" in page
    assert "sweep.cluster.driver seen-in-a-browser-1" in page

    browser.get(f"{url}/#/actors")
    (pack, *_) = live_of(out)
    label = f"{pack['pack_id']} {pack['trial_ids'][0]} k=("
    process.until(lambda: label in text_of(browser), f"an actor called {label}", timeout=60)
