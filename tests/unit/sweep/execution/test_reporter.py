"""What a run says of its progress and its failures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drivers import GRID, InlineAll, Messages, run_sweep, sending

from sweep.cluster.driver import AttemptJob
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig, parse_config
from sweep.monitor.outcome import worst_exit_code


@pytest.mark.full
def test_progress_is_the_sum_over_the_sweeps(configs: tuple[SweepConfig, ...], use: Any) -> None:
    class Watched(InlineAll):
        """Runs for one look of the supervisor."""

        def is_running(self) -> bool:
            self.looks = getattr(self, "looks", 0) + 1
            return self.looks == 1

    use(Watched)
    run_sweeps(configs[:1], Messages())
    progress = Messages()
    run_sweeps(configs, progress)
    (seen,) = progress.snapshots
    assert (seen.n_trials, seen.states, seen.n_before) == (4, {"ok": 4}, 2)


@pytest.mark.full
def test_a_failure_is_told_of_the_sweep_that_it_is_from(configs: tuple[SweepConfig, ...], use: Any) -> None:
    class Failing(InlineAll):
        """Trains the first sweep; the second one's pack dies."""

        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(replace(job, packs=[pack for pack in job.packs if pack["root"] == configs[0].output]), log)
            self.sent = [{"event": "pack_failed", "message": "CUDA out of memory", "root": configs[1].output}]

    use(Failing)
    first, second = run_sweeps(configs, Messages())
    assert (first.exit_code, first.message) == (0, None)
    assert second.exit_code == 3
    assert second.message == f"2 trials could not be finished: CUDA out of memory (logs in {configs[1].output}/logs)"
    assert worst_exit_code([first, second]) == 3


def test_a_trial_that_fails_is_told_while_the_run_goes_on(config: SweepConfig, use: Any) -> None:
    use(InlineAll)
    diverging = parse_config(json.loads(json.dumps(config.to_json())) | {"training": GRID["training"] | {"learning_rate": 1e30}})
    progress = Messages()
    assert run_sweep(diverging, progress).exit_code == 3
    (line,) = [message for message in progress.messages if "failed" in message]
    assert line.startswith("1 trial failed: diverged, ")
    assert line.endswith("1.log)")
    progress.messages.clear()
    assert run_sweep(diverging, progress).exit_code == 3
    assert progress.messages == [], "old failures are no news"


def test_workers_that_are_tried_again_are_told_once(config: SweepConfig, use: Any) -> None:
    retried = {"event": "pack_retried", "message": "OSError: stale handle 17\nmore", "root": config.output}
    use(sending(retried, retried))
    progress = Messages()
    (outcome,) = run_sweeps((config,), progress, RunOptions(fails_fast=True))
    assert [message for message in progress.messages if "stale" in message][:1] == [
        f"1 worker failed: OSError: stale handle 17 (its pack is tried again; log: {config.output}/logs/1.log)"
    ]
    assert sum("stale" in message for message in progress.messages) == 2, "at the first failure and at the tenth"
    assert "--fail-fast" not in (outcome.message or ""), "what is tried again has not failed yet"
