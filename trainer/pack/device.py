"""Where a pack is trained: device, backend and precision, and turns of several workers on one GPU."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.energy.meter import EnergyMeter
from trainer.errors import TrainerError

BACKENDS = ("loop", "loop+kernel", "vmap", "packed", "packed+products", "packed+kernel")
"""Ways to compute a pack's passes; `auto` chooses among them (trainer/pack/backends.py)."""


class BackendMissingError(ImportError):
    """This machine or device lacks what a backend needs; the message says what. Another machine may have it."""


class DeviceMissingError(TrainerError, ValueError):
    """This machine lacks the device that was asked for. Another machine may have it."""

    kind = "node"


@dataclass(frozen=True)
class Place:
    """A device, a backend and the threads beside them."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    backend: str = "auto"
    """One of `BACKENDS`, or `auto`."""
    n_threads: int = 1
    """CPU threads for what the device does not do: clustering."""
    meter: EnergyMeter | None = None
    """Counts the energy of the device; None where nothing does."""


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
