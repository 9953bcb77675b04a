"""A disk on which one system call of one path fails. What Python asks of it is recorded, and refused where a test says so."""

import builtins
import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

_ASIDE = re.compile(r"\.[0-9a-f]{8}\.tmp")
_WRITING = re.compile(r"[wxa+]")


class Call(NamedTuple):
    """One kind of call of one path, relative to the watched folder; random parts of temporary names are stars."""

    name: str
    path: str


@dataclass
class FaultyDisk:
    """Watches the calls below a folder while `on`.

    Args:
        root: the folder.
        fault: the call that fails, each time; None records only.
        number: its errno.
    """

    root: Path
    fault: Call | None = None
    number: int = 0
    calls: list[Call] = field(default_factory=list)
    n_failed: int = 0

    @contextmanager
    def on(self) -> Iterator["FaultyDisk"]:
        """While inside."""
        patches = [mock.patch.object(os, name, self._watched(name, getattr(os, name))) for name in _BY_PATH]
        patches += [mock.patch.object(os, name, self._of_descriptor(name, getattr(os, name))) for name in _BY_DESCRIPTOR]
        opened = self._opened(io.open)
        patches += [mock.patch.object(io, "open", opened), mock.patch.object(builtins, "open", opened)]
        for patch in patches:
            patch.start()
        try:
            yield self
        finally:
            for patch in reversed(patches):
                patch.stop()

    def _meets(self, name: str, path: object) -> bool:
        """Record a call below the folder; whether it is the one that fails."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        whole = os.path.join(os.getcwd(), os.fsdecode(path))
        if whole != str(self.root) and not whole.startswith(f"{self.root}{os.sep}"):
            return False
        call = Call(name, _ASIDE.sub(".*.tmp", os.path.normpath(os.path.relpath(whole, self.root))))
        if call not in self.calls:
            self.calls.append(call)
        self.n_failed += call == self.fault
        return call == self.fault

    def _error(self, path: object) -> OSError:
        return OSError(self.number, os.strerror(self.number), path if isinstance(path, str) else str(path))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        kind = {"lstat": "stat", "scandir": "listdir", "replace": "rename", "remove": "unlink"}.get(name, name)

        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            flags = args[0] if name == "open" and args else 0
            is_write = flags & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY)  # a folder is opened to be synced
            which = "create" if is_write else kind
            if self._meets(which, path):
                raise self._error(path)
            return real(path, *args, **kwargs)

        return call

    def _of_descriptor(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *args: Any, **kwargs: Any) -> Any:
            if self._meets("write" if name == "pwrite" else name, os.readlink(f"/proc/self/fd/{descriptor}")):
                raise self._error(None)
            return real(descriptor, *args, **kwargs)

        return call

    def _opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            is_written = _WRITING.search(mode) is not None
            if self._meets("create" if is_written else "open", path):
                raise self._error(path)
            stream = real(path, mode, *args, **kwargs)
            return _FullFile(stream, self._error(None)) if is_written and self._meets("write", path) else stream

        return call


_BY_PATH = ("stat", "lstat", "listdir", "scandir", "open", "mkdir", "rename", "replace", "unlink", "remove")
_BY_DESCRIPTOR = ("write", "pwrite", "fsync")


class _FullFile:
    """An open file that takes nothing."""

    def __init__(self, stream: Any, error: OSError) -> None:
        self._stream, self._error = stream, error

    def __enter__(self) -> "_FullFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, _: object) -> None:
        raise self._error
