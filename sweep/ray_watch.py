"""The processes of a local Ray, seen from its driver. Ray has no public door to them."""

import sys
import threading
from collections.abc import Callable
from typing import Any

_POLL_S = 0.5
_VITAL = ("gcs_server", "raylet")


class LocalRayWatch:
    """Calls back once when the GCS or the raylet of this driver's local Ray has died.

    Ray itself gives a lost GCS a minute to come back, which a local one never does, and may take a quarter of one to miss a raylet.

    Args:
        on_death: called in a thread with what died.
    """

    def __init__(self, on_death: Callable[[str], None]) -> None:
        self._on_death = on_death
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="local-ray", daemon=True).start()

    def end(self) -> None:
        """Ray is about to be stopped: its processes may die."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            dead = _dead()
            if dead and not self._ended.is_set():
                self._on_death(f"Ray's {' and '.join(dead)} died")
                return


def stop_local_ray_now() -> None:
    """End its processes. Where the kernel ends children with their parent (Linux) this is not needed; elsewhere nothing else does it."""
    node = _node()
    if node is not None:
        try:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        except Exception as error:  # noqa: BLE001 - the process is about to end, whatever Ray says
            print(f"while stopping Ray: {error}", file=sys.stderr)  # noqa: T201 - standard error is the log


def _dead() -> list[str]:
    """Names of vital processes that have died by themselves."""
    node = _node()
    return [] if node is None else [name for name, _ in node.dead_processes() if name in _VITAL]


def _node() -> Any:
    """Ray's object for the processes that this driver started; None without a local Ray."""
    return getattr(getattr(getattr(sys.modules.get("ray"), "_private", None), "worker", None), "_global_node", None)
