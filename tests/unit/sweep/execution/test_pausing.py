"""Pause and stop as the supervisor sees them, without Ray: a driver of the test's own takes the place of the process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.cluster.driver import AttemptJob
from sweep.errors import SweepError
from sweep.execution import attempt, supervisor
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig, parse_configs
from sweep.monitor.progress import Quiet, Snapshot
from sweep.planning.pack_job import PackJob
from sweep.store.lock import Lock
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun

SMALL = {"name": "analytic/zdt1", "n_steps": 1}
GRID: dict[str, Any] = {"preferences": {"list": [[0.5, 0.5], [0.25, 0.75]]}, "resources": {"pack": 1}}


class Told(Quiet):
    """What the supervisor told; `then` is called at each look."""

    def __init__(self, then: Any = lambda snapshot: None) -> None:
        self.messages: list[str] = []
        self._then = then

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, snapshot: Snapshot) -> None:
        self._then(snapshot)


class OnePack:
    """A driver that trains its first pack in this process and ends, as a fit does whose other packs were let go."""

    jobs: list[AttemptJob]
    then: Any

    def __init__(self, job: AttemptJob, log: Path) -> None:
        self.jobs.append(job)
        run = PackRun(PackJob.from_json(job.packs[0]))
        while not run.step():
            pass
        type(self).then()

    def is_running(self) -> bool:
        return False

    def events(self) -> Iterator[dict[str, Any]]:
        yield from ()

    def stop_now(self) -> None:
        pass


@pytest.fixture
def configs(tmp_path: Path) -> tuple[SweepConfig, ...]:
    found = parse_configs(GRID | {"problem": [SMALL, SMALL | {"n_steps": 2}], "output": str(tmp_path / "out")}, name="two")
    for config in found:
        Path(config.output).mkdir(parents=True)
    return found


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[AttemptJob]:
    """The attempts that were begun."""
    OnePack.jobs, OnePack.then = [], staticmethod(lambda: None)
    monkeypatch.setattr(attempt, "DriverProcess", OnePack)
    monkeypatch.setattr(supervisor, "_POLL_S", 0.01)
    return OnePack.jobs


@pytest.mark.full
def test_a_paused_sweep_waits_without_a_driver_until_the_pause_is_lifted(configs: tuple[SweepConfig, ...], jobs: list[AttemptJob]) -> None:
    store = Store(Path(configs[0].output))
    store.control.request_pause()
    looks: list[bool] = []

    def lift(snapshot: Snapshot) -> None:
        looks.append(snapshot.is_paused)
        if len(looks) == 5:
            assert jobs == []
            store.control.lift_pause()

    told = Told(lift)
    (outcome,) = run_sweeps(configs[:1], told)
    assert (outcome.exit_code, outcome.states) == (0, {"ok": 2})
    assert looks[:5] == [True] * 5
    assert [message for message in told.messages if message.startswith("two-")] == [
        "two-zdt1: paused: running packs are finished, no others begin; `sweep resume` ends the pause",
        "two-zdt1: continues",
    ]


def test_attempts_that_a_pause_ends_are_no_failed_ones(
    configs: tuple[SweepConfig, ...], jobs: list[AttemptJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves in them; three without progress would end the run."""
    store = Store(Path(configs[0].output))

    class LetGo(OnePack):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            jobs.append(job)
            store.control.request_pause()

    def lift_or_stop(snapshot: Snapshot) -> None:
        if len(jobs) < 5:
            store.control.lift_pause()
        else:
            store.control.request_stop()

    monkeypatch.setattr(attempt, "DriverProcess", LetGo)
    told = Told(lift_or_stop)
    (outcome,) = run_sweeps(configs[:1], told)
    assert (len(jobs), outcome.exit_code) == (5, 130)
    assert not any("no progress" in message for message in told.messages)


@pytest.mark.full
def test_of_two_sweeps_the_paused_one_waits_for_the_end_of_the_other(configs: tuple[SweepConfig, ...], jobs: list[AttemptJob]) -> None:
    first, second = (Store(Path(config.output)) for config in configs)
    first.control.request_pause()

    def lift(snapshot: Snapshot) -> None:
        if len(second.complete()) == 2:
            first.control.lift_pause()

    outcomes = run_sweeps(configs, Told(lift))
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    assert [job.roots for job in jobs] == [[str(second.root)]] * 2 + [[str(first.root)]] * 2


@pytest.mark.full
def test_of_two_sweeps_the_stopped_one_ends_with_130_and_the_other_goes_on(
    configs: tuple[SweepConfig, ...], jobs: list[AttemptJob]
) -> None:
    first, second = (Store(Path(config.output)) for config in configs)
    OnePack.then = staticmethod(first.control.request_stop)
    outcomes = run_sweeps(configs, Told())
    assert [(outcome.exit_code, outcome.is_interrupted) for outcome in outcomes] == [(130, True), (0, False)]
    assert [len(job.roots) for job in jobs] == [2, 1, 1]
    assert len(second.complete()) == 2


@pytest.mark.full
def test_a_stop_ends_a_run_that_waits_and_the_next_run_is_not_asked(configs: tuple[SweepConfig, ...], jobs: list[AttemptJob]) -> None:
    store = Store(Path(configs[0].output))
    store.control.request_pause()
    (outcome,) = run_sweeps(configs[:1], Told(lambda snapshot: store.control.request_stop()))
    assert (outcome.exit_code, outcome.n_left, jobs) == (130, 2, [])
    assert store.control.lift_pause()
    (outcome,) = run_sweeps(configs[:1], Told())
    assert outcome.exit_code == 0
    assert not store.control.stop_requested()


@pytest.mark.full
def test_a_complete_sweep_is_paused_no_more(configs: tuple[SweepConfig, ...], jobs: list[AttemptJob]) -> None:
    store = Store(Path(configs[0].output))
    OnePack.then = staticmethod(lambda: len(store.complete()) == 2 and store.control.request_pause())
    (outcome,) = run_sweeps(configs[:1], Told())
    assert outcome.exit_code == 0
    assert not store.control.pause_requested()


def test_a_run_that_waits_notices_that_its_lock_is_lost(
    configs: tuple[SweepConfig, ...], jobs: list[AttemptJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(Path(configs[0].output)).control.request_pause()
    monkeypatch.setattr(Lock, "lost", property(lambda self: True))
    with pytest.raises(SweepError, match="another run has taken over the lock"):
        run_sweeps(configs[:1], Told())
