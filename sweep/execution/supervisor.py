"""`sweep run`: hold the locks, plan, make one attempt after another until nothing is left, and report.

A run trains one or more sweeps. Each attempt (attempt.py) is a separate process, because Ray kills its driver from C++ when the
cluster's head dies. Which trials are complete is read from the stores alone.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sweep.cluster.machine import this_machine
from sweep.cluster.ray_start import refuse_unusable_machine
from sweep.cluster.slots import WorkerCount, worker_kinds, workers_on
from sweep.errors import SweepError
from sweep.execution.attempt import Attempts
from sweep.execution.cluster_address import LOCAL, cluster_address, joining_note, refuse_job_folder
from sweep.execution.options import RunOptions
from sweep.execution.reporter import Reporter
from sweep.execution.stopping import Stopping
from sweep.execution.sweep_run import SweepRun
from sweep.grid.load import GridText, SweepConfig, dump_config
from sweep.monitor.outcome import Outcome, Timing
from sweep.monitor.progress import Progress
from sweep.planning.packs import plan_sweeps
from sweep.store.errors import UnreachableError
from sweep.store.lock import FolderLock
from sweep.store.remote.path import StorePath

_POLL_S = 0.5
_PATIENCE_S = (5.0, 15.0, 45.0)  # pauses between tries while an object store does not answer, in addition to its client's own
_ATTEMPTS_WITHOUT_PROGRESS = 5
_BACK_OFF_S = 5.0
Answer = TypeVar("Answer")
_DEFAULTS = RunOptions()
_CLUSTER_WORKERS = 8  # assumed for a cluster that has not been inspected yet; only the size of packs depends on it


def run_sweeps(
    configs: Sequence[SweepConfig],
    progress: Progress,
    options: RunOptions = _DEFAULTS,
    *,
    grid_file: GridText | None = None,
) -> tuple[Outcome, ...]:
    """Train every trial that the stores do not hold yet, with one Ray for all sweeps.

    Args:
        configs: one or more sweeps with the same `resources` and different outputs, as `load_configs` returns them.
        progress: receives messages, and the state of the run about twice a second.
        options: where and how the sweeps run.
        grid_file: the text of the grid file, which is stored in the plans.

    Returns:
        The outcome of each sweep. Exit code 2 means that the user has to fix something in that sweep; the others were still trained.

    Raises:
        StoreError: a folder cannot be used (it belongs to another sweep, is not writable, or its disk is full).
        SweepError: the cluster cannot be used.
        ValueError: the configs have different resources or share an output.
    """
    members = [SweepRun(config, options.limit, grid_file or GridText(dump_config(config))) for config in configs]
    if len({member.store.root for member in members}) < len(members) or len({config.resources for config in configs}) != 1:
        raise ValueError("a run expects one or more sweeps with an output each and the same resources")
    for member in members:
        refuse_job_folder(str(member.store.root))
    with contextlib.ExitStack() as held:
        # The order does not depend on the order of the sweeps, so that one of two competing runs gets all locks.
        locks = [member.store.lock() for member in sorted(members, key=lambda member: str(member.store.root))]
        for lock in locks:
            held.enter_context(lock)
        for member in members:
            member.open()
        note = joining_note(options.address)
        if note:
            progress.message(note)
        run = _Run(members, locks, progress, options)
        with run.stopping.signals():
            return run.until_complete()


def expected_workers(config: SweepConfig, address: str | None) -> WorkerCount:
    """Return how many packs can probably run at once, and what limits the number."""
    if cluster_address(address) is not None:
        return WorkerCount(_CLUSTER_WORKERS, "a guess: the cluster has not been looked at")
    return workers_on(worker_kinds(config.resources), this_machine())


class _Run:
    """An active run, which plans and makes attempts until nothing is left or it stops."""

    def __init__(self, members: Sequence[SweepRun], locks: Sequence[FolderLock], progress: Progress, options: RunOptions) -> None:
        self._members = members
        self._locks = locks
        self._limit = options.limit
        self._address = cluster_address(options.address)
        self._timing = Timing()
        self.stopping = Stopping(members, progress, fails_fast=options.fails_fast)
        self._reporter = Reporter(members, progress, self.stopping)
        self._attempts = Attempts(self._address, options.has_dashboard, self._timing, self._reporter, self.stopping)

    def until_complete(self) -> tuple[Outcome, ...]:
        """Train everything that is left, and return how each sweep ended."""
        self._plan()
        for member in self._members:
            member.begin_run()
            for path, reason in member.store.unreadable() if member.plan.packs else ():
                self._reporter.message(f"unreadable, so it does not count: {path}: {reason}")
        if self._has_packs():
            refuse_unusable_machine(self._address, worker_kinds(self._members[0].config.resources), this_machine())
        n_tries = 0
        while self._has_packs() and not self.stopping.is_stopping():
            members = [member for member in self._members if member.plan.packs and not member.store.control.is_held()]
            if not members:
                self._wait_while_paused()
                continue
            before = self._position()
            self._attempt(members)
            n_tries = 0 if self._position() > before or any(member.store.control.pause_requested() for member in members) else n_tries + 1
            self._plan()
            if not self._has_packs() or self.stopping.is_stopping() or n_tries >= _ATTEMPTS_WITHOUT_PROGRESS:
                break
            if n_tries or self._attempts.has_failed_packs:
                self._back_off(_BACK_OFF_S * 2 ** max(0, n_tries - 1), "some packs failed" if n_tries == 0 else "no progress")
        ends = [(member, self.stopping.was_stopped(member)) for member in self._members]
        outcomes = self._patiently(lambda: tuple(member.finish(stopped, self._timing) for member, stopped in ends))
        self._timing.total_s = self._reporter.elapsed_s
        return outcomes

    def _attempt(self, members: Sequence[SweepRun]) -> None:
        if self._address is not None:  # check its nodes first, and size the packs for its number of workers
            self._attempts.look_at_cluster(members, self._turn)
            self._plan()
            members = [member for member in members if member.plan.packs]
            if not members or self.stopping.is_stopping():
                return
        self._attempts.train(members, self._turn)

    def _turn(self, log: StorePath) -> None:
        """Wait for one polling interval while reporting progress. The run ends if another run has taken over a lock."""
        self._reporter.show_requests()
        self._reporter.show(log)
        lost = next((lock for lock in self._locks if lock.lost), None)
        if lost is not None:
            raise SweepError(f"{lost.path.parent}: another run has taken over the lock, so this one stops")
        time.sleep(_POLL_S)

    def _wait_while_paused(self) -> None:
        """Wait until a sweep may begin packs again or the run stops. No Ray runs meanwhile, since it would occupy resources."""
        while not self.stopping.is_stopping() and all(member.store.control.is_held() for member in self._members if member.plan.packs):
            self._turn(self._members[0].store.root / "logs")
        self._reporter.show_requests()

    def _back_off(self, seconds: float, why: str) -> None:
        reason = (self._reporter.last_failure or "the attempt died").partition("\n")[0]
        self._reporter.message(f"{why} ({reason}); trying again in {seconds:.0f} s")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stopping.is_stopping():
            time.sleep(0.1)

    def _plan(self) -> None:
        for member in self._members:
            for text in self._patiently(member.place):
                self._reporter.message(text)
        n_workers = self._attempts.n_slots or expected_workers(self._members[0].config, self._address or LOCAL).n
        sweeps = [(member.config, member.trials, member.store) for member in self._members]
        plans = self._patiently(lambda: plan_sweeps(sweeps, n_workers, limit=self._limit))
        for member, plan in zip(self._members, plans, strict=True):
            member.take_plan(plan)

    def _has_packs(self) -> bool:
        return any(member.plan.packs for member in self._members)

    def _position(self) -> tuple[int, int]:
        """Return the complete trials and finished epochs of all sweeps; an attempt that raises neither has made no progress."""
        positions = self._patiently(lambda: [member.position() for member in self._members])
        return sum(n_complete for n_complete, _ in positions), sum(n_epochs for _, n_epochs in positions)

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Return the result of `ask`, retrying for about a minute while an object store cannot be reached."""
        for seconds in _PATIENCE_S:
            try:
                return ask()
            except UnreachableError as error:
                self._reporter.message(f"{error.problem}; trying again in {seconds:.0f} s")
                time.sleep(seconds)
        return ask()
