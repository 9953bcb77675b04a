"""The temporary folders of an attempt: where they are, and how they are removed afterwards.

Ray keeps a session (logs, sockets) for each driver in a folder that all users of the machine share, and never removes it. Other
libraries in the driver's processes create folders in TMPDIR (for example `pymp-*` of multiprocessing), which remain when the
processes are killed. TMPDIR of the driver's processes is therefore a folder of the attempt, and workers restore the user's TMPDIR
for the code that they run.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import datetime
from pathlib import Path

_USERS_TMPDIR = "SWEEP_USERS_TMPDIR"
_LATEST = "session_latest"
_CLOCK_S = 2.0  # tolerance when the readings of two clocks are compared
_LOGS = ("worker-*", "gcs_server.err", "raylet.err", "raylet.out", "dashboard_agent.*", "runtime_env_agent.*")
_TAIL_BYTES = 16_000  # read from the end of each of Ray's logs
_MOST_BYTES = 400_000  # kept of all logs together


def temporary_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder in which Ray and an attempt create their temporary folders: RAY_TMPDIR, TMPDIR (on Linux only), or /tmp."""
    environment = os.environ if environment is None else environment
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    return Path(next((environment[name] for name in names if environment.get(name)), "/tmp"))


def new_scratch(base: Path) -> str:
    """Create a new folder in `base` for the files of one attempt.

    Raises:
        OSError: the folder cannot be created.
    """
    base.mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(prefix="sweep-", dir=base)


def use_scratch(scratch: str, environment: MutableMapping[str, str]) -> None:
    """Make this process and its children create temporary files in `scratch`, without moving Ray's session folder."""
    environment["RAY_TMPDIR"] = str(temporary_folder(environment))
    environment[_USERS_TMPDIR] = environment.get("TMPDIR", "")
    environment["TMPDIR"] = scratch


def restore_users_folder(environment: MutableMapping[str, str]) -> None:
    """Undo `use_scratch` in a worker, because locks and caches in the user's temporary folder are shared with other runs."""
    before = environment.pop(_USERS_TMPDIR, None)
    if before is None:
        return
    environment.pop("TMPDIR", None)
    if before:
        environment["TMPDIR"] = before
    tempfile.tempdir = None  # tempfile reads TMPDIR again at the next use


class RaySession:
    """The session folders of the local Ray that one driver process starts.

    The name of a cluster's session contains the process id of the cluster's head instead.

    Args:
        pid: process id of the driver, which Ray writes into the session's name.
        base: `temporary_folder()` of the driver.
        started: the earliest time at which the driver was started, in seconds since 1970; None means now.
    """

    def __init__(self, pid: int, base: Path, started: float | None = None) -> None:
        self._pid = pid
        self._folder = base / "ray"
        self._started = time.time() if started is None else started

    def folders(self) -> list[Path]:
        """Return the session folders; empty before Ray has started, and for a driver that joined a cluster."""
        return [path for path in self._folder.glob(f"session_*_{self._pid}") if self._is_own(path)]

    def _is_own(self, path: Path) -> bool:
        """Return whether a session belongs to this driver. Its time must match too, since other users and containers reuse process ids."""
        try:
            began = datetime.strptime(path.name, f"session_%Y-%m-%d_%H-%M-%S_%f_{self._pid}").timestamp()
            return began >= self._started - _CLOCK_S and path.lstat().st_uid == os.getuid() and not path.is_symlink()
        except (OSError, ValueError):
            return False

    def remove(self) -> None:
        """Remove the session folders. Call this after the driver and its Ray have ended."""
        for path in self.folders():
            shutil.rmtree(path, ignore_errors=True)
            latest = self._folder / _LATEST
            with contextlib.suppress(OSError):
                if Path(os.readlink(latest)).name == path.name:
                    latest.unlink()

    def fatal_line(self) -> str | None:
        """Return the reason why Ray's GCS gave up, from its log; None if the log states none."""
        for folder in self.folders():
            for line in _text(folder / "logs" / "gcs_server.err").splitlines():
                head, _, message = line.partition("] ")
                if head.startswith("[") and " C " in head:
                    return message.rpartition("Check failed: ")[2].strip()
        return None

    def log_tails(self) -> Iterator[str]:
        """Yield the end of each of Ray's logs that is not empty, to help find the cause of a failure."""
        left = _MOST_BYTES
        for folder in self.folders():
            for path in (path for name in _LOGS for path in sorted((folder / "logs").glob(name))):
                said = "\n".join(
                    line for line in _text(path).splitlines() if line and not line.startswith(":")
                )  # Ray writes lines such as `:job_id:...`
                if said and left > 0:
                    left -= len(said)
                    yield f"--- Ray's {path.name}, its end:\n{said}\n"


def _text(path: Path) -> str:
    """Return the end of a file, or an empty text if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
