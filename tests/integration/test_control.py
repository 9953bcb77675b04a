"""Pause, stop, resume and rm with a real local Ray: from another process, through the results folder alone."""

import sys
from pathlib import Path
from typing import Any

import pytest
from receiver import SECRET, receiving
from sweep_process import Ended, SweepProcess, live_of, plans_of, rows_of, sweep_command, sweep_process, trained, write_grid

from sweep.cluster.machine import n_local_cpus
from sweep.store.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]
GRID: dict[str, Any] = {
    "name": "steered",
    "problem": {"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64},
    "preferences": {"list": [[0, 0.5, 0.5], [0.05, 0.475, 0.475], [0.1, 0.45, 0.45]]},
    "training": {
        "batch_size": 64,
        "sparsify": {"outer_iterations": 2, "epochs": 10},
        "retrain": {"outer_iterations": 2, "epochs": 10},
        "growl": {"sparsity_min": 0},
        "lsuv": {"n_samples": 128},
    },
    "resources": {"checkpoint_s": 0, "pack": 1, "cpus": n_local_cpus()},
    "output": "out",
}
"""Three packs, one after the other."""
N_TRIALS = len(GRID["preferences"]["list"])
RUN = ("run", "grid.yaml", "--no-dashboard")
PATIENCE_S = 400.0
"""A machine that does much else starts a Ray in a minute, and each worker in half of one."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What an undisturbed run trains, without when and where."""
    folder = tmp_path_factory.mktemp("u")
    write_grid(folder / "grid.yaml", **GRID)
    assert sweep_command(*RUN, folder=folder, timeout=PATIENCE_S).code == 0
    return trained(folder / "out")


def asked(folder: Path, *arguments: object) -> Ended:
    """A command of another process."""
    ended = sweep_command(*arguments, folder=folder, timeout=PATIENCE_S)
    assert ended.code == 0, ended.stderr
    return ended


def until_it_says(process: SweepProcess, text: str) -> None:
    process.until(lambda: text in process.printed(), repr(text))


@pytest.mark.slow
def test_a_paused_sweep_ends_its_running_packs_waits_and_goes_on(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    store = Store(tmp_path / "out")
    with receiving() as receiver, sweep_process(*RUN, "--notify", receiver.url, folder=tmp_path) as process:
        running = {pack["pack_id"] for pack in process.until(lambda: live_of(store.root), "a running pack")}
        assert "waits" in asked(tmp_path, "pause", "out").stdout
        until_it_says(process, "steered: paused: running packs are finished")
        driver = process.driver()
        process.until(lambda: process.driver() is None, "the end of the attempt")
        assert driver is not None
        ended = store.complete()
        assert 0 < len(ended) < N_TRIALS, "packs that had not begun did not begin"
        assert running <= {row["pack_id"] for row in rows_of(store.root).values()}, "running packs went on to their end"
        assert store.live() == []
        shown = asked(tmp_path, "status", "out").stdout
        assert "running on " in shown
        assert "paused: no pack starts until `sweep resume " in shown
        assert process.process.poll() is None, "the run waits"
        assert store.complete() == ended
        assert plans_of(store.root) == [1]
        lifted = asked(tmp_path, "resume", "out")
        assert f"the pause is over: the run on {(store.lock_holder() or {})['host']} (pid {process.process.pid}, since " in lifted.stdout
        done = process.wait(PATIENCE_S)
        process.until_all_are_gone()
    assert done.code == 0, done.stderr
    (message,) = receiver.messages
    assert (message["event"], message["exit_code"], message["states"]) == ("sweep_ended", 0, {"ok": N_TRIALS})
    assert SECRET not in "".join(path.read_text() for path in (store.root / "plans").iterdir())
    assert "steered: continues" in done.stderr
    assert "no progress" not in done.stderr, "an attempt that a pause has ended is no failed one"
    assert plans_of(store.root) == [1, 2]
    assert trained(store.root) == undisturbed
    assert store.verify() == []


@pytest.mark.slow
def test_a_stopped_run_keeps_its_epochs_and_resume_needs_no_grid_file(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    store = Store(tmp_path / "out")
    with sweep_process(*RUN, folder=tmp_path) as process:
        process.until(lambda: [pack for pack in live_of(store.root) if pack["epoch"] >= 3], "a pack in the middle")
        assert f"(pid {process.process.pid}, " in asked(tmp_path, "stop", "out").stdout
        stopped = process.wait(PATIENCE_S)
        process.until_all_are_gone()
    assert stopped.code == 130, stopped.stderr
    assert "steered: asked to stop: running epochs are finished and kept" in stopped.stderr
    assert f"{N_TRIALS} trials: " in stopped.stdout
    kept = store.checkpoints()
    assert kept
    assert store.lock_holder() is None
    (tmp_path / "grid.yaml").unlink()

    paused = asked(tmp_path, "pause", "out")
    assert "nothing is running; the next run will wait" in paused.stdout
    ended = sweep_command("resume", "out", "--no-dashboard", folder=tmp_path, timeout=PATIENCE_S)
    assert ended.code == 0, ended.stderr
    assert not store.control.pause_requested()
    assert trained(store.root) == undisturbed
    assert plans_of(store.root) == [1, 2]

    lost = sorted(undisturbed)[1]
    assert asked(tmp_path, "rm", "out", lost).stdout == f"{lost}: removed (its state was ok)\n"
    assert sorted(store.complete()) == sorted(set(undisturbed) - {lost})
    ended = sweep_command("resume", "out", "--no-dashboard", folder=tmp_path, timeout=PATIENCE_S)
    assert ended.code == 0, ended.stderr
    assert trained(store.root) == undisturbed
    assert {trial_id: row["attempt"] == 3 for trial_id, row in rows_of(store.root).items()} == {i: i == lost for i in undisturbed}
    assert store.verify() == []


def test_a_second_run_says_who_works_there_and_a_stop_ends_a_paused_run_that_waits(tmp_path: Path) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    store = Store(tmp_path / "out")
    asked(tmp_path, *RUN, "--limit", 1)
    asked(tmp_path, "pause", "out")
    with sweep_process(*RUN, folder=tmp_path) as process:
        until_it_says(process, "steered: paused")
        for command in (RUN, ("rm", "out", next(iter(store.complete())))):
            second = sweep_command(*command, folder=tmp_path)
            assert second.code == 2
            assert f"another run works here: pid {process.process.pid} on host " in second.stderr
            assert f", since {(store.lock_holder() or {})['started']}" in second.stderr
            assert "Traceback" not in second.stderr
        asked(tmp_path, "stop", "out")
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone()
    assert ended.code == 130, ended.stderr
    assert plans_of(store.root) == [1], "a paused run starts no attempt"
    assert len(store.complete()) == 1
    assert store.control.pause_requested(), "only `sweep resume` lifts a pause"
