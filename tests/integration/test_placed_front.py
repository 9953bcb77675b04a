"""`preferences: {front: ...}` with a real Ray: one attempt trains all rounds, and kill -9 in the middle of one changes no vector."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_process import rows_of, sweep_command, sweep_process, write_grid

from sweep.monitor.status import read_status

pytestmark = [pytest.mark.ray, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc")]

GRID: dict[str, Any] = {
    "name": "placed",
    "problem": "analytic/zdt2",
    "preferences": {"front": {"n": 15}},
    "training": {
        "batch_size": 1,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "augmentation": 0,
        "lagrangian": {"penalty": 100, "penalty_max": 400, "mean_decay": 0},
        "sparsify": {"outer_iterations": 3, "epochs": 1},
        "retrain": {"outer_iterations": 0, "epochs": 1},
        "growl": {"sparsity_min": 0},
    },
    "output": "out",
}
RUN = ("run", "grid.yaml", "--no-dashboard")


def rounds_of(out: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted((out / "placements").glob("*.json"))}


@pytest.mark.slow
def test_a_supervisor_that_is_killed_in_the_middle_of_a_round_goes_on_to_the_same_vectors(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    out = tmp_path / "out"
    with sweep_process(*RUN, folder=tmp_path) as process:
        process.until(lambda: len(list(out.glob("rows/*.parquet"))) in range(4, 11), "a result of round 2")
        process.process.send_signal(signal.SIGKILL)
        process.until_all_are_gone()
    assert sorted(rounds_of(out)) == ["main.1.json", "main.2.json"]
    n_before = len(rows_of(out))
    assert n_before < 11, "round 2 is not complete"
    ended = sweep_command(*RUN, folder=tmp_path)
    assert ended.code == 0, ended.stderr
    assert len(rows_of(out)) == 15
    assert "front main: round 3 (fill) places 4 networks, 15 of 15 so far" in ended.stderr
    assert ended.stderr.count("attempt ") == 1, "the attempt stayed alive from round 2 to round 3"
    assert read_status(out).placing[0]["n_rounds"] == 3
    assert "Every vector of main, and why it was chosen" in (out / "report.html").read_text()

    write_grid(tmp_path / "again.yaml", **(GRID | {"output": "again"}))
    assert sweep_command("run", "again.yaml", "--no-dashboard", folder=tmp_path).code == 0
    assert rounds_of(tmp_path / "again") == rounds_of(out)
