"""The supervisor without Ray: a driver of the test's own takes the place of the process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep import supervisor
from sweep.config import SweepConfig, parse_config
from sweep.driver import AttemptJob
from sweep.pack_run import PackJob, PackRun
from sweep.progress import Snapshot
from sweep.store import Store
from sweep.supervisor import SweepError, run_sweep


class Told:
    """What the supervisor told the user."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.snapshots: list[Snapshot] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def close(self) -> None:
        pass


class Idle:
    """A driver that dies at once."""

    started: list[AttemptJob]

    def __init__(self, job: AttemptJob, log: Path) -> None:
        self.started.append(job)
        self.sent: list[dict[str, Any]] = []

    def is_running(self) -> bool:
        return False

    def events(self) -> Iterator[dict[str, Any]]:
        yield from self.sent

    def stop_now(self) -> None:
        pass


class Inline(Idle):
    """A driver that trains its first pack in this process."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        run = PackRun(PackJob(**job.packs[0]))
        while not run.step():
            pass
        self.sent = [{"event": "fit_started", "slots": 1}, {"event": "pack_ended", "pack_id": run.job.pack_id, **vars(run.spent)}]


class Forbidden(Idle):
    """A driver that names something the user has to mend."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        self.sent = [{"event": "user_error", "message": "--address x: nobody answers there"}]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a driver class into place; returns the list of what it was started with."""

    def put(kind: type[Idle]) -> list[AttemptJob]:
        kind.started = []
        monkeypatch.setattr(supervisor, "DriverProcess", kind)
        monkeypatch.setattr(supervisor, "_BACK_OFF_S", 0.0)
        return kind.started

    return put


@pytest.fixture
def config(tmp_path: Path) -> SweepConfig:
    return parse_config(
        {
            "problem": {"name": "multidigits", "n_train": 128, "n_validation": 32, "n_test": 32},
            "preferences": {"list": [[0, 0.5, 0.5], [0.1, 0.45, 0.45]]},
            "training": {"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 1}},
            "output": str(tmp_path / "out"),
        }
    )


def test_attempts_follow_each_other_until_nothing_is_left(config: SweepConfig, use: Any) -> None:
    """One pack an attempt: a second attempt is planned from the store, then the sweep is complete, and stays so."""
    started = use(Inline)
    outcome = run_sweep(config, Told())
    assert (outcome.exit_code, outcome.states, outcome.n_trained) == (0, {"ok": 2}, 2)
    assert [job.attempt for job in started] == [1, 2]
    assert outcome.timing.training_s > 0
    again = run_sweep(config, Told())
    assert (again.exit_code, again.n_trained, len(started)) == (0, 0, 2)


def test_attempts_without_progress_end_after_three(config: SweepConfig, use: Any) -> None:
    started, told = use(Idle), Told()
    outcome = run_sweep(config, told)
    assert outcome.exit_code == 3
    assert "2 trials could not be finished" in (outcome.message or "")
    assert [job.attempt for job in started] == [1, 2, 3]
    assert any("trying again" in message for message in told.messages)


def test_what_only_the_user_can_mend_ends_the_sweep_at_once(config: SweepConfig, use: Any) -> None:
    started = use(Forbidden)
    with pytest.raises(SweepError, match="nobody answers there"):
        run_sweep(config, Told())
    assert len(started) == 1
    assert Store(Path(config.output)).lock_holder() is None


def test_a_torn_row_is_named_and_its_trial_trained_again(config: SweepConfig, use: Any, tmp_path: Path) -> None:
    use(Inline)
    run_sweep(config, Told())
    out = tmp_path / "out"
    (lost,) = sorted(Store(out).complete())[:1]
    with Store(out).lock():
        Store(out).forget([lost])
    torn = out / "rows" / f"{lost}.1-0.parquet"
    torn.write_bytes(b"PAR1 torn")
    told = Told()
    outcome = run_sweep(config, told)
    assert (outcome.exit_code, outcome.n_trained) == (0, 1)
    assert any(str(torn) in message and "torn" in message for message in told.messages)
