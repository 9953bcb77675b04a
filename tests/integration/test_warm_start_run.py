"""`sweep run` with `training.warm_start: neighbour` and a real local Ray: dense trials first, then the others from their networks."""

import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_process import in_the_middle, plans_of, rows_of, sweep_command, sweep_process, trained, write_grid

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]

GRID: dict[str, Any] = {
    "problem": {"name": "multidigits", "n_train": 512, "n_validation": 128, "n_test": 128},
    "preferences": {"list": [[0.1, 0.18, 0.72], [0, 0.5, 0.5], [0.05, 0.475, 0.475], [0, 0.3, 0.7], [0.1, 0.45, 0.45]]},
    "training": {
        "batch_size": 128,
        "learning_rate": 5e-3,
        "warm_start": "neighbour",
        "sparsify": {"outer_iterations": 2, "epochs": 5},
        "retrain": {"outer_iterations": 1, "epochs": 26},
        "growl": {"sparsity_min": 0},
        "lsuv": {"n_samples": 256},
    },
    "resources": {"checkpoint_s": 0},
    "output": "out",
}
RUN = ("run", "grid.yaml", "--no-dashboard")


@pytest.mark.slow
def test_sparse_trials_start_from_dense_ones_and_go_on_after_a_kill(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, pack in ((whole, 3), (parts, 2)):
        folder.mkdir()
        write_grid(folder / "grid.yaml", **(GRID | {"resources": GRID["resources"] | {"pack": pack}}))

    planned = sweep_command("plan", "grid.yaml", folder=whole)
    assert "3 sparse trials start from the networks of 2 dense ones (warm_start: neighbour)" in planned.stdout
    assert "to train: 5; waiting for others: 3" in planned.stdout
    ended = sweep_command(*RUN, folder=whole)
    assert ended.code == 0, ended.stderr
    assert plans_of(whole / "out") == [1, 2], "the dense ones, then the others"
    rows = rows_of(whole / "out")
    dense = {tuple(row["k"]): trial_id for trial_id, row in rows.items() if row["k_0"] == 0}
    taken = {tuple(row["k"]): row["taken_over"] for row in rows.values()}
    assert taken == {
        (0, 0.5, 0.5): None,
        (0, 0.3, 0.7): None,
        (0.05, 0.475, 0.475): [dense[0, 0.5, 0.5]],
        (0.1, 0.45, 0.45): [dense[0, 0.5, 0.5]],
        (0.1, 0.18, 0.72): [dense[0, 0.3, 0.7]],
    }

    assert sweep_command(*RUN, "--limit", "1", folder=parts).code == 0
    with sweep_process(*RUN, folder=parts) as process:
        process.until(lambda: in_the_middle(parts / "out", n_complete=2), "sparse trials half trained")
        process.process.kill()
        process.until_all_are_gone(30)
    again = sweep_command(*RUN, folder=parts)
    assert again.code == 0, again.stderr
    assert trained(parts / "out") == trained(whole / "out")
    n_plans = len(plans_of(parts / "out"))
    assert sweep_command(*RUN, folder=parts).code == 0
    assert len(plans_of(parts / "out")) == n_plans, "nothing is left"
