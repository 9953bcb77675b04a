"""`sweep run` with a real local Ray on a machine whose processors count their energy: a tree of counters like Linux's, at 100 watts."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep_process import in_the_middle, rows_of, sweep_command, sweep_process, write_grid

from trainer.energy.rapl import POWERCAP

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]

WATTS = 100.0
WRAPS_AT = 10**12
GRID: dict[str, Any] = {
    "problem": {"name": "multidigits", "n_train": 512, "n_validation": 128, "n_test": 128},
    "preferences": {"list": [[0, 0.5, 0.5], [0, 0.3, 0.7], [0.05, 0.475, 0.475], [0.1, 0.45, 0.45]]},
    "training": {
        "batch_size": 128,
        "learning_rate": 5e-3,
        "sparsify": {"outer_iterations": 2, "epochs": 3},
        "retrain": {"outer_iterations": 1, "epochs": 18},
        "growl": {"sparsity_min": 0},
        "lsuv": {"n_samples": 256},
    },
    "resources": {"checkpoint_s": 0, "pack": 2},
    "costs": {"g_co2_per_kwh": 500_000},
    "output": "out",
}
RUN = ("run", "grid.yaml", "--no-dashboard")


class Processors:
    """One package that uses 100 watts all the time; its counter wraps in the first second."""

    def __init__(self, root: Path) -> None:
        zone = root / "intel-rapl:0"
        zone.mkdir(parents=True)
        (zone / "name").write_text("package-0\n")
        (zone / "max_energy_range_uj").write_text(f"{WRAPS_AT}\n")
        self._counter = zone / "energy_uj"
        self._started, self._is_on = time.monotonic(), True
        self._first = WRAPS_AT - 50_000_000
        self._show()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    @property
    def watt_hours(self) -> float:
        """What it has used so far."""
        return WATTS * (time.monotonic() - self._started) / 3600

    def off(self) -> None:
        """No longer."""
        self._is_on = False
        self._thread.join()

    def _count(self) -> None:
        while self._is_on:
            self._show()
            time.sleep(0.01)

    def _show(self) -> None:
        aside = self._counter.with_name("aside")
        aside.write_text(f"{int(self._first + self.watt_hours * 3600 * 1e6) % WRAPS_AT}\n")
        os.replace(aside, self._counter)  # a reader never sees half a number


@pytest.fixture
def processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processors]:
    found = Processors(tmp_path / "powercap")
    monkeypatch.setenv(POWERCAP, str(tmp_path / "powercap"))
    yield found
    found.off()


@pytest.mark.slow
def test_rows_share_the_energy_also_after_a_kill_and_the_report_sums_it_up(tmp_path: Path, processors: Processors) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    with sweep_process(*RUN, folder=tmp_path) as process:
        process.until(lambda: in_the_middle(tmp_path / "out"), "packs half trained")
        process.process.kill()
        process.until_all_are_gone(30)
    ended = sweep_command(*RUN, folder=tmp_path)
    counted = processors.watt_hours
    assert ended.code == 0, ended.stderr
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 4
    for row in rows.values():
        assert row["energy_estimated"] is True
        # No more than if all processors had worked for its pack alone.
        assert 0 < row["energy_wh"] <= 1.5 * WATTS * row["wall_s"] / 3600
    total = sum(row["energy_wh"] for row in rows.values())
    assert total < counted, "workers that run side by side count nothing twice"
    assert " Wh" in next(line for line in ended.stdout.splitlines() if line.startswith("complete trials used "))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "estimated in 4 trials" in page
    assert "g, at 500,000 g a kWh" in page
    assert sweep_command("plan", "grid.yaml", folder=tmp_path).stdout.count("complete: 4") == 1


@pytest.mark.slow
def test_a_machine_that_counts_nothing_trains_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POWERCAP, str(tmp_path / "none"))
    short = {"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 1}}
    write_grid(tmp_path / "grid.yaml", **(GRID | {"training": GRID["training"] | short}))
    assert sweep_command(*RUN, folder=tmp_path).code == 0
    assert {(row["energy_wh"], row["energy_estimated"]) for row in rows_of(tmp_path / "out").values()} == {(None, None)}
    assert "not measured in 4 trials" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
