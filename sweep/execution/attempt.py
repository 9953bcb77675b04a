"""The attempts of a run. Each attempt trains packs in its own driver process, whose events are read until the process ends."""

import contextlib
import math
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from sweep.cluster.driver import AttemptJob
from sweep.cluster.machine import this_machine
from sweep.cluster.slots import worker_kinds
from sweep.cluster.temporary import new_scratch, temporary_folder
from sweep.errors import SweepError
from sweep.execution.cluster_address import job_metadata
from sweep.execution.driver_process import DriverProcess
from sweep.execution.log import keep_log, written_log
from sweep.execution.reporter import Reporter
from sweep.execution.stopping import Stopping
from sweep.execution.sweep_run import SweepRun
from sweep.monitor.outcome import Timing
from sweep.store.errors import StoreError, UnreachableError
from sweep.store.remote.path import StorePath
from sweep.worker.pack_run import versions

Turn = Callable[[StorePath], None]
"""A function that is called about twice a second while an attempt runs, with the path of the attempt's log."""


class Attempts:
    """Runs the attempts of a run one after the other, and remembers what each revealed about the cluster.

    Args:
        address: address of the cluster to join; None starts a local Ray.
        has_dashboard: start Ray's dashboard with a local Ray.
        timing: the run's timing, to which each attempt adds its seconds.
        reporter: reports what happens to the user.
        stopping: receives each driver, so that it can stop the driver at once.
    """

    def __init__(self, address: str | None, has_dashboard: bool, timing: Timing, reporter: Reporter, stopping: Stopping) -> None:
        self._address = address
        self._has_dashboard = has_dashboard
        self._timing = timing
        self._reporter = reporter
        self._stopping = stopping
        self.n_slots: int | None = None
        """How many workers fit on the cluster; None before the cluster has been inspected, and for a local Ray."""
        self.has_failed_packs = False
        """Whether a pack of the last attempt failed."""
        self._n_workers = 1
        self._n_open = 0
        """The number of packs that the attempt was handed and that have not ended."""
        self._has_ended_pack = False
        """Whether a pack has ended since the last look for a round of vectors to place."""
        self._fit_started: float | None = None
        self._avoided: set[str] = set()

    def look_at_cluster(self, members: Sequence[SweepRun], turn: Turn) -> None:
        """Make an attempt without packs, which checks the nodes and counts the workers that fit.

        Raises:
            SweepError: nodes differ, no worker fits, or the cluster cannot be joined.
        """
        number = members[0].store.next_attempt()
        kept = members[0].store.root / "logs" / f"{number}.log"
        log = written_log(kept)
        self._follow(self._job(members, log, number, []), log, kept, turn)

    def train(self, members: Sequence[SweepRun], turn: Turn) -> None:
        """Train the remaining packs of these sweeps, as far as one attempt gets.

        Raises:
            SweepError: the user has to fix something before training can continue.
        """
        numbers = [member.store.next_attempt() for member in members]
        first, number = members[0], numbers[0]
        kept = first.store.root / "logs" / f"{number}.log"
        log = written_log(kept)
        self.has_failed_packs = False
        circumstances = _circumstances()
        jobs = [member.begin_attempt(own, kept, circumstances) for member, own in zip(members, numbers, strict=True)]
        # The packs of the sweeps are interleaved so that no sweep waits for another to end. The largest of each round come first.
        rounds = [[job for job in each if job is not None] for each in zip_longest(*jobs)]
        packs = [job.to_json() for each in rounds for job in sorted(each, key=lambda job: -len(job.trial_ids))]
        n_todo = sum(member.plan.n_todo for member in members)
        self._reporter.message(f"attempt {number}: {n_todo} of {self._reporter.n_trials} trials to train in {len(packs)} packs")
        try:
            if first.store.is_remote:
                self._reporter.message(f"log: {log} (until the attempt ends)")
            self._n_open, self._has_ended_pack = len(packs), False
            handed = {trial.trial_id for member in members for pack in member.plan.packs for trial in pack.trials}
            job = self._job(members, log, number, packs)
            self._follow(job, log, kept, turn, lambda driver: self._grow(driver, members, kept, circumstances, handed))
        finally:
            for member in members:
                with contextlib.suppress(
                    StoreError
                ):  # the next attempt clears it too, and this error must not hide the one that ended this attempt
                    member.store.clear_live()

    def _grow(
        self, driver: DriverProcess, members: Sequence[SweepRun], log: StorePath, circumstances: Mapping[str, Any], handed: set[str]
    ) -> None:
        """Place the rounds of vectors whose results have arrived, and hand their packs to the running attempt.

        Starting Ray takes longer than a round of small networks, so an attempt stays alive between rounds. It is told to end with the
        packs that it has if none can follow in it: everything is placed, a pack failed, or a sweep is held.
        """
        growing = [member for member in members if member.n_unplaced]
        try:
            if not growing or self.has_failed_packs or any(member.store.control.is_held() for member in growing):
                driver.close_queue()
                return
            if not self._has_ended_pack:
                return
            is_idle, self._has_ended_pack = self._n_open <= 0, False
            added = [self._hand_over(driver, member, log, circumstances, handed) for member in growing]
        except UnreachableError:
            self._has_ended_pack = True  # the next turn looks again
            return
        if is_idle and not any(added):
            driver.close_queue()

    def _hand_over(
        self, driver: DriverProcess, member: SweepRun, log: StorePath, circumstances: Mapping[str, Any], handed: set[str]
    ) -> bool:
        """Return whether packs of a new round were handed to the attempt."""
        messages = member.place()
        for text in messages:
            self._reporter.message(text)
        if not messages:
            return False
        before = member.plan.packs
        plan = member.planned(self._n_workers, handed)
        member.take_plan(plan)
        if not member.plan.packs:
            member.plan = replace(member.plan, packs=before)
            return False
        jobs = member.begin_attempt(member.store.next_attempt(), log, circumstances, continues=True)
        handed |= {trial_id for job in jobs for trial_id in job.trial_ids}
        member.plan = replace(member.plan, packs=(*before, *member.plan.packs))
        self._n_open += len(jobs)
        driver.add([job.to_json() for job in jobs])
        return True

    def _job(self, members: Sequence[SweepRun], log: Path, number: int, packs: list[dict[str, Any]]) -> AttemptJob:
        config = members[0].config
        return AttemptJob(
            roots=[str(member.store.root) for member in members],
            log=str(log),
            name=f"{config.name}-{number}",
            packs=packs,
            kinds=[kind.to_json() for kind in worker_kinds(config.resources)],
            address=self._address,
            **_local_resources(),
            has_dashboard=self._has_dashboard,
            scratch=_new_scratch(),
            avoided=sorted(self._avoided),
            metadata=job_metadata(members, number, len(packs)),
            may_grow=bool(packs) and any(member.n_unplaced for member in members),
        )

    def _follow(self, job: AttemptJob, log: Path, kept: StorePath, turn: Turn, grow: Callable[[DriverProcess], None] | None = None) -> None:
        """Start the driver, and report what happens until it has ended. While it may grow, `grow` is called after each turn."""
        driver = DriverProcess(job, log)
        self._stopping.driver = driver
        try:
            while driver.is_running():
                self._handle_events(driver, log)
                turn(log)
                if grow is not None and job.may_grow and driver.may_grow:
                    grow(driver)
            self._handle_events(driver, log)
            with contextlib.suppress(UnreachableError):
                self._reporter.states(log)
        finally:
            driver.stop_now()
            self._stopping.driver = None
            with contextlib.suppress(UnreachableError):  # the log then stays on this machine
                keep_log(log, kept)
            shutil.rmtree(job.scratch, ignore_errors=True)

    def _handle_events(self, driver: DriverProcess, log: Path) -> None:
        timing, reporter = self._timing, self._reporter
        for event in driver.events():
            match event.pop("event"):
                case "ray_started":
                    timing.ray_start_s += event["seconds"]
                    reporter.show_dashboard(event["dashboard"])
                case "cluster_seen":
                    self.n_slots = event["slots"] if self._address is not None else None
                case "fit_started":
                    self._n_workers = max(1, event["slots"])
                    self._fit_started = time.perf_counter()
                case "pack_ended":
                    self._pack_has_ended()
                    timing.training_s += event["training_s"] / self._n_workers
                    timing.worker_setup_s += event["setup_s"] / self._n_workers
                    timing.store_s += event["store_s"] / self._n_workers
                case "pack_retried":
                    reporter.pack_retried(event["message"], log)
                case "pack_failed":
                    self.has_failed_packs = True
                    self._pack_has_ended()
                    reporter.pack_failed(event["message"], event.get("root"), log)
                case "attempt_failed":
                    reporter.note_failure(event["message"])
                case "node_avoided":
                    self._avoid(event)
                case "ray_stopped":
                    timing.ray_stop_s += event["seconds"]
                    if self._fit_started is not None:
                        timing.fit_s += time.perf_counter() - self._fit_started - event["seconds"]
                case "user_error":
                    raise SweepError(event["message"])

    def _pack_has_ended(self) -> None:
        self._n_open -= 1
        self._has_ended_pack = True

    def _avoid(self, event: dict[str, Any]) -> None:
        node, reason = event["node"], event["message"].partition("\n")[0]
        if node not in self._avoided:  # packs that were already assigned to the node report it again
            self._reporter.message(f"node {event['host']} ({node[:8]}) gets no more packs: {reason}")
        self._avoided.add(node)


