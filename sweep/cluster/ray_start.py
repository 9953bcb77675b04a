"""The prerequisites for starting Ray, and the classification of errors when it fails to start.

Most problems can be detected before any process starts. Afterwards each failed start costs half a minute, and Ray reports only
a timeout. This module does not import Ray.
"""

import errno
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweep.cluster.machine import Limit, Machine
from sweep.cluster.slots import WorkerKind, workers_on
from sweep.cluster.temporary import temporary_folder
from sweep.errors import SweepError
from sweep.worker.faults import Kind

_SOCKET_BYTES = 107 if sys.platform.startswith("linux") else 103
_SOCKET = "ray/session_2026-01-31_23-59-59_123456_{pid}/sockets/plasma_store"
_OWN_FOLDER = "`mkdir -m 700 -p ~/.r && export RAY_TMPDIR=~/.r` gives Ray a folder of your own"
_SHM = "dev/shm"
# Errors that do not go away by waiting, so a lost connection and too little memory are not among them.
_TO_FIX = {
    errno.EACCES: _OWN_FOLDER,
    errno.EPERM: _OWN_FOLDER,
    errno.EROFS: _OWN_FOLDER,
    errno.ENOTDIR: _OWN_FOLDER,
    errno.ENOENT: "set RAY_TMPDIR, HOME and PATH to what exists on this machine",
    errno.ENAMETOOLONG: _OWN_FOLDER,
    errno.ENOSPC: "free some space there, or set RAY_TMPDIR to a folder on another disk",
    errno.EDQUOT: "free some space there, or set RAY_TMPDIR to a folder on another disk",
    errno.EADDRINUSE: "end the program that uses the port, or unset the variable that names it (`env | grep RAY_`)",
    errno.EADDRNOTAVAIL: "unset the variable that names the address (`env | grep RAY_`)",
}
_TRANSIENT = re.compile(
    r"timed? ?out|deadline exceeded|unavailable|failed to (connect|start)|connection (refused|reset|closed)|\bdied\b|try again", re.I
)
_BY_TEXT = (
    (re.compile(r"AF_UNIX path|path too long", re.I), _OWN_FOLDER),
    (re.compile(r"address already in use|port .* (in use|not available|occupied)", re.I), _TO_FIX[errno.EADDRINUSE]),
    (re.compile(r"authentication token|AUTH_TOKEN", re.I), "see to it that ~/.ray/auth_token can be read, or set RAY_AUTH_TOKEN"),
    (re.compile(r"home directory", re.I), "set HOME to a folder that you can write to"),
    (re.compile(r"dev/shm", re.I), "give the container shared memory (`docker run --shm-size=1g`)"),
)


def refuse_unusable_machine(
    address: str | None, kinds: Sequence[WorkerKind], machine: Machine, environment: Mapping[str, str] | None = None, root: Path = Path("/")
) -> None:
    """Refuse a machine on which Ray cannot start, before any process starts.

    Args:
        address: address of the cluster to join; None if a local Ray is started.
        kinds: the kinds of workers, with the resources that they request.
        machine: the resources that this process may use.
        environment: environment variables; None means those of this process.
        root: the folder that contains `dev`.

    Raises:
        SweepError: Ray cannot start; the message lists everything that the user has to set or fix.
    """
    environment = os.environ if environment is None else environment
    problems = list(_problems(address is None, environment, root))
    if address is None and not problems:
        problems = list(_too_small(kinds, machine))
    if problems:
        raise SweepError("\n".join(problems))


