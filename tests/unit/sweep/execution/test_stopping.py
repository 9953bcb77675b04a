"""Ctrl-C, signals and --fail-fast: what a run does when it is to stop early."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from drivers import GRID, Idle, Inline, InlineAll, Messages, roots_of, run_sweep, sending

from sweep.execution.options import RunOptions
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig, parse_config
from sweep.store.store import Store


def test_ctrl_c_asks_every_folder_to_stop(configs: tuple[SweepConfig, ...], use: Any) -> None:
    asked: list[list[bool]] = []

    class Interrupted(Idle):
        """Presses Ctrl-C while it runs."""

        def is_running(self) -> bool:
            if not self.sent:
                os.kill(os.getpid(), signal.SIGINT)
                asked.append([Store(root).control.stop_requested() for root in roots_of(configs)])
            self.sent = [{"event": "fit_started", "slots": 1}]
            return False

    use(Interrupted)
    progress = Messages()
    outcomes = run_sweeps(configs, progress)
    assert asked == [[True, True]]
    assert [(outcome.exit_code, outcome.is_interrupted) for outcome in outcomes] == [(130, True)] * 2
    assert "stopping: running epochs end and are kept; once more stops now" in progress.messages


def test_sigusr1_is_a_first_ctrl_c_and_never_a_second(configs: tuple[SweepConfig, ...], use: Any) -> None:
    """A batch system may send it more than once before a time limit."""
    stopped: list[bool] = []

    class Warned(Idle):
        """Is progress twice that its time is nearly up."""

        def is_running(self) -> bool:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGUSR1)
            return False

        def stop_now(self) -> None:
            stopped.append(all(Store(root).control.stop_requested() for root in roots_of(configs)))

    use(Warned)
    assert [outcome.exit_code for outcome in run_sweeps(configs, Messages())] == [130, 130]
    assert stopped == [True], "once, when its driver has ended"


def test_fail_fast_stops_at_the_first_failed_trial_and_keeps_running_epochs(config: SweepConfig, use: Any) -> None:
    asked: list[bool] = []

    class One(Inline):
        """Trains one pack; then looks whether it was asked to stop."""

        def is_running(self) -> bool:
            self.sent = []
            asked.append(Store(Path(config.output)).control.stop_requested())
            return len(asked) < 3

    started = use(One)
    diverging = parse_config(json.loads(json.dumps(config.to_json())) | {"training": GRID["training"] | {"learning_rate": 1e30}})
    (outcome,) = run_sweeps((diverging,), Messages(), RunOptions(fails_fast=True))
    assert outcome.exit_code == 3
    assert not outcome.is_interrupted
    assert outcome.n_left == 1
    assert "stopped by --fail-fast: 1 trial failed: diverged" in (outcome.message or "")
    assert asked == [False, True, True]
    assert len(started) == 1
    use(InlineAll)
    assert run_sweep(diverging, Messages()).n_left == 0, "the next run goes on"


def test_a_pack_that_retries_did_not_help_stops_a_run_that_fails_fast(config: SweepConfig, use: Any) -> None:
    started = use(sending({"event": "pack_failed", "message": "CUDA out of memory", "root": config.output}))
    (outcome,) = run_sweeps((config,), Messages(), RunOptions(fails_fast=True))
    assert (outcome.exit_code, len(started)) == (3, 1)
    assert "stopped by --fail-fast: 1 pack failed: CUDA out of memory" in (outcome.message or "")
