"""`sweep run`: hold the locks, plan, start one disposable attempt after another until nothing is left, tell the user.

A run trains one sweep or several; a single one is a list of one. The attempt (driver.py) is a process of its own,
because Ray ends its driver from C++ when the cluster's head dies. What is complete is read from the stores alone.
"""

import contextlib
import math
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise, zip_longest
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from sweep.cluster.driver import AttemptJob
from sweep.cluster.machine import this_machine
from sweep.cluster.ray_start import refuse_unusable_machine
from sweep.cluster.slots import WorkerCount, worker_kinds, workers_on
from sweep.cluster.temporary import new_scratch, temporary_folder
from sweep.errors import SweepError
from sweep.execution.cluster_address import LOCAL, cluster_address, job_metadata, joining_note, refuse_job_folder
from sweep.execution.driver_process import DriverProcess
from sweep.execution.failures import Failures
from sweep.execution.log import keep_log, written_log
from sweep.execution.options import RunOptions
from sweep.execution.sweep_run import Member
from sweep.grid.load import GridText, SweepConfig, dump_config
from sweep.monitor.outcome import Outcome, Timing
from sweep.monitor.progress import Progress, Snapshot
from sweep.planning.packs import plan_sweeps
from sweep.store.errors import UnreachableError
from sweep.store.files import StoreError
from sweep.store.lock import FolderLock
from sweep.store.remote.path import StorePath
from sweep.worker.pack_run import versions

_POLL_S = 0.5
_REMOTE_POLL_S = 3.0  # between two looks into an object store
_PATIENCE_S = (5.0, 15.0, 45.0)  # between tries while an object store does not answer, after its client's own
_ATTEMPTS_WITHOUT_PROGRESS = 5
_BACK_OFF_S = 5.0
Answer = TypeVar("Answer")
_REQUESTS = {
    "pause": "paused: running packs go on to their end, no others begin; `sweep resume` lifts it",
    "stop": "asked to stop: running epochs end and are kept",
    None: "goes on",
}
_DEFAULTS = RunOptions()
_CLUSTER_WORKERS = 8  # how many packs run at once on a cluster that is not yet known; only the size of packs depends on it


def run_sweeps(
    configs: Sequence[SweepConfig],
    progress: Progress,
    options: RunOptions = _DEFAULTS,
    *,
    grid_file: GridText | None = None,
) -> tuple[Outcome, ...]:
    """Train every trial that the stores do not hold yet, with one Ray for all sweeps.

    Args:
        configs: one or more sweeps, with the same `resources` and an output each, as `load_configs` gives them.
        progress: told what happens, about twice a second.
        options: where and how it runs.
        grid_file: the text that the configs came from, kept in the plans.

    Returns:
        How each sweep ended. Exit code 2 stands for what the user has to mend in one of them, while the others went on.

    Raises:
        StoreError: a folder cannot be used (another sweep's, not writable, disk full).
        SweepError: the cluster cannot be used.
        ValueError: the configs do not go together.
    """
    members = [Member(config, options.limit, grid_file or GridText(dump_config(config))) for config in configs]
    if len({member.store.root for member in members}) < len(members) or len({config.resources for config in configs}) != 1:
        raise ValueError("a run expects one or more sweeps with an output each and the same resources")
    for member in members:
        refuse_job_folder(str(member.store.root))
    with contextlib.ExitStack() as held:
        # In the same order whatever the order of the sweeps, so that of two runs one gets all locks.
        locks = [member.store.lock() for member in sorted(members, key=lambda member: str(member.store.root))]
        for lock in locks:
            held.enter_context(lock)
        for member in members:
            member.open()
        note = joining_note(options.address)
        if note:
            progress.message(note)
        run = _Run(members, locks, progress, cluster_address(options.address), options)
        with run.signals():
            return run.until_complete()


def expected_workers(config: SweepConfig, address: str | None) -> WorkerCount:
    """How many packs can probably run at once, and why no more."""
    if cluster_address(address) is not None:
        return WorkerCount(_CLUSTER_WORKERS, "a guess: the cluster has not been looked at")
    return workers_on(worker_kinds(config.resources), this_machine())


