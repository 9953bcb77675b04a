"""The reports to the user during a run: failures, requests from elsewhere, and the progress of the sweeps."""

import time
from collections import Counter
from collections.abc import Sequence

from sweep.execution.failures import Failures
from sweep.execution.stopping import Stopping
from sweep.execution.sweep_run import SweepRun
from sweep.monitor.progress import Progress, Snapshot
from sweep.store.errors import UnreachableError
from sweep.store.remote.path import StorePath

_REMOTE_POLL_S = 3.0  # between two queries of an object store
_REQUESTS = {
    "pause": "paused: running packs are finished, no others begin; `sweep resume` ends the pause",
    "stop": "asked to stop: running epochs are finished and kept",
    None: "continues",
}


class Reporter:
    """Reports the course of one run to the user, and each event only once.

    Args:
        members: the sweeps of the run.
        progress: the display.
        stopping: stops the run after a final failure if the user wants that.
    """

    def __init__(self, members: Sequence[SweepRun], progress: Progress, stopping: Stopping) -> None:
        self._members = members
        self._progress = progress
        self._stopping = stopping
        self.last_failure: str | None = None
        """The reason why the last pack or attempt failed."""
        self._retried = Failures("worker")
        self._failed = Failures("pack")
        self._dashboard: str | None = None
        self._started = time.perf_counter()
        self._shown_at: float | None = None

    @property
    def n_trials(self) -> int:
        """The number of trials in all sweeps of the run."""
        return sum(member.n_trials for member in self._members)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._started

    def message(self, text: str) -> None:
        """Show a message about something that happened once."""
        self._progress.message(text)

    def show_dashboard(self, url: str | None) -> None:
        """Report the address of Ray's dashboard if it has changed."""
        if url and url != self._dashboard:
            self.message(f"Ray dashboard: {url}")
        self._dashboard = url

    def pack_retried(self, reason: str, log: StorePath) -> None:
        """Report that a worker failed and its pack is retried from the last checkpoint."""
        text = self._retried.add(reason, f"its pack is tried again; log: {log}")
        if text is not None:
            self.message(text)

    def pack_failed(self, reason: str, root: str | None, log: StorePath) -> None:
        """Report that a pack failed and is not retried in this attempt; `root` is its results folder."""
        self.note_failure(reason, root)
        self._final_failure(self._failed.add(reason, f"log: {log}"))

    def note_failure(self, reason: str, root: str | None = None) -> None:
        """Record why the sweep in `root` failed; without `root` the whole attempt failed, and the reason applies to every sweep."""
        self.last_failure = reason
        for member in self._members:
            if root in (None, str(member.store.root)):
                member.last_failure = reason

    def states(self, log: StorePath) -> Counter[str]:
        """Return the number of complete trials in each state, and report those that have failed since the last call."""
        states: Counter[str] = Counter()
        for member in self._members:
            own = member.states()
            states += own
            for text in member.new_failures(own, log):
                self._final_failure(text)
        return states

    def show(self, log: StorePath) -> None:
        """Show the current progress. An object store is queried only every few seconds, and nothing is shown while it is unreachable."""
        is_remote = any(member.store.is_remote for member in self._members)
        if is_remote and self._shown_at is not None and time.monotonic() - self._shown_at < _REMOTE_POLL_S:
            return
        try:
            states = self.states(log)
            live = tuple(live for member in self._members if member.plan.packs for live in member.store.live())
        except UnreachableError:
            return  # the workers continue, and the next query may succeed
        finally:
            self._shown_at = time.monotonic()
        self._progress.update(
            Snapshot(
                n_trials=self.n_trials,
                states=dict(states),
                n_before=sum(member.n_before for member in self._members),
                live=live,
                elapsed_s=self.elapsed_s,
                dashboard=self._dashboard,
                is_paused=any(member.store.control.pause_requested() for member in self._members if member.plan.packs),
            )
        )

    def show_requests(self) -> None:
        """Report each new request to pause, resume or stop a sweep that came from elsewhere."""
        for member in () if self._stopping.is_announced else self._members:
            before, member.reported_request = member.reported_request, member.current_request()
            if member.reported_request != before:
                self.message(f"{member.config.name}: {_REQUESTS[member.reported_request]}")

    def _final_failure(self, text: str | None) -> None:
        """Handle a failure that is not retried; `text` is None if its kind has already been reported."""
        if text is not None:
            self.message(text)
        if self._stopping.stop_at_failure():
            for member in self._members:
                self.note_failure(f"stopped by --fail-fast: {text or 'a failure'}", str(member.store.root))
