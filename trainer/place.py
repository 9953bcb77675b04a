"""Where and how a pack trains."""

from dataclasses import dataclass

import torch

from trainer.energy.meter import EnergyMeter
from trainer.errors import TrainerError

BACKENDS = ("loop", "loop+kernel", "vmap", "packed", "packed+products", "packed+kernel")
"""Ways to compute a pack's passes; `auto` chooses among them (trainer/backends.py)."""


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
