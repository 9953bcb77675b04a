"""Taking turns on a GPU: while one pack clusters on CPU threads, or writes its rows, another one trains."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

try:
    import fcntl
except ImportError:  # no such locks on this platform, and no CUDA workers either
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def turn_on(device: torch.device) -> Iterator[None]:
    """Within it this process alone, of those that ask, works on the device; on a CPU it does nothing.

    The lock is the operating system's and ends with the process, however that ends. The kernel gives it to whoever waits,
    so two packs alternate epoch by epoch when both have work.
    """
    if device.type != "cuda" or fcntl is None:
        yield
        return
    with _lock_file(torch.cuda.get_device_properties(device).uuid).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
            torch.cuda.synchronize(device)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock_file(device_id: object) -> Path:
    """One file a device and user."""
    return Path(tempfile.gettempdir()) / f"pareto-sweep-{os.getuid()}-{device_id}.lock"