def _new_scratch() -> str:
    """Create a folder for the attempt's own files, which the attempt removes.

    Raises:
        SweepError: the folder cannot be created.
    """
    try:
        return new_scratch(temporary_folder())
    except OSError as error:
        raise SweepError(f"no folder for temporary files: {error}\n  hint: free some space there, or set RAY_TMPDIR") from error


def _local_resources() -> dict[str, Any]:
    """Return the resources that a local Ray may use, as fields of `AttemptJob`."""
    machine = this_machine()
    memory, names = machine.resources["memory"], machine.gpu_names
    return {
        "n_local_cpus": int(machine.resources["CPU"]),
        "local_memory": int(memory) if math.isfinite(memory) else None,
        "visible_gpus": None if names is None else ",".join(names),
    }


def _circumstances() -> dict[str, Any]:
    """Return the host, time, command and versions of the run, which are the same for all its sweeps."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv),
        "versions": versions(),
        "git_sha": _git_sha(),
        "host": platform.node(),
    }


def command_line(arguments: Sequence[str]) -> str:
    """Return the command as a person would type it, without the program's folder; `python -m sweep` is written as `sweep`."""
    program = Path(arguments[0]) if arguments else Path()
    is_ours = program.name == "sweep" or program.parts[-2:] == ("sweep", "__main__.py")
    # The web address is hidden because its path may be a secret.
    shown = ["..." if before == "--notify" else re.sub(r"^(--notify=).*", r"\1...", word) for before, word in pairwise(["", *arguments])]
    return shlex.join(["sweep", *shown[1:]] if is_ours else shown)


def _git_sha() -> str | None:
    """Return the commit of the working directory if it is a git checkout, otherwise None."""
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return git.stdout.strip()