@dataclass
class _Run:
    members: list[Member]
    locks: list[FolderLock]
    progress: Progress
    address: str | None
    options: RunOptions
    timing: Timing = field(default_factory=Timing)
    _driver: DriverProcess | None = None
    _n_interrupts: int = 0
    _dashboard: str | None = None
    _last_failure: str | None = None
    _failed_fast: bool = False
    _attempt_failed: bool = False
    _retried: Failures = field(default_factory=lambda: Failures("worker"))
    _failed: Failures = field(default_factory=lambda: Failures("pack"))
    _avoided: set[str] = field(default_factory=set)
    _n_workers: int = 1
    _n_slots: int | None = None
    """How many workers fit on the cluster, once it has been seen."""
    _started: float = field(default_factory=time.perf_counter)
    _fit_started: float | None = None
    _shown_at: float | None = None

    def until_complete(self) -> tuple[Outcome, ...]:
        self._plan()
        for member in self.members:
            member.begin_run()
            for path, reason in member.store.unreadable() if member.plan.packs else ():
                self.progress.message(f"unreadable, so it does not count: {path}: {reason}")
        if self._has_packs():
            refuse_unusable_machine(self.address, worker_kinds(self.members[0].config.resources), this_machine())
        n_tries = 0
        while self._has_packs() and not self._is_stopping():
            members = [member for member in self.members if member.plan.packs and not member.store.control.is_held()]
            if not members:
                self._wait_while_paused()
                continue
            before = self._position()
            self._attempt(members)
            n_tries = 0 if self._position() > before or any(member.store.control.pause_requested() for member in members) else n_tries + 1
            self._plan()
            if not self._has_packs() or self._is_stopping() or n_tries >= _ATTEMPTS_WITHOUT_PROGRESS:
                break
            if n_tries or self._attempt_failed:
                self._wait(_BACK_OFF_S * 2 ** max(0, n_tries - 1), "some packs failed" if n_tries == 0 else "no progress")
        is_stopped = not self._failed_fast or self._n_interrupts > 0  # by somebody
        was_stopped = [is_stopped and (self._n_interrupts > 0 or member.store.control.stop_requested()) for member in self.members]
        ends = tuple(zip(self.members, was_stopped, strict=True))
        outcomes = self._patiently(lambda: tuple(member.finish(stopped, self.timing) for member, stopped in ends))
        self.timing.total_s = time.perf_counter() - self._started
        return outcomes

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """First Ctrl-C or SIGTERM: running epochs end and are kept. Second: stop now. SIGUSR1, which batch systems send before a
        time limit, is never a second one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        previous = {number: signal.signal(number, self._interrupt) for number in asked}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1 and self._n_interrupts:
            return
        self._n_interrupts += 1
        if self._n_interrupts == 1:
            for member in self.members:
                self._request_stop(member)
            self.progress.message("stopping: running epochs end and are kept; once more stops now")
        elif self._driver is not None:
            self._driver.stop_now()

    def _request_stop(self, member: Member) -> None:
        try:
            member.store.control.request_stop()
        except UnreachableError:  # nobody can be asked
            if self._driver is not None:
                self._driver.stop_now()

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """What the stores say, also when an object store is away for a minute."""
        for seconds in _PATIENCE_S:
            try:
                return ask()
            except UnreachableError as error:
                self.progress.message(f"{error.problem}; trying again in {seconds:.0f} s")
                time.sleep(seconds)
        return ask()

    def _plan(self) -> None:
        n_workers = self._n_slots or expected_workers(self.members[0].config, self.address or LOCAL).n
        sweeps = [(member.config, member.trials, member.store) for member in self.members]
        plans = self._patiently(lambda: plan_sweeps(sweeps, n_workers))
        for member, plan in zip(self.members, plans, strict=True):
            member.take_plan(plan)

    def _has_packs(self) -> bool:
        return any(member.plan.packs for member in self.members)

    def _position(self) -> tuple[int, int]:
        positions = self._patiently(lambda: [member.position() for member in self.members])
        return sum(n_complete for n_complete, _ in positions), sum(n_epochs for _, n_epochs in positions)

    def _is_stopping(self) -> bool:
        """Interrupted, or everything that is left was asked to stop."""
        return self._n_interrupts > 0 or all(member.store.control.stop_requested() for member in self.members if member.plan.packs)

    def _wait_while_paused(self) -> None:
        """Until a sweep may begin packs again, or all are to stop; without a Ray, which would hold the machine's resources."""
        while not self._is_stopping() and all(member.store.control.is_held() for member in self.members if member.plan.packs):
            self._tell_requests()
            self._show(self.members[0].store.root / "logs")
            self._refuse_lost_lock()
            time.sleep(_POLL_S)
        self._tell_requests()

    def _tell_requests(self) -> None:
        """Say once what someone asked of a sweep from elsewhere."""
        for member in self.members if not (self._n_interrupts or self._failed_fast) else ():
            before, member.request = member.request, member.asked()
            if member.request != before:
                self.progress.message(f"{member.config.name}: {_REQUESTS[member.request]}")

    def _refuse_lost_lock(self) -> None:
        lost = next((lock for lock in self.locks if lock.lost), None)
        if lost is not None:
            raise SweepError(f"{lost.path.parent}: another run took the lock over; this one stops")

    def _attempt(self, members: Sequence[Member]) -> None:
        if self.address is not None:  # its nodes are checked before anything is begun, and packs are made for as many workers as it has
            self._look_at_cluster(members)
            self._plan()
            members = [member for member in members if member.plan.packs]
            if not members or self._is_stopping():
                return
        numbers = [member.store.next_attempt() for member in members]
        first, number = members[0], numbers[0]
        kept = first.store.root / "logs" / f"{number}.log"
        log = written_log(kept)
        self._attempt_failed = False
        circumstances = _circumstances()
        jobs = [member.begin_attempt(own, kept, circumstances) for member, own in zip(members, numbers, strict=True)]
        # A pack of each sweep, then the next of each: no sweep waits for another one to end. The largest come first.
        turns = [[job for job in turn if job is not None] for turn in zip_longest(*jobs)]
        packs = [job.to_json() for turn in turns for job in sorted(turn, key=lambda job: -len(job.trial_ids))]
        n_todo, n_trials = sum(member.plan.n_todo for member in members), sum(len(member.trials) for member in self.members)
        self.progress.message(f"attempt {number}: {n_todo} of {n_trials} trials to train in {len(packs)} packs")
        try:
            if first.store.is_remote:
                self.progress.message(f"log: {log} (until the attempt ends)")
            self._follow(self._job(members, log, number, packs), log, kept)
        finally:
            for member in members:
                with contextlib.suppress(StoreError):  # the next attempt clears it too; what ended this one is the message
                    member.store.clear_live()

    def _look_at_cluster(self, members: Sequence[Member]) -> None:
        """An attempt without packs: refuses nodes that differ, and counts the workers that fit."""
        number = members[0].store.next_attempt()
        kept = members[0].store.root / "logs" / f"{number}.log"
        log = written_log(kept)
        self._follow(self._job(members, log, number, []), log, kept)

    def _job(self, members: Sequence[Member], log: Path, number: int, packs: list[dict[str, Any]]) -> AttemptJob:
        config = members[0].config
        return AttemptJob(
            roots=[str(member.store.root) for member in members],
            log=str(log),
            name=f"{config.name}-{number}",
            packs=packs,
            kinds=[kind.to_json() for kind in worker_kinds(config.resources)],
            address=self.address,
            **_local_resources(),
            has_dashboard=self.options.has_dashboard,
            scratch=_new_scratch(),
            avoided=sorted(self._avoided),
            metadata=job_metadata(members, number, len(packs)),
        )

    def _follow(self, job: AttemptJob, log: Path, kept: StorePath) -> None:
        """Start the driver, show what happens until it has ended."""
        self._driver = DriverProcess(job, log)
        try:
            while self._driver.is_running():
                self._handle_events(log)
                self._show(log)
                self._tell_requests()
                self._refuse_lost_lock()
                time.sleep(_POLL_S)
            self._handle_events(log)
            with contextlib.suppress(UnreachableError):
                self._states(log)
        finally:
            self._driver.stop_now()
            self._driver = None
            with contextlib.suppress(UnreachableError):  # then it stays on this machine
                keep_log(log, kept)
            shutil.rmtree(job.scratch, ignore_errors=True)

    def _handle_events(self, log: Path) -> None:
        assert self._driver is not None
        timing = self.timing
        for event in self._driver.events():
            match event.pop("event"):
                case "ray_started":
                    timing.ray_start_s += event["seconds"]
                    if event["dashboard"] and event["dashboard"] != self._dashboard:
                        self.progress.message(f"Ray dashboard: {event['dashboard']}")
                    self._dashboard = event["dashboard"]
                case "cluster_seen":
                    self._n_slots = event["slots"] if self.address is not None else None
                case "fit_started":
                    self._n_workers = max(1, event["slots"])
                    self._fit_started = time.perf_counter()
                case "pack_ended":
                    timing.training_s += event["training_s"] / self._n_workers
                    timing.worker_setup_s += event["setup_s"] / self._n_workers
                    timing.store_s += event["store_s"] / self._n_workers
                case "pack_retried":
                    self._tell(self._retried.add(event["message"], f"its pack is tried again; log: {log}"))
                case "pack_failed":
                    self._attempt_failed = True
                    self._note_failure(event["message"], event.get("root"))
                    self._tell(self._failed.add(event["message"], f"log: {log}"), is_final=True)
                case "attempt_failed":
                    self._note_failure(event["message"], None)
                case "node_avoided":
                    reason = event["message"].partition("\n")[0]
                    is_known = event["node"] in self._avoided  # packs that were on their way there
                    self._tell(None if is_known else f"node {event['host']} ({event['node'][:8]}) gets no more packs: {reason}")
                    self._avoided.add(event["node"])
                case "ray_stopped":
                    timing.ray_stop_s += event["seconds"]
                    if self._fit_started is not None:
                        timing.fit_s += time.perf_counter() - self._fit_started - event["seconds"]
                case "user_error":
                    raise SweepError(event["message"])

    def _tell(self, text: str | None, is_final: bool = False) -> None:
        """A line on a failure, and what --fail-fast makes of one that is not tried again."""
        if text is not None:
            self.progress.message(text)
        if is_final and self.options.fails_fast and not self._failed_fast and not self._n_interrupts:
            self._failed_fast = True
            self.progress.message("stopping (--fail-fast): running epochs end and are kept")
            for member in self.members:
                member.store.control.request_stop()
                self._note_failure(f"stopped by --fail-fast: {text or 'a failure'}", str(member.store.root))

    def _note_failure(self, message: str, root: str | None) -> None:
        """Without a root it is the attempt that failed, and with it every sweep that is not complete."""
        self._last_failure = message
        for member in self.members:
            if root in (None, str(member.store.root)):
                member.last_failure = message

    def _states(self, log: StorePath) -> Counter[str]:
        """state -> number of trials; says which failed since the last call."""
        states: Counter[str] = Counter()
        for member in self.members:
            own = member.states()
            states += own
            for text in member.new_failures(own, log):
                self._tell(text, is_final=True)
        return states

    def _show(self, log: StorePath) -> None:
        is_remote = any(member.store.is_remote for member in self.members)
        if is_remote and self._shown_at is not None and time.monotonic() - self._shown_at < _REMOTE_POLL_S:
            return
        try:
            states = self._states(log)
            live = tuple(live for member in self.members if member.plan.packs for live in member.store.live())
        except UnreachableError:
            return  # the workers go on, and the next look may succeed
        finally:
            self._shown_at = time.monotonic()
        self.progress.update(
            Snapshot(
                n_trials=sum(len(member.trials) for member in self.members),
                states=dict(states),
                n_before=sum(member.n_before for member in self.members),
                live=live,
                elapsed_s=time.perf_counter() - self._started,
                dashboard=self._dashboard,
                is_paused=any(member.store.control.pause_requested() for member in self.members if member.plan.packs),
            )
        )

    def _wait(self, seconds: float, why: str) -> None:
        reason = (self._last_failure or "the attempt died").partition("\n")[0]
        self.progress.message(f"{why} ({reason}); trying again in {seconds:.0f} s")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._is_stopping():
            time.sleep(0.1)


