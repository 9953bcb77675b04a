"""Requests by users to stop or pause a sweep, stored as files in its results folder."""

import contextlib
import time
from datetime import UTC, datetime

from sweep.store.files import StoreError, write_json
from sweep.store.folder import remove
from sweep.store.remote.path import RemotePath, StorePath

REMOTE_S = 2.0
"""Seconds between two queries of an object store, where each query is a request."""
_STOP, _PAUSE = "control.json", "pause.json"


class Control:
    """The requests in one results folder. Stop and pause are separate files, so they never overwrite each other.

    Only the existence of a file matters. Checking is cheap enough for every epoch, because an object store is queried at most every
    two seconds.
    """

    def __init__(self, root: StorePath) -> None:
        self._root = root
        self._seen: dict[str, tuple[float, bool]] = {}

    def request_stop(self) -> None:
        """Request the current run to stop when the running epochs of its packs end."""
        self._request(_STOP, "stop")

    def stop_requested(self) -> bool:
        """Return whether a stop was requested. This never raises."""
        return self._is_there(_STOP)

    def clear_stop(self) -> None:
        """Remove an earlier request to stop. The caller must hold the lock."""
        self._remove(_STOP)

    def request_pause(self) -> None:
        """Request that no pack begins until `lift_pause` is called, in this run or a later one."""
        self._request(_PAUSE, "pause")

    def pause_requested(self) -> bool:
        """Return whether the sweep is paused. This never raises."""
        return self._is_there(_PAUSE)

    def lift_pause(self) -> bool:
        """End the pause so that packs can begin again, and return whether the sweep was paused."""
        self._seen.clear()
        was_paused = self.pause_requested()
        self._remove(_PAUSE)
        return was_paused

    def is_held(self) -> bool:
        """Return whether no pack may begin, because the sweep is paused or a stop was requested."""
        return self.stop_requested() or self.pause_requested()

    def _request(self, name: str, what: str) -> None:
        self._seen.clear()
        write_json(self._root / name, {what: True, "requested": datetime.now(UTC).isoformat(timespec="seconds")})

    def _remove(self, name: str) -> None:
        self._seen.clear()
        remove([self._root / name])

    def _is_there(self, name: str) -> bool:
        """Return whether a request exists. If the object store does not answer, return the last known value."""
        now = time.monotonic()
        seen_at, exists = self._seen.get(name, (-REMOTE_S, False))
        if not (isinstance(self._root, RemotePath) and now - seen_at < REMOTE_S):
            with contextlib.suppress(OSError, StoreError):  # checked again at the next epoch
                exists = (self._root / name).exists()
            self._seen[name] = now, exists
        return exists
