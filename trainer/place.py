"""Where a pack trains, and by which backend."""

from dataclasses import dataclass

import torch

BACKENDS = ("loop", "loop+kernel", "vmap", "packed", "packed+products")
"""Ways to compute a pack's passes; `auto` chooses among them (trainer/backends.py)."""


@dataclass(frozen=True)
class Place:
    """A device and a backend."""

    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable
    backend: str = "auto"
    """One of `BACKENDS`, or `auto`."""
