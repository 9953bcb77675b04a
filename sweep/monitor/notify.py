"""`--notify URL`: send one line of JSON to a web address when a trial fails permanently and when a sweep ends.

Sending does not delay the sweep.
"""

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
"""Time limit for sending one message, in seconds."""
LAST_WORDS_S = 15.0
"""The longest time in seconds that a sweep waits at its end for its messages to be sent."""
_MAX_FAILURES = 20  # messages per run; the final message counts all failures


def check_address(url: str) -> str:
    """Check a web address, and return it unchanged.

    Raises:
        SweepError: the address is not http or https, has no host, or contains a user or password, which would end up in logs.
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
    """Sends messages one after the other in a separate thread.

    Args:
        url: a web address that `check_address` has accepted.
        warn: called with one line the first time that a message cannot be delivered. The line omits the path of the address, which may
            be a secret.
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
        """Queue a message and return at once."""
        self._messages.put(message)

    def close(self) -> None:
        """Wait until all messages are sent, for at most `LAST_WORDS_S` seconds."""
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
    """Refuses redirects, so that messages go only to the address that the user gave."""

    def redirect_request(self, *_: Any) -> None:
        return None


class NotifyingProgress:
    """A display that passes every call on to another one, and sends a message for each trial that fails permanently in this run.

    Args:
        inner: the display that the user sees.
        roots: the results folders of the run.
        notifier: sends the messages.
    """

    def __init__(self, inner: Progress, roots: Sequence[StorePath], notifier: Notifier) -> None:
        self._inner = inner
        self._notifier = notifier
        self._readers = [StatusReader(root) for root in roots]
        self._n_failed: int | None = None
        self._n_sent = 0
        self._known = {failure.trial_id for reader in self._readers for failure in _failures(reader)}

    def message(self, text: str) -> None:
        """Pass the message on."""
        self._inner.message(text)

    def update(self, snapshot: Snapshot) -> None:
        """Pass the snapshot on, and read the folders again if the number of failed trials has changed."""
        self._inner.update(snapshot)
        if snapshot.n_failed != self._n_failed:
            self._n_failed = snapshot.n_failed
            self.look()

    def close(self) -> None:
        """Close the inner display."""
        self._inner.close()

    def look(self) -> None:
        """Send a message for each trial that has failed since the last call."""
        for reader in self._readers if self._n_sent < _MAX_FAILURES else ():
            for failure in _failures(reader):
                if failure.trial_id not in self._known and self._n_sent < _MAX_FAILURES:
                    self._known.add(failure.trial_id)
                    self._n_sent += 1
                    facts = {name: getattr(failure, name) for name in ("trial_id", "study", "k", "seed", "state", "error")}
                    self._notifier.send({"event": "trial_failed", "folder": str(reader.folder), **facts})


@contextlib.contextmanager
def notifying(progress: Progress, names: Mapping[StorePath, str], url: str | None) -> Iterator[tuple[Progress, Callable[[Outcome], None]]]:
    """Send notifications while the block runs.

    A run that ends with a `StoreError` or `SweepError` is reported too, unless it never began because another run holds the folder.

    Args:
        progress: the display that the user sees.
        names: maps each results folder to the name of its sweep.
        url: the web address that receives the messages; None sends nothing.

    Yields:
        The display that the run reports its progress to, and a function to call with the outcome of each sweep.
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
    """Return the failures in a folder; none if it cannot be read, because the run itself reports that."""
    try:
        return reader.read().failures
    except (StoreError, OSError):
        return ()
