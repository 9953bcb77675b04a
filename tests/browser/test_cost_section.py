"""The section on costs in a browser: it fits a phone, and a trial's own panel shows its part."""

import pytest
from report_page import after_drawing, problems, run, show
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan, write_row

from analysis import Costs

pytestmark = pytest.mark.browser
PRICES = Costs(1.2, 0.3, 380.0)


@pytest.fixture
def folder(tmp_path):
    """One trial measured, one estimated, one not; a study with a long name."""
    spent = [{"energy_wh": 12.5, "energy_estimated": False}, {"energy_wh": 25.0, "energy_estimated": True}, {}]
    rows = [
        trial_row(i, k, TWO_TASKS, device_s=1800.0, study="hard-parameter-sharing-with-a-long-name", **spent[i % 3])
        for i, k in enumerate(preference_grid(2, 6))
    ]
    write_manifest(tmp_path, TWO_TASKS)
    write_plan(tmp_path, rows)
    for row in rows:
        write_row(tmp_path, row, TWO_TASKS)
    return tmp_path


def test_the_section_fits_a_phone(browser, resize, folder):
    resize(390, 800)
    show(browser, folder, costs=PRICES)
    assert run(browser, "return document.documentElement.scrollWidth") <= 390
    assert run(browser, "const s = document.getElementById('cost'); return s.scrollWidth <= s.clientWidth")
    text = run(browser, "return document.getElementById('cost').innerText")
    for part in ("3 device hours", "25 Wh measured in 2 trials", "50 Wh estimated in 2 trials", "not measured in 2 trials", "28.5 g"):
        assert part in text
    assert problems(browser) == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_its_text_stands_out_from_its_ground(browser, folder, scheme):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    try:
        show(browser, folder, costs=PRICES)
        colours = run(
            browser,
            """const dd = document.querySelector("#cost dd"), card = document.querySelector("#cost .card");
            const lightness = (colour) => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
            return [lightness(getComputedStyle(dd).color), lightness(getComputedStyle(card).backgroundColor)];""",
        )
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    text, ground = colours
    assert text < 0.2 < 0.8 < ground if scheme == "light" else ground < 0.2 < 0.8 < text


@pytest.mark.parametrize(
    ("row", "energy"),
    [pytest.param(0, "12.5 Wh", marks=pytest.mark.slow), (1, "25 Wh, estimated"), pytest.param(2, None, marks=pytest.mark.slow)],
)
def test_a_trial_shows_its_own_energy(browser, folder, row, energy):
    show(browser, folder)
    run(browser, "select(arguments[0])", row)
    after_drawing(browser)
    pairs = run(
        browser,
        "return [...document.querySelectorAll('#detail-body dt')].map((term) => [term.textContent, term.nextElementSibling.textContent])",
    )
    assert dict(pairs).get("energy") == energy
    assert dict(pairs)["device seconds, its own share"] == "1800.00"
