"""Device seconds and energy of complete trials, and what they let expect of the others."""

from pathlib import Path
from typing import Any

import pytest

from sweep.grid.load import SweepConfig, parse_config
from sweep.grid.models import Costs
from sweep.monitor.usage import Expected, Used, expected, expected_line, used_in, used_line
from sweep.planning.manifest import manifest_of
from sweep.planning.packs import plan_packs
from sweep.planning.trials import trials_of
from sweep.store.store import Store

ERROR = {"state": "error", "error": "its own"}


def folder_with(root: Path, *rows: dict[str, Any]) -> SweepConfig:
    """The first trials of a grid of four are complete, as these rows say."""
    config = parse_config({"problem": "multidigits", "preferences": {"simplex": {"divisions": 5, "k0": [0]}}, "output": str(root)})
    store = Store(root)
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    for trial, row in zip(trials_of(config), rows, strict=False):
        store.publish({"trial_id": trial.trial_id, "attempt": 1, "retry": 0, "state": "diverged"} | row)
    return config


def test_a_folder_that_is_not_there_used_nothing(tmp_path: Path) -> None:
    assert used_in(tmp_path / "none") == Used()


def test_sums_are_over_what_is_known(tmp_path: Path) -> None:
    folder_with(tmp_path, {"device_s": 2.0, "energy_wh": 0.5}, {"device_s": 4.0}, ERROR)
    assert used_in(tmp_path) == Used(n_trials=3, n_timed=2, device_s=6.0, n_counted=1, energy_wh=0.5)
    assert used_in(tmp_path) + used_in(tmp_path) == Used(6, 4, 12.0, 2, 1.0)


def test_what_no_run_measured_is_left_out(tmp_path: Path) -> None:
    """Rows of a folder from elsewhere may hold anything, and the sum has to be a time."""
    folder_with(tmp_path, {"device_s": 2.0}, {"device_s": float("inf")}, {"device_s": 1e308, "energy_wh": -1.0}, {"device_s": float("nan")})
    assert used_in(tmp_path) == Used(n_trials=4, n_timed=1, device_s=2.0, n_counted=0, energy_wh=0.0)


def test_what_is_left_is_expected_to_be_like_the_mean_of_what_is_known(tmp_path: Path) -> None:
    config = folder_with(tmp_path, {"device_s": 2.0, "energy_wh": 0.5}, {"device_s": 4.0}, ERROR)
    plan = plan_packs(config, trials_of(config), Store(tmp_path).complete(), [], 2)
    assert plan.n_todo == 1
    assert expected(config, plan) == Expected(device_s=3.0, energy_wh=0.5, n_todo=1, n_known=2)


@pytest.mark.parametrize("rows", [(), (ERROR,)])
def test_nothing_is_expected_before_a_trial_has_its_time(tmp_path: Path, rows: tuple[dict[str, Any], ...]) -> None:
    config = folder_with(tmp_path, *rows)
    assert expected(config, plan_packs(config, trials_of(config), Store(tmp_path).complete(), [], 2)) is None


def test_several_sweeps_are_expected_together_at_their_price() -> None:
    found = [Expected(1800.0, 150.0, 10, 1), Expected(5400.0, 50.0, 20, 3)]
    costs = Costs(usd_per_device_hour=1.5, usd_per_kwh=0.25, g_co2_per_kwh=400.0)
    text = "expected for 30 trials, from the mean of 4 complete ones: about 2 device hours (3 USD), 0.2 kWh (0.05 USD), 80 g CO2"
    assert expected_line(found, costs) == text
    assert expected_line(found[:1], Costs()) == "expected for 10 trials, from the complete one: about 0.5 device hours, 0.15 kWh"
    one_unknown = [found[0], Expected(1800.0, None, 1, 1)]
    assert expected_line(one_unknown, Costs()).endswith("about 1 device hours")
    assert expected_line(one_unknown, Costs(g_co2_per_kwh=1.0)).endswith(", energy unknown (no complete trial's was counted)")


def test_the_line_says_of_how_many_trials_the_energy_was_counted() -> None:
    assert used_line(Used(3, 3, 7200.0, 3, 1500.0)) == "complete trials used 2 device hours, 1.5 kWh"
    text = "complete trials used 2 device hours, 20 Wh (of 2 trials; the others' was not counted)"
    assert used_line(Used(3, 3, 7200.0, 2, 20.0)) == text
    assert used_line(Used(3, 2, 36.0)) == "complete trials used 0.01 device hours"
