"""Requests of users to a running sweep, as files in its folder: stop and pause."""

import contextlib
import time
from datetime import UTC, datetime

from sweep.store.files import StoreError, write_json
from sweep.store.folder import remove
from sweep.store.remote.path import RemotePath, StorePath

REMOTE_S = 2.0
"""Seconds between two looks into an object store, where each is a request."""
_STOP, _PAUSE = "control.json", "pause.json"


class Control:
    """The requests in one results folder. A stop and a pause are files of their own, so they never overwrite each other.

    That a file exists is what counts. Looking is cheap enough for every epoch: an object store is asked every two seconds.
    """

    def __init__(self, root: StorePath) -> None:
        self._root = root
        self._seen: dict[str, tuple[float, bool]] = {}

    def request_stop(self) -> None:
        """Ask the current run to stop when its packs' epochs end."""
        self._request(_STOP, "stop")

    def stop_requested(self) -> bool:
        """Whether a stop was requested; never raises."""
        return self._is_there(_STOP)

    def clear_stop(self) -> None:
        """Remove an earlier request to stop. The caller holds the lock."""
        self._remove(_STOP)

    def request_pause(self) -> None:
        """Ask that no pack begins until `lift_pause`, in this run and later ones."""
        self._request(_PAUSE, "pause")

    def pause_requested(self) -> bool:
        """Whether the sweep is paused; never raises."""
        return self._is_there(_PAUSE)

    def lift_pause(self) -> bool:
        """Let packs begin again. Returns whether the sweep was paused."""
        self._seen.clear()
        was_paused = self.pause_requested()
        self._remove(_PAUSE)
        return was_paused

    def is_held(self) -> bool:
        """Whether no pack may begin: the sweep is paused or asked to stop."""
        return self.stop_requested() or self.pause_requested()

    def _request(self, name: str, what: str) -> None:
        self._seen.clear()
        write_json(self._root / name, {what: True, "requested": datetime.now(UTC).isoformat(timespec="seconds")})

    def _remove(self, name: str) -> None:
        self._seen.clear()
        remove([self._root / name])

    def _is_there(self, name: str) -> bool:
        """Whether there is such a request; if the object store does not answer, what was seen last."""
        now = time.monotonic()
        seen_at, exists = self._seen.get(name, (-REMOTE_S, False))
        if not (isinstance(self._root, RemotePath) and now - seen_at < REMOTE_S):
            with contextlib.suppress(OSError, StoreError):  # asked again at the next epoch
                exists = (self._root / name).exists()
            self._seen[name] = now, exists
        return exists
