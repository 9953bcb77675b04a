"""Downloads of the original files by torchvision, which is imported without its compiled operators if these do not load."""

import contextlib
import http.client
import importlib
import io
import shutil
import socket
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_schemas: list[Any] = []


def import_torchvision() -> ModuleType:
    """Import the package `torchvision`.

    The registry's torchvision is built for its CUDA torch. With a CPU torch its compiled part does not load, and the
    import fails with `operator torchvision::nms does not exist`, although data sets and classifiers need no operator. The
    import succeeds once these two operators are declared; declaring them first would break a torchvision that
    has them.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    from torch.library import Library

    library = Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.append(library)  # a library that is garbage-collected removes its operators
    return importlib.import_module("torchvision")


_TIMEOUT = 30.0  # seconds without a byte


def download(name: str, root: Path) -> str | None:
    """Download a data set into `root`, in torchvision's layout. Complete files are moved there at the end.

    Args:
        name: a class of `torchvision.datasets`: MNIST, FashionMNIST or CIFAR10.
        root: a folder, which is created if it does not exist.

    Returns:
        None, or the reason of the failure in one line.
    """
    is_new = not root.exists()
    aside: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
        with _timeout(), _quiet():
            getattr(import_torchvision().datasets, name)(str(aside), download=True)
        for path in sorted(aside.rglob("*")):
            target = root / path.relative_to(aside)
            if path.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except (ImportError, OSError, RuntimeError, EOFError, tarfile.TarError, http.client.HTTPException) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):
                root.rmdir()
    return None


@contextlib.contextmanager
def _timeout() -> Iterator[None]:
    """Set a timeout, which torchvision does not: behind some firewalls a connection never ends."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torchvision's progress bar unless standard error is a terminal."""
    if sys.stderr.isatty():
        yield
    else:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
