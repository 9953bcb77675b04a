"""A local Ray: its address and token, a watch on its processes, and the removal of leftover processes.

This module does not import Ray.
"""

import contextlib
import os
import secrets
import signal
import stat
import sys
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any


def kill_session(leader: int) -> None:
    """Kill every process in the session of `leader`, except the calling process.

    Ray's agents outlive a killed driver or raylet by up to a minute. They stay in the driver's session, which contains no
    unrelated processes. Without /proc (macOS) this does nothing.

    Args:
        leader: process id of the session leader, which may be alive or dead.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


# Ray uses the machine's own address for its node even when 127.0.0.1 is requested, and then listens on every interface. Setting
# this switch to 0, the default on macOS and Windows, makes the node's address 127.0.0.1, and all ports use that address.
_CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_TOKEN_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep_to_loopback(environment: MutableMapping[str, str]) -> None:
    """Make a Ray that starts with this environment listen only on loopback and require its token.

    Values that the user has set are kept: `RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=1` opens the ports, and `RAY_AUTH_MODE=disabled`
    turns off the token.

    Args:
        environment: environment variables, which are changed in place.
    """
    environment.setdefault(_CLUSTER_SWITCH, "0")
    environment.setdefault("RAY_AUTH_MODE", "token")


def private_token(home: Path, *, is_needed: bool) -> None:
    """Make `~/.ray/auth_token` readable only by its owner, because anyone who has the token can run code as that user.

    Ray itself creates the file readable by everybody. An existing file keeps its content. If the home folder is not writable,
    nothing happens here, and Ray reports what it needs.

    Args:
        home: the user's home folder.
        is_needed: create a token if there is none.
    """
    path = home / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        if is_needed and not path.exists():
            _create(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


def _create(path: Path) -> None:
    """Write the token to a temporary file and link it, so that two runs that start at the same time use the same token."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_TOKEN_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


_POLL_S = 0.5
_VITAL = ("gcs_server", "raylet")


class LocalRayWatch:
    """A watch that calls back once when the GCS or the raylet of this driver's local Ray has died.

    Ray itself waits a minute for a lost GCS to return, which never happens locally, and may need 15 seconds to notice a dead raylet.

    Args:
        on_death: called in a thread, with a message that names what died.
    """

    def __init__(self, on_death: Callable[[str], None]) -> None:
        self._on_death = on_death
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="local-ray", daemon=True).start()

    def end(self) -> None:
        """End the watch. Call this before Ray is stopped, because its processes then die as intended."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            dead = _dead()
            if dead and not self._ended.is_set():
                self._on_death(f"Ray's {' and '.join(dead)} died")
                return


def stop_local_ray_now() -> None:
    """End the processes of the local Ray. On Linux the kernel also ends them with their parent; on other systems only this does."""
    node = _node()
    if node is not None:
        try:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        except Exception as error:  # noqa: BLE001 - the process is about to end in any case
            print(f"while stopping Ray: {error}", file=sys.stderr)  # noqa: T201 - standard error is the log


def _dead() -> list[str]:
    """Return the names of the vital processes that have died by themselves."""
    node = _node()
    return [] if node is None else [name for name, _ in node.dead_processes() if name in _VITAL]


def _node() -> Any:
    """Return Ray's object for the processes that this driver started; None without a local Ray."""
    return getattr(getattr(getattr(sys.modules.get("ray"), "_private", None), "worker", None), "_global_node", None)
