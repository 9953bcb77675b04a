"""A grid file with a list of problems: one run, one Ray, a results folder each; and the reference point from anchor runs."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sweep_process import EpochWatch, epochs_in_checkpoints, live_of, plans_of, rows_of, sweep_command, sweep_process, write_grid

from sweep.cluster.machine import n_local_cpus
from sweep.grid.load import load_configs
from sweep.planning.trials import trials_of
from sweep.store.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
    # The tests wait for moments when two packs are at work.
    pytest.mark.skipif(n_local_cpus() < 2, reason="not run: needs two processors"),
]

SMALL = {"name": "multidigits", "n_train": 512, "n_validation": 128, "n_test": 128}
N_EPOCHS = 48
GRID: dict[str, Any] = {
    "name": "two",
    "problem": [SMALL, SMALL | {"data_seed": 1}],
    "preferences": {"list": [[0.02, 0.49, 0.49], [0.1, 0.45, 0.45]]},
    "training": {
        "batch_size": 128,
        "sparsify": {"outer_iterations": 2, "epochs": 12},
        "retrain": {"outer_iterations": 2, "epochs": 12},
        "lsuv": {"n_samples": 128},
    },
    "resources": {"checkpoint_s": 0, "pack": 2},
    "output": "out",
}
RUN = ("run", "grid.yaml", "--no-dashboard")


@pytest.mark.slow
def test_two_problems_are_one_run_that_can_be_interrupted(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    roots = [tmp_path / "out" / name for name in ("multidigits", "multidigits-2")]

    def both_are_at_work() -> bool:
        return all(any(3 <= live["epoch"] <= N_EPOCHS - 10 for live in live_of(root)) for root in roots)

    with sweep_process(*RUN, folder=tmp_path) as process:
        process.until(both_are_at_work, "a moment when a pack of each problem is trained")
        process.process.send_signal(signal.SIGINT)
        ended = process.wait(timeout=60)
        process.until_all_are_gone()
    assert ended.code == 130, ended.stderr
    assert ended.stdout.startswith(
        "two-multidigits: 2 trials: none complete, 2 left\ntwo-multidigits-2: 2 trials: none complete, 2 left\nreport: "
    )
    kept = [epochs_in_checkpoints(root) for root in roots]
    assert [len(found) for found in kept] == [2, 2]
    assert [Store(root).lock_holder() for root in roots] == [None, None]

    with sweep_process(*RUN, folder=tmp_path) as process:
        watches = [EpochWatch(root, attempt=2) for root in roots]
        while process.process.poll() is None:
            for watch in watches:
                watch.look()
        ended = process.wait()
        process.until_all_are_gone()
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("attempt 2: 4 of 4 trials to train in 2 packs") == 1
    assert ended.stdout.count("training") == 1, "one line on the time of all"
    for root, config, watch, before in zip(roots, load_configs(tmp_path / "grid.yaml"), watches, kept, strict=True):
        store = Store(root)
        assert store.complete() == {trial.trial_id: "ok" for trial in trials_of(config)}
        assert {row["n_epochs"] for row in rows_of(root).values()} == {N_EPOCHS}
        assert watch.least
        assert all(epoch > before[trial_id] for trial_id, epoch in watch.least.items()), "it went on after the checkpoint"
        assert plans_of(root) == [1, 2]
        assert store.checkpoints() == []
        assert store.verify() == []
        assert not store.control.stop_requested()
        assert f"report: {root / 'report.html'}" in ended.stdout
    assert sorted(path.name for path in (roots[0] / "logs").iterdir()) == ["1.log", "2.log"]
    assert not (roots[1] / "logs").exists(), "one Ray, one log"


@pytest.mark.slow
def test_anchor_runs_give_the_reference_point_also_without_sparsity(tmp_path: Path) -> None:
    once = {"outer_iterations": 1, "epochs": 1}
    changes = {
        "problem": [SMALL, {"name": "analytic/zdt1", "n_steps": 5}],
        "preferences": {"simplex": {"divisions": 3}},
        "training": {"sparsify": once, "retrain": once, "lsuv": {"n_samples": 64}},
        "reference_point": "auto",
    }
    write_grid(tmp_path / "grid.yaml", **(GRID | changes))
    ended = sweep_command(*RUN, folder=tmp_path)
    assert ended.code == 0, ended.stderr
    assert "two-multidigits: 5 trials: 5 ok\ntwo-zdt1: 4 trials: 4 ok\n" in ended.stdout
    for name, tasks, has_sparsity in (("multidigits", ("left", "right"), True), ("zdt1", ("f1", "f2"), False)):
        root = tmp_path / "out" / name
        rows = rows_of(root).values()
        anchors = [row for row in rows if row["study"] == "anchor-runs"]
        assert [row["attempt"] for row in anchors] == [1, 1]
        expected = [0.9 * min(row[f"loss.validation.{task}"] for row in anchors) for task in tasks]
        manifest = Store(root).manifest()
        assert manifest is not None
        assert manifest["reference_point_values"] == pytest.approx([0.0] * has_sparsity + expected)
        others = [row for row in rows if row["study"] == "main"]
        assert {row["attempt"] for row in others} == {2}
        for row in others:
            assert row["reference_point"] == pytest.approx([0.0, *expected])
        assert Store(root).verify() == []
        assert (root / "report.html").exists()
