"""`sweep run`: hold the lock, plan, start one disposable attempt after another until nothing is left, tell the user.

The attempt (driver.py) is a process of its own, because Ray ends its driver from C++ when the cluster's head dies.
What is complete is read from the store alone.
"""

import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from sweep.config import SweepConfig, dump_config
from sweep.driver import AttemptJob
from sweep.driver_process import DriverProcess
from sweep.pack_run import PackJob, versions
from sweep.planning import PackPlan, Plan, Trial, manifest_of, plan_packs, trials_of
from sweep.progress import Progress, Snapshot
from sweep.store import Store
from trainer.catalog import PROBLEMS

EXIT_COMPLETE, EXIT_WRONG_INPUT, EXIT_FAILED_TRIALS, EXIT_INTERRUPTED = 0, 2, 3, 130
_POLL_S = 0.5
_ATTEMPTS_WITHOUT_PROGRESS = 3
_BACK_OFF_S = 5.0
_CLUSTER_WORKERS = 8  # how many packs run at once on a cluster that is not yet known; only the size of packs depends on it


class SweepError(Exception):
    """The sweep cannot go on until the user mends something; the message says what and how."""


@dataclass
class Timing:
    """Where the seconds of a run went. Sums over workers are divided by the number of workers."""

    total_s: float = 0.0
    ray_start_s: float = 0.0
    ray_stop_s: float = 0.0
    training_s: float = 0.0
    worker_setup_s: float = 0.0
    store_s: float = 0.0
    fit_s: float = 0.0

    @property
    def ray_s(self) -> float:
        """Start, stop, and what of the fit no worker used (starting processes, scheduling, idle workers at the end)."""
        return self.ray_start_s + self.ray_stop_s + max(0.0, self.fit_s - self.training_s - self.worker_setup_s - self.store_s)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    root: Path
    exit_code: int
    n_trials: int
    states: Mapping[str, int]
    """state -> number of trials asked for."""
    n_trained: int
    """Trials that became complete in this run."""
    is_interrupted: bool
    message: str | None
    """Why it ended before everything was complete."""
    timing: Timing


def run_sweep(
    config: SweepConfig,
    progress: Progress,
    *,
    address: str | None = None,
    has_dashboard: bool = True,
    limit: int | None = None,
    grid_file: str | None = None,
) -> Outcome:
    """Train every trial of a grid file that the store does not hold yet.

    Args:
        config: the grid file.
        progress: told what happens, about twice a second.
        address: None starts a local Ray; `auto` or `host:port` joins a cluster.
        has_dashboard: start Ray's dashboard (on loopback) with a local Ray.
        limit: only the first so many trials.
        grid_file: the text that the config came from, kept in the plan.

    Raises:
        StoreError: the folder cannot be used (another sweep's, not writable, disk full).
        SweepError: the cluster cannot be used.
    """
    trials = trials_of(config, limit)
    store = Store(Path(config.output))
    with store.lock() as lock:
        store.create(manifest_of(config, datetime.now(UTC).isoformat(timespec="seconds")) | {"versions": versions()})
        store.clear_control()
        run = _Run(config, store, trials, progress, address, has_dashboard, grid_file or dump_config(config), lambda: lock.lost)
        with run.signals():
            return run.until_complete()


