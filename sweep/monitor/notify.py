"""`--notify URL`: one JSON line to a web address when a trial fails for good and when a sweep ends, without delaying the sweep."""

import contextlib
import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from sweep.errors import SweepError
from sweep.monitor.outcome import Outcome
from sweep.monitor.progress import Progress, Snapshot
from sweep.monitor.status import StatusReader
from sweep.store.remote.path import StorePath
from sweep.store.store import LockedError, StoreError

TIMEOUT_S = 5.0
"""Time limit for one message."""
LAST_WORDS_S = 15.0
"""How long a sweep that has ended waits until its messages are out."""
_MAX_FAILURES = 20  # of one run; the message at the end counts all


def check_address(url: str) -> str:
    """The address, checked.

    Raises:
        SweepError: not http or https, no host, or with a password in it, which would end up in logs.
    """
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_usable = False
    if not is_usable or not url.isprintable() or " " in url:
        raise SweepError("--notify: an http:// or https:// address is expected\n  hint: for example --notify https://example.org/hook")
    if parts.username is not None:
        raise SweepError("--notify: an address without user and password is expected\n  hint: let the receiver take a token in the path")
    return url


class Notifier:
    """Sends messages one after the other from a thread of its own.

    Args:
        url: from `check_address`.
        warn: called once, with one line without the address's path (which may be a secret), when a message does not arrive.
    """

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        self._url = url
        self._warn = warn
        self._has_warned = False
        self._messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._thread = threading.Thread(target=self._send_all, name="notify", daemon=True)
        self._thread.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Queue a message; returns at once."""
        self._messages.put(message)

    def close(self) -> None:
        """Wait a while until all messages are sent."""
        self._messages.put(None)
        self._thread.join(LAST_WORDS_S)

    def _send_all(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self._post(message)
            except (OSError, HTTPException, ValueError) as error:
                self._failed(error)

    def _post(self, message: Mapping[str, Any]) -> None:
        data = (json.dumps(message) + "\n").encode()
        headers = {"Content-Type": "application/json", "User-Agent": "pareto-sweep"}
        request = urllib.request.Request(self._url, data=data, headers=headers, method="POST")
        with self._opener.open(request, timeout=TIMEOUT_S):
            pass

    def _failed(self, error: Exception) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        parts = urlsplit(self._url)
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else str(getattr(error, "reason", error))
        self._warn(f"--notify: no message reached {parts.scheme}://{parts.netloc} ({reason}); the sweep goes on")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A message goes where the user said and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


class NotifyingProgress:
    """Passes on what the supervisor reports, and sends a message for each trial that has failed for good in this run.

    Args:
        inner: what the user sees.
        roots: the results folders of the run.
        notifier: where messages go.
    """

    def __init__(self, inner: Progress, roots: Sequence[StorePath], notifier: Notifier) -> None:
        self._inner = inner
        self._notifier = notifier
        self._readers = [StatusReader(root) for root in roots]
        self._n_failed: int | None = None
        self._n_sent = 0
        self._known = {failure.trial_id for reader in self._readers for failure in _failures(reader)}

    def message(self, text: str) -> None:
        """Pass it on."""
        self._inner.message(text)

    def update(self, snapshot: Snapshot) -> None:
        """Pass it on; if more trials have failed, read the folders again."""
        self._inner.update(snapshot)
        if snapshot.n_failed != self._n_failed:
            self._n_failed = snapshot.n_failed
            self.look()

    def close(self) -> None:
        """Pass it on."""
        self._inner.close()

    def look(self) -> None:
        """Send a message for each trial that has failed since the last look."""
        for reader in self._readers if self._n_sent < _MAX_FAILURES else ():
            for failure in _failures(reader):
                if failure.trial_id not in self._known and self._n_sent < _MAX_FAILURES:
                    self._known.add(failure.trial_id)
                    self._n_sent += 1
                    facts = {name: getattr(failure, name) for name in ("trial_id", "study", "k", "seed", "state", "error")}
                    self._notifier.send({"event": "trial_failed", "folder": str(reader.folder), **facts})


@contextlib.contextmanager
def notifying(progress: Progress, names: Mapping[StorePath, str], url: str | None) -> Iterator[tuple[Progress, Callable[[Outcome], None]]]:
    """Send notifications inside the block: a run reports its progress to the first value, and each sweep's outcome to the second.

    A run that ends with a user's error is reported too, unless it never began because another run holds the folder.

    Args:
        progress: what the user sees.
        names: results folder -> name of the sweep.
        url: where messages go; None sends nothing.
    """
    if url is None:
        yield progress, lambda _: None
        return
    notifier = Notifier(check_address(url), progress.message)
    watching = NotifyingProgress(progress, list(names), notifier)

    def ended(outcome: Outcome) -> None:
        watching.look()
        facts = {"trials": outcome.n_trials, "states": dict(outcome.states), "left": outcome.n_left, "trained": outcome.n_trained}
        message = {"exit_code": outcome.exit_code, "message": outcome.message}
        notifier.send({"event": "sweep_ended", "sweep": names[outcome.root], "folder": str(outcome.root), **message, **facts})

    try:
        yield watching, ended
    except LockedError:
        raise
    except (StoreError, SweepError) as error:
        watching.look()
        for root, name in names.items():
            notifier.send({"event": "sweep_ended", "sweep": name, "folder": str(root), "exit_code": 2, "message": str(error)})
        raise
    finally:
        notifier.close()


def _failures(reader: StatusReader) -> Sequence[Any]:
    """The failures in a folder; none where it cannot be read, as the run itself reports that."""
    try:
        return reader.read().failures
    except (StoreError, OSError):
        return ()
