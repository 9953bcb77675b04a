"""Observes every file that this process opens, and everything that it would execute or connect to."""

import contextlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_REFUSED = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "socket.bind",
    "pickle.find_class",
    "ctypes.dlopen",
)
_WRITING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate", "shutil.rmtree")
_PYTHON = tuple(
    str(Path(path).resolve())
    for path in {*sys.path, sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], str(Path(__file__).parents[2])}
    if path
)
_SYSTEM = (
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/urandom",
    "/usr",
    "/lib",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/ld.so.cache",
    "/etc/apache2",
)


class Watch:
    """Use one object for each process, as an audit hook cannot be removed."""

    def __init__(self) -> None:
        self._inside: tuple[str, ...] | None = None
        self.found: list[str] = []
        self._is_busy = False
        self._reads_all = False
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def only(self, *folders: Path, reads_all: bool = False) -> Iterator[None]:
        """Allow files in these folders to be opened and written within the block; Python's own files (`reads_all`: any) may be read."""
        self._reads_all = reads_all
        self._inside = tuple(os.path.realpath(folder) for folder in folders)
        try:
            yield
        finally:
            self._inside = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._inside is None or self._is_busy:
            return
        self._is_busy = True
        try:
            if event == "ctypes.dlopen" and _is_in(os.path.realpath(str(arguments[0])), _PYTHON):
                return
            if event.startswith(_REFUSED):
                self.found.append(f"{event} {str(arguments)[:100]}")
            elif event == "open":
                self._opened(arguments)
            elif event in _WRITING:
                self._changed(event, arguments)
        finally:
            self._is_busy = False

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path, mode, flags = arguments
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if (flags or 0) & os.O_NOFOLLOW and os.path.islink(path):
            return  # the system refuses it
        place = os.path.realpath(os.fsdecode(path))
        is_written = (isinstance(mode, str) and bool(set(mode) & set("wax+"))) or bool(
            (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if _is_in(place, self._inside or ()):
            return
        if is_written:
            if not ((_is_in(place, _PYTHON) and place.endswith((".pyc", ".tmp"))) or "__pycache__" in place):
                self.found.append(f"opened for writing: {place}")
        elif not self._reads_all and not _is_in(place, (*_PYTHON, *_SYSTEM)):
            self.found.append(f"opened: {place}")

    def _changed(self, event: str, arguments: tuple[Any, ...]) -> None:
        paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
        for path in paths[:1] if event == "os.symlink" else paths:
            parent = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
            if not _is_in(parent, self._inside or ()) and "__pycache__" not in parent:
                self.found.append(f"{event}: {parent}")


def _is_in(place: str, folders: tuple[str, ...]) -> bool:
    return any(place == folder or place.startswith(folder.rstrip("/") + "/") for folder in folders)
