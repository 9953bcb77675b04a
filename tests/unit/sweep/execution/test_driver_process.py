"""What a driver leaves behind when it ends: a shell script takes the place of Python, and makes a session as Ray does."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.cluster.driver import AttemptJob
from sweep.execution import driver_process
from sweep.execution.driver_process import DriverProcess

SCRIPT = """#!/bin/sh
logs="$RAY_TMPDIR/ray/session_$(date +%Y-%m-%d_%H-%M-%S_510519)_$$/logs"
mkdir -p "$logs"
echo "Traceback of a worker" > "$logs/worker-1.err"
{ending}
"""
JOB = AttemptJob([], "", "x-1", [], [], None, 1, False, "")


def ended(folder: Path, ending: str, monkeypatch: pytest.MonkeyPatch, job: AttemptJob = JOB) -> Path:
    """The log of a driver that has ended and was cleared up after."""
    program, log = folder / "python", folder / "1.log"
    program.write_text(SCRIPT.format(ending=ending))
    program.chmod(0o700)
    monkeypatch.setattr(driver_process.sys, "executable", str(program))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    driver = DriverProcess(job, log)
    while driver.is_running():
        time.sleep(0.01)
    list(driver.events())
    driver.stop_now()
    driver.stop_now()  # the second Ctrl-C may come before the end
    return log


@pytest.mark.parametrize("ending", ["exit 1", "kill -9 $$", """echo '{"event": "pack_retried", "message": "m"}'"""])
def test_after_a_failure_the_session_is_gone_and_its_logs_are_kept(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ended(tmp_path, ending, monkeypatch)
    assert list((tmp_path / "ray").iterdir()) == []
    assert log.read_text().count("--- Ray's worker-1.err, its end:\nTraceback of a worker\n") == 1


def test_after_a_good_end_the_session_is_gone_and_the_log_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ended(tmp_path, "exit 0", monkeypatch)
    assert list((tmp_path / "ray").iterdir()) == []
    assert log.read_text() == ""


def test_the_session_of_a_cluster_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one whose head had the driver's process number before."""
    ended(tmp_path, "exit 1", monkeypatch, replace(JOB, address="auto"))
    assert len(list((tmp_path / "ray").glob("session_*"))) == 1
