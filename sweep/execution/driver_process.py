"""The driver process of one attempt, as the supervisor sees it: two pipes and a process id."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.cluster.driver import AttemptJob
from sweep.cluster.local import kill_session
from sweep.cluster.temporary import RaySession, temporary_folder

_STOP_NOW_S = 5.0
_FAILURES = {"pack_retried", "pack_failed", "attempt_failed", "user_error"}


class DriverProcess:
    """The process of a running attempt.

    Args:
        job: the description of the attempt.
        log: the file to which the output of the process and of Ray is appended.
    """

    def __init__(self, job: AttemptJob, log: Path) -> None:
        self._log = log.open("ab")
        self._has_failed = False
        started = time.time()
        # The process gets its own session, so that Ctrl-C in the terminal reaches only the supervisor. Its working directory is
        # inside the results, and -P is set, because Ray puts the driver's directory on the workers' import path, where a folder
        # called `trainer` or `analysis` would be imported instead of ours.
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "sweep.cluster.driver",
                job.name,
            ],  # the name is only shown, by `ps` and on the dashboard's Jobs page
            cwd=log.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._session = None if job.address else RaySession(self._process.pid, temporary_folder(), started)
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.may_grow = job.may_grow
        """Whether the process still accepts packs."""
        self._send(job.to_json())

    def add(self, packs: Sequence[Mapping[str, Any]]) -> None:
        """Hand further packs to the process, which trains them after those that it has.

        Args:
            packs: PackJob.to_json() of each pack.
        """
        self._send({"packs": list(packs)})

    def close_queue(self) -> None:
        """Tell the process that no packs follow, so that it ends after those that it has."""
        if self.may_grow:
            self.may_grow = False
            self._send({"packs": []})

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def is_running(self) -> bool:
        """Return whether the process is still running."""
        return self._process.poll() is None

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events that the process has sent since the last call."""
        if not self.is_running():
            self._reader.join(timeout=1)
        while not self._events.empty():
            event = self._events.get()
            self._has_failed |= event.get("event") in _FAILURES
            yield event

    def stop_now(self) -> None:
        """End the process and its local Ray, and remove the files that Ray left.

        The process ends by itself when its pipe is closed; if it does not, it is killed. If something failed, the last lines of
        Ray's own logs are appended to the attempt's log.
        """
        if (not self.is_running() and self._process.returncode) or self._has_failed:
            self._keep_ray_logs()  # must come first: a running driver removes them when its pipe closes
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_NOW_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        kill_session(self._process.pid)
        with contextlib.suppress(OSError):
            self._log.close()
        if self._session is not None:
            self._session.remove()

    def _keep_ray_logs(self) -> None:
        if self._session is not None and not self._log.closed:
            with contextlib.suppress(OSError):  # the results' disk may be full
                self._log.writelines(text.encode() for text in self._session.log_tails())
                self._log.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                self._events.put(json.loads(line))