def _new_scratch() -> str:
    """A folder for the attempt's own files; the attempt that it is for removes it.

    Raises:
        SweepError: there is no room for it.
    """
    try:
        return new_scratch(temporary_folder())
    except OSError as error:
        raise SweepError(f"no folder for temporary files: {error}\n  hint: free some space there, or set RAY_TMPDIR") from error


def _local_resources() -> dict[str, Any]:
    """What a Ray of this machine's own may use; fields of `AttemptJob`."""
    machine = this_machine()
    memory, names = machine.resources["memory"], machine.gpu_names
    return {
        "n_local_cpus": int(machine.resources["CPU"]),
        "local_memory": int(memory) if math.isfinite(memory) else None,
        "visible_gpus": None if names is None else ",".join(names),
    }


def _circumstances() -> dict[str, Any]:
    """Who plans, when, and with what: the same for every sweep of a run."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(sys.argv),
        "versions": versions(),
        "git_sha": _git_sha(),
        "host": platform.node(),
    }


def _command(arguments: Sequence[str]) -> str:
    """What a person would type, without the folder that the program lies in: `sweep` and `python -m sweep` are one command."""
    program = Path(arguments[0]) if arguments else Path()
    is_ours = program.name == "sweep" or program.parts[-2:] == ("sweep", "__main__.py")
    # The path of a web address may be a secret.
    told = ["..." if before == "--notify" else re.sub(r"^(--notify=).*", r"\1...", word) for before, word in pairwise(["", *arguments])]
    return shlex.join(["sweep", *told[1:]] if is_ours else told)


def _git_sha() -> str | None:
    """The commit of the working directory, if it is in a git checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