def n_local_cpus() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expected_workers(config: SweepConfig, address: str | None) -> int:
    """How many packs can probably run at once."""
    if address is not None:
        return _CLUSTER_WORKERS
    return max(1, int(n_local_cpus() // config.resources.cpus)) if config.resources.cpus else 1


@dataclass
class _Run:
    config: SweepConfig
    store: Store
    trials: tuple[Trial, ...]
    progress: Progress
    address: str | None
    has_dashboard: bool
    grid_file: str
    lock_lost: Callable[[], bool]
    timing: Timing = field(default_factory=Timing)
    _driver: DriverProcess | None = None
    _n_interrupts: int = 0
    _dashboard: str | None = None
    _last_failure: str | None = None
    _n_workers: int = 1
    _started: float = field(default_factory=time.perf_counter)
    _n_before: int = 0
    _fit_started: float | None = None

    def until_complete(self) -> Outcome:
        plan = self._plan()
        self._n_before = len(plan.complete)
        for path, reason in self.store.unreadable() if plan.packs else ():
            self.progress.message(f"unreadable, so it does not count: {path}: {reason}")
        n_tries = 0
        while plan.packs and not self._n_interrupts:
            before = self._position()
            self._attempt(plan)
            n_tries = 0 if self._position() > before else n_tries + 1
            plan = self._plan()
            if not plan.packs or self._n_interrupts or n_tries >= _ATTEMPTS_WITHOUT_PROGRESS:
                break
            if n_tries:
                self._wait(_BACK_OFF_S * 2 ** (n_tries - 1))
        return self._finish(plan)

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """First Ctrl-C or SIGTERM: running epochs end and are kept. Second: stop now."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._n_interrupts += 1
        if self._n_interrupts == 1:
            self.store.request_stop()
            self.progress.message("stopping: running epochs end and are kept; once more stops now")
        elif self._driver is not None:
            self._driver.stop_now()

    def _plan(self) -> Plan:
        states = self.store.complete()
        return plan_packs(self.config, self.trials, states, self.store.checkpoints(), expected_workers(self.config, self.address))

    def _position(self) -> tuple[int, int]:
        """Complete trials, and epochs in checkpoints: what an attempt without a fault moves forward."""
        epochs = sum(checkpoint.epoch * len(checkpoint.trial_ids) for checkpoint in self.store.checkpoints())
        return len(self.store.complete()), epochs

    def _attempt(self, plan: Plan) -> None:
        attempt = self.store.next_attempt()
        self.store.write_plan(attempt, self._plan_record(attempt))
        self.store.clear_live()
        log = self.store.root / "logs" / f"{attempt}.log"
        log.parent.mkdir(exist_ok=True)
        resources = self.config.resources
        job = AttemptJob(
            root=str(self.store.root),
            attempt=attempt,
            name=self.config.name,
            packs=[self._pack_job(pack, attempt).to_json() for pack in plan.packs],
            resources={"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory},
            address=self.address,
            n_local_cpus=n_local_cpus(),
            has_dashboard=self.has_dashboard,
        )
        self.progress.message(f"attempt {attempt}: {plan.n_todo} of {len(self.trials)} trials to train in {len(plan.packs)} packs")
        self._driver = DriverProcess(job, log)
        try:
            while self._driver.is_running():
                self._handle_events()
                self._show()
                if self.lock_lost():
                    raise SweepError(f"{self.store.root}: another run took the lock over; this one stops")
                time.sleep(_POLL_S)
            self._handle_events()
        finally:
            self._driver.stop_now()
            self._driver = None
            self.store.clear_live()

    def _handle_events(self) -> None:
        assert self._driver is not None
        timing = self.timing
        for event in self._driver.events():
            match event.pop("event"):
                case "ray_started":
                    timing.ray_start_s += event["seconds"]
                    self._dashboard = event["dashboard"]
                    if self._dashboard:
                        self.progress.message(f"Ray dashboard: {self._dashboard}")
                case "fit_started":
                    self._n_workers = max(1, event["slots"])
                    self._fit_started = time.perf_counter()
                case "pack_ended":
                    timing.training_s += event["training_s"] / self._n_workers
                    timing.worker_setup_s += event["setup_s"] / self._n_workers
                    timing.store_s += event["store_s"] / self._n_workers
                case "pack_failed":
                    self._last_failure = event["message"]
                case "ray_stopped":
                    timing.ray_stop_s += event["seconds"]
                    if self._fit_started is not None:
                        timing.fit_s += time.perf_counter() - self._fit_started - event["seconds"]
                case "user_error":
                    raise SweepError(event["message"])
        if self._last_failure and "StoreWriteError" in self._last_failure:
            raise SweepError(self._last_failure.partition("StoreWriteError: ")[2] or self._last_failure)

    def _show(self) -> None:
        states = self.store.complete()
        asked = [states[trial.trial_id] for trial in self.trials if trial.trial_id in states]
        self.progress.update(
            Snapshot(
                n_trials=len(self.trials),
                states={state: asked.count(state) for state in set(asked)},
                n_before=self._n_before,
                live=tuple(self.store.live()),
                elapsed_s=time.perf_counter() - self._started,
                dashboard=self._dashboard,
            )
        )

    def _wait(self, seconds: float) -> None:
        self.progress.message(f"no progress ({self._last_failure or 'the attempt died'}); trying again in {seconds:.0f} s")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._n_interrupts:
            time.sleep(0.1)

    def _finish(self, plan: Plan) -> Outcome:
        states = list(plan.complete.values())
        counts = {state: states.count(state) for state in sorted(set(states))}
        n_trained = len(states) - self._n_before
        if n_trained:
            self.store.compact()
            self.store.remove_checkpoints()  # those whose trials ended in different packs
        if not plan.n_todo:
            self.store.clear_control()
        n_failed = len(states) - counts.get("ok", 0)
        is_interrupted = bool(plan.n_todo and self._n_interrupts)
        message = None
        reason = self._last_failure or "the attempts died"
        if is_interrupted:
            exit_code = EXIT_INTERRUPTED
        elif plan.n_todo or n_failed:
            exit_code = EXIT_FAILED_TRIALS
            if plan.n_todo:
                message = f"{plan.n_todo} trials could not be finished: {reason} (logs in {self.store.root / 'logs'})"
        else:
            exit_code = EXIT_COMPLETE
        self.timing.total_s = time.perf_counter() - self._started
        return Outcome(self.store.root, exit_code, len(self.trials), counts, n_trained, is_interrupted, message, self.timing)

    def _pack_job(self, pack: PackPlan, attempt: int) -> PackJob:
        config, first = self.config, pack.trials[0]
        study = next(study for study in config.resolved_studies if study.name == first.study)
        return PackJob(
            root=str(self.store.root),
            attempt=attempt,
            pack_id=pack.pack_id,
            problem=PROBLEMS[config.problem.name].name,
            problem_options=asdict(config.problem.options),
            study=study.name,
            model=study.model,
            method=study.method,
            training=asdict(study.training),
            scaling=config.scaling,
            reference_point=config.reference_point,
            seed=first.seed,
            trial_ids=[trial.trial_id for trial in pack.trials],
            preferences=[list(trial.preference) for trial in pack.trials],
            device=config.resources.device,
            checkpoint_s=config.resources.checkpoint_s,
            checkpoint_pack_id=pack.checkpoint.pack_id if pack.checkpoint else None,
        )

    def _plan_record(self, attempt: int) -> dict[str, Any]:
        return {
            "attempt": attempt,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["sweep", *sys.argv[1:]] if sys.argv and Path(sys.argv[0]).name == "sweep" else sys.argv),
            "grid_file": self.grid_file,
            "config": json.loads(self.config.model_dump_json()),
            "trials": [
                {"trial_id": trial.trial_id, "study": trial.study, "k": list(trial.preference), "seed": trial.seed} for trial in self.trials
            ],
            "n_complete_before": self._n_before,
            "versions": versions(),
            "git_sha": _git_sha(),
            "host": platform.node(),
        }


def _git_sha() -> str | None:
    """The commit of the working directory, if it is in a git checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
