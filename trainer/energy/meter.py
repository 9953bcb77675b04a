"""What a training asks of a counter of energy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

JOULES_PER_WH = 3600.0


@dataclass(frozen=True)
class Energy:
    """What a stretch of work used."""

    joules: float
    is_estimate: bool
    """True where others used the device too, so that this is a share of what was counted."""


class EnergyMeter(Protocol):
    """Counts the energy of one device, or of a machine's processors. Needs no process of its own: the hardware counts, and whoever works
    reads before and after."""

    def begin(self) -> Callable[[], Energy | None]:
        """Begin a stretch; calling what this returns ends it.

        The energy is None where it cannot be read, or was set back meanwhile. Neither call raises.
        """
