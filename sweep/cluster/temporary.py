"""Temporary folders of an attempt: where they are, and their removal afterwards.

Ray keeps a session (logs, sockets) for each driver in a folder that all users of the machine share, and leaves it there. Other
libraries that the driver's processes use make folders in TMPDIR (`pymp-*` of multiprocessing), which stay when they are killed. So
the driver's processes have a folder of the attempt's own as TMPDIR, and workers give the user's back to the code that they run.
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
_CLOCK_S = 2.0  # between two clocks' readings
_LOGS = ("worker-*", "gcs_server.err", "raylet.err", "raylet.out", "dashboard_agent.*", "runtime_env_agent.*")
_TAIL_BYTES = 16_000  # of each of Ray's logs
_MOST_BYTES = 400_000  # of all together


def temporary_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder in which Ray and an attempt make theirs: RAY_TMPDIR, else TMPDIR (on Linux), else /tmp."""
    environment = os.environ if environment is None else environment
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    return Path(next((environment[name] for name in names if environment.get(name)), "/tmp"))


def new_scratch(base: Path) -> str:
    """A folder for the files of one attempt.

    Raises:
        OSError: it cannot be made.
    """
    base.mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(prefix="sweep-", dir=base)


def use_scratch(scratch: str, environment: MutableMapping[str, str]) -> None:
    """Let this process and what it starts make temporary files in `scratch`; Ray's session stays where it would be."""
    environment["RAY_TMPDIR"] = str(temporary_folder(environment))
    environment[_USERS_TMPDIR] = environment.get("TMPDIR", "")
    environment["TMPDIR"] = scratch


def restore_users_folder(environment: MutableMapping[str, str]) -> None:
    """Undo `use_scratch` in a worker, since locks and caches in the temporary folder are shared with other runs."""
    before = environment.pop(_USERS_TMPDIR, None)
    if before is None:
        return
    environment.pop("TMPDIR", None)
    if before:
        environment["TMPDIR"] = before
    tempfile.tempdir = None  # asked again at the next use


class RaySession:
    """The sessions of the local Ray that one driver process starts. (A cluster's session has its head's process number.)

    Args:
        pid: of the driver; Ray writes it into the session's name.
        base: `temporary_folder()` of the driver.
        started: when the driver was started at the earliest, in seconds since 1970.
    """

    def __init__(self, pid: int, base: Path, started: float | None = None) -> None:
        self._pid = pid
        self._folder = base / "ray"
        self._started = time.time() if started is None else started

    def folders(self) -> list[Path]:
        """The folders of the sessions; empty before Ray has started, and for a driver that joined a cluster."""
        return [path for path in self._folder.glob(f"session_*_{self._pid}") if self._is_own(path)]

    def _is_own(self, path: Path) -> bool:
        """Whether a session is this driver's. Process numbers are reused, also by other users and containers, so the time must fit too."""
        try:
            began = datetime.strptime(path.name, f"session_%Y-%m-%d_%H-%M-%S_%f_{self._pid}").timestamp()
            return began >= self._started - _CLOCK_S and path.lstat().st_uid == os.getuid() and not path.is_symlink()
        except (OSError, ValueError):
            return False

    def remove(self) -> None:
        """Remove the sessions, after the driver and its Ray have ended."""
        for path in self.folders():
            shutil.rmtree(path, ignore_errors=True)
            latest = self._folder / _LATEST
            with contextlib.suppress(OSError):
                if Path(os.readlink(latest)).name == path.name:
                    latest.unlink()

    def fatal_line(self) -> str | None:
        """The line in which Ray's GCS says why it gave up; None if there is none."""
        for folder in self.folders():
            for line in _text(folder / "logs" / "gcs_server.err").splitlines():
                head, _, message = line.partition("] ")
                if head.startswith("[") and " C " in head:
                    return message.rpartition("Check failed: ")[2].strip()
        return None

    def log_tails(self) -> Iterator[str]:
        """The end of each log that is not empty, for whoever looks for the cause of a failure."""
        left = _MOST_BYTES
        for folder in self.folders():
            for path in (path for name in _LOGS for path in sorted((folder / "logs").glob(name))):
                said = "\n".join(line for line in _text(path).splitlines() if line and not line.startswith(":"))  # `:job_id:...` is Ray's
                if said and left > 0:
                    left -= len(said)
                    yield f"--- Ray's {path.name}, its end:\n{said}\n"


def _text(path: Path) -> str:
    """The end of a file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