def start_fault(error: BaseException, fatal: str | None) -> tuple[Kind, str]:
    """Classify an error that Ray raised when it failed to start on this machine.

    Args:
        error: the error that Ray raised.
        fatal: the reason why Ray's GCS gave up, if its log states one.

    Returns:
        `Kind.TRANSIENT` if the next try may succeed, otherwise `Kind.USER`; and the message for the user.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = fatal or (lines[0] if lines else type(error).__name__)
    number = error.errno if isinstance(error, OSError) else None
    hint = _TO_FIX.get(number or 0) or next((hint for pattern, hint in _BY_TEXT if pattern.search(f"{reason}\n{error}")), None)
    passes = isinstance(error, (MemoryError, ConnectionError, TimeoutError)) or _TRANSIENT.search(str(error)) is not None
    if number is not None and number not in _TO_FIX:
        passes = True
    if passes and fatal is None and hint is None:
        return Kind.TRANSIENT, f"Ray did not start on this machine: {reason}"
    return Kind.USER, f"Ray did not start on this machine: {reason}\n  hint: {hint or 'the log of this attempt ends with what Ray wrote'}"


def _problems(is_local: bool, environment: Mapping[str, str], root: Path) -> Iterator[str]:
    home = _home(environment)
    if home is None:
        yield (
            f"no home folder: HOME is not set, and user id {os.getuid()} is not in the password database\n"
            "  hint: `export HOME=...` with a folder that you can write to; Ray keeps its token there"
        )
    else:
        yield from _of_token(is_local, home, environment)
    yield from _of_folder(is_local, environment)
    shm = root / _SHM
    if is_local and sys.platform.startswith("linux") and not (shm.is_dir() and os.access(shm, os.W_OK | os.X_OK)):
        what = "cannot be written to" if shm.is_dir() else "is missing"
        yield (
            f"/{_SHM}: the folder for shared memory {what}, and Ray needs it\n"
            "  hint: `docker run --shm-size=1g`, or `mount -t tmpfs -o mode=1777 tmpfs /dev/shm` as root"
        )


def _home(environment: Mapping[str, str]) -> Path | None:
    if "HOME" in environment:
        return Path(environment["HOME"] or "/")
    try:
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _of_token(is_local: bool, home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Check Ray's token, which is RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH names, or the one in the home folder."""
    if environment.get("RAY_AUTH_MODE", "token").lower() != "token" or environment.get("RAY_AUTH_TOKEN", "").strip():
        return
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or home / ".ray" / "auth_token")
    hint = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that you can read"
    try:
        if not path.read_bytes().strip():
            yield f"{path}: Ray's token is empty\n  hint: remove the file, and a new token is made; or {hint}"
    except FileNotFoundError:
        if named and is_local:
            yield f"RAY_AUTH_TOKEN_PATH={named}: there is no such file\n  hint: {hint}"
        elif is_local:
            around = next(folder for folder in path.parents if folder.exists())
            if not (around.is_dir() and os.access(around, os.W_OK | os.X_OK)):
                yield (
                    f"{path}: Ray's token cannot be written, since {around} takes no files of yours\n"
                    f"  hint: set HOME to a folder that you can write to, or {hint}"
                )
    except OSError as error:
        yield f"{path}: Ray's token cannot be read ({error.strerror})\n  hint: `chmod 600` or `chown` the file; or {hint}"


def _of_folder(is_local: bool, environment: Mapping[str, str]) -> Iterator[str]:
    base = temporary_folder(environment)
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if environment.get(name) == str(base)), None)
    shown = f"{name}={base}" if name else str(base)
    if not base.is_absolute():
        yield f"{shown}: an absolute path is needed for temporary files\n  hint: {_OWN_FOLDER}"
        return
    most = _SOCKET_BYTES - len(f"/{_SOCKET.format(pid=os.getpid())}")
    length = len(os.fsencode(base))
    if is_local and length > most:
        yield f"{shown}: {length} bytes are too many for the path of a socket; Ray needs {most} or fewer\n  hint: {_OWN_FOLDER}"
        return
    folders = (base, base / "ray") if is_local and (base / "ray").exists() else (base,)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.rmdir(tempfile.mkdtemp(prefix="sweep-", dir=folder))
        except OSError as error:
            yield f"{folder}: the folder for temporary files cannot be used ({error.strerror}{_owner(folder)})\n  hint: {_OWN_FOLDER}"
            return


def _owner(folder: Path) -> str:
    try:
        number = folder.stat().st_uid
    except OSError:
        return ""
    return f"; it belongs to user id {number}" if number != os.getuid() else ""


def _too_small(kinds: Sequence[WorkerKind], machine: Machine) -> Iterator[str]:
    """Yield what this machine lacks for one worker. GPUs are left to Ray, which knows those of several vendors."""
    limits = (*(limit for limit in machine.limits if limit.resource != "GPU"), Limit("GPU", float(2**60), ""))
    count = workers_on(kinds, replace(machine, limits=limits))
    if not count.n:
        yield (
            f"this machine has no room for one worker: {count.why}\n"
            "  hint: lower `resources` in the grid file, or join a larger cluster with --address"
        )
