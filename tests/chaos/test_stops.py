"""Signals, a stopped raylet and a jumping clock: the sweep is run again until it is complete."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sweep.store.store import Store
from tests.chaos.journal import read_journal, repeated
from tests.chaos.victims import find, hit
from tests.chaos.workplace import GONE_WITHIN_S, PATIENCE_S, Workplace
from tests.integration.sweep_process import SweepProcess, epochs_in_checkpoints, live_of, plans_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


def until_packs_train(process: SweepProcess, place: Workplace, attempt: int) -> None:
    """Wait until a pack of this attempt or a later one has finished an epoch."""
    process.until(lambda: any(live["attempt"] >= attempt for live in live_of(place.out)), "a running pack", PATIENCE_S)


def is_complete(place: Workplace, reference: dict[str, dict[str, Any]], faults: list[float]) -> None:
    """Check that the results are undisturbed, nothing is left over, and no fault cost more than an epoch."""
    assert place.differences(reference) == []
    assert place.leftovers() == []
    assert all(work.epochs <= 1 for work in repeated(read_journal(place.journal), faults))


def test_sigterm_once_keeps_running_epochs_and_twice_stops_at_once(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    place = Workplace.make(tmp_path / "w", len(reference))
    faults = []
    for n_signals in (1, 2):
        with place.run() as process:
            until_packs_train(process, place, attempt=n_signals)
            for _ in range(n_signals):
                process.process.send_signal(signal.SIGTERM)
                faults.append(time.monotonic())
                process.until(lambda process=process: "stopping: " in process.printed(), "answer to a signal", PATIENCE_S)
            ended = process.wait(PATIENCE_S)
            process.until_all_are_gone(GONE_WITHIN_S)
        assert ended.code == 130, ended.stderr
        assert "Traceback" not in ended.stderr
        assert epochs_in_checkpoints(place.out)
        assert Store(place.out).lock_holder() is None
    with place.run() as process:
        assert process.wait(PATIENCE_S).code == 0, process.printed()
    is_complete(place, reference, faults)


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    place, clock = Workplace.make(tmp_path / "w", len(reference)), tmp_path / "clock"
    clock.write_text("0")
    with place.run(CHAOS_CLOCK=str(clock)) as process:
        until_packs_train(process, place, attempt=1)
        for seconds in (86_400, -86_400, 3600):
            clock.write_text(str(seconds))
            time.sleep(1.0)
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 0, ended.stderr
    assert plans_of(place.out) == [1], "no attempt was given up"
    is_complete(place, reference, [])


def test_a_raylet_that_stands_still_is_replaced_and_may_wake_up_later(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    place = Workplace.make(tmp_path / "w", len(reference))
    with place.run(**HEALTH) as process:
        until_packs_train(process, place, attempt=1)
        raylet = find(process, "raylet")
        assert raylet is not None
        assert hit(raylet, signal.SIGSTOP)
        stopped = time.monotonic()
        process.until(lambda: len(plans_of(place.out)) > 1, "another attempt", PATIENCE_S)
        print(f"another attempt {time.monotonic() - stopped:.1f} s after the raylet stood still")
        if Path(f"/proc/{raylet}").exists():
            os.kill(raylet, signal.SIGCONT)
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 0, ended.stderr
    is_complete(place, reference, [stopped])
