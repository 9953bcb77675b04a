"""The place where a pack is trained: device and backend, and the exclusive use of a GPU that several workers share."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.energy.meter import EnergyMeter
from trainer.errors import TrainerError

BACKENDS = ("loop", "loop+kernel", "vmap", "packed", "packed+products", "packed+pool", "packed+kernel")
"""The backends that can compute a pack's passes; `auto` chooses one of them (trainer/pack/backends.py)."""


class BackendMissingError(ImportError):
    """This machine or device lacks a package or feature that a backend needs; another machine may have it."""


class DeviceMissingError(TrainerError, ValueError):
    """This machine lacks the requested device; another machine may have it."""

    kind = "node"


@dataclass(frozen=True)
class Place:
    """A device, a backend, CPU threads and a meter of the device's energy."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    backend: str = "auto"
    """One of `BACKENDS`, or `auto`."""
    n_threads: int = 1
    """CPU threads for the clustering, which does not use the device."""
    meter: EnergyMeter | None = None
    """Measures the energy of the device; None if nothing can measure it."""


try:
    import fcntl
except ImportError:  # a platform without such locks has no CUDA workers either
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def exclusive_use(device: torch.device) -> Iterator[None]:
    """Lock a GPU against all other workers within the context; on a CPU this does nothing.

    The operating system holds the lock and releases it when the process ends, however it ends. Waiting processes get it in turn, so two
    packs alternate epoch by epoch if both have work.
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
    """Return the path of the lock file, one for each device and user."""
    return Path(tempfile.gettempdir()) / f"pareto-sweep-{os.getuid()}-{device_id}.lock"
