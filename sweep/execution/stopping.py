"""The reasons for a run to stop early: interrupts, requests in the results folders, and --fail-fast."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from sweep.execution.driver_process import DriverProcess
from sweep.execution.sweep_run import SweepRun
from sweep.monitor.progress import Progress
from sweep.store.errors import UnreachableError


class Stopping:
    """The requests to stop one run, from any source.

    Args:
        members: the sweeps of the run.
        progress: receives a message about why the run stops.
        fails_fast: stop at the first failure that is not retried.
    """

    def __init__(self, members: Sequence[SweepRun], progress: Progress, *, fails_fast: bool) -> None:
        self._members = members
        self._progress = progress
        self._fails_fast = fails_fast
        self._n_interrupts = 0
        self._failed_fast = False
        self.driver: DriverProcess | None = None
        """The driver of the current attempt; None between attempts."""

    @property
    def is_announced(self) -> bool:
        """Whether the user already knows that the run is stopping, because of an interrupt or --fail-fast."""
        return self._n_interrupts > 0 or self._failed_fast

    def is_stopping(self) -> bool:
        """Return whether the run was interrupted, or a stop was requested for every sweep that has packs left."""
        return self._n_interrupts > 0 or all(member.store.control.stop_requested() for member in self._members if member.plan.packs)

    def was_stopped(self, member: SweepRun) -> bool:
        """Return whether a person stopped this sweep; --fail-fast does not count."""
        return self._n_interrupts > 0 or (not self._failed_fast and member.store.control.stop_requested())

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Handle signals while the block runs.

        After the first Ctrl-C or SIGTERM, running epochs are finished and kept; the second one stops the run at once. SIGUSR1, which
        batch systems send before a time limit, counts as a first signal but never as a second one.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        previous = {number: signal.signal(number, self._interrupt) for number in handled}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop_at_failure(self) -> bool:
        """With --fail-fast, request a stop of every sweep, and return whether this failure was the first to do so."""
        if not self._fails_fast or self.is_announced:
            return False
        self._failed_fast = True
        self._progress.message("stopping (--fail-fast): running epochs end and are kept")
        for member in self._members:
            member.store.control.request_stop()
        return True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1 and self._n_interrupts:
            return
        self._n_interrupts += 1
        if self._n_interrupts == 1:
            for member in self._members:
                self._request_stop(member)
            self._progress.message("stopping: running epochs end and are kept; once more stops now")
        elif self.driver is not None:
            self.driver.stop_now()

    def _request_stop(self, member: SweepRun) -> None:
        try:
            member.store.control.request_stop()
        except UnreachableError:  # the workers could not read the request either
            if self.driver is not None:
                self.driver.stop_now()
