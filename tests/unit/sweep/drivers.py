"""Drivers of the test's own, which take the place of the driver process: a run without Ray."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sweep.cluster.driver import AttemptJob
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig
from sweep.monitor.outcome import Outcome
from sweep.monitor.progress import Snapshot
from sweep.planning.pack_job import PackJob
from sweep.worker.pack_run import PackRun

SMALL = {"name": "multidigits", "n_train": 128, "n_validation": 32, "n_test": 32}


GRID: dict[str, Any] = {
    "problem": SMALL,
    "preferences": {"list": [[0, 0.5, 0.5], [0.1, 0.45, 0.45]]},
    "training": {"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 1}},
}


class Messages:
    """What the supervisor progress the user."""

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
        run = PackRun(PackJob.from_json(job.packs[0]))
        while not run.step():
            pass
        self.sent = [{"event": "fit_started", "slots": 1}, {"event": "pack_ended", "pack_id": run.job.pack_id, **vars(run.spent)}]


class InlineAll(Idle):
    """A driver that trains all its packs in this process, in their order."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        for pack in job.packs:
            run = PackRun(PackJob.from_json(pack))
            while not run.step():
                pass


class Forbidden(Idle):
    """A driver that names something the user has to mend."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        self.sent = [{"event": "user_error", "message": "--address x: nobody answers there"}]


def sending(*events: dict[str, Any]) -> type[Idle]:
    """A driver that sends these and ends."""

    class Sending(Idle):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(job, log)
            self.sent = [dict(event) for event in events]

    return Sending


def run_sweep(config: SweepConfig, progress: "Messages") -> Outcome:
    (outcome,) = run_sweeps((config,), progress)
    return outcome


def roots_of(configs: Sequence[SweepConfig]) -> list[Path]:
    return [Path(config.output) for config in configs]
