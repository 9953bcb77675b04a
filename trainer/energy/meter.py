"""The interface of an energy meter."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

JOULES_PER_WH = 3600.0


@dataclass(frozen=True)
class Energy:
    """The energy of a period of work."""

    joules: float
    is_estimate: bool
    """Whether other processes used the device too, so that this is an estimated share of the measured energy."""


class EnergyMeter(Protocol):
    """Measures the energy of one device, or of a machine's processors, from counters of the hardware that are read before and after a
    period of work."""

    def begin(self) -> Callable[[], Energy | None]:
        """Begin a period of work.

        Returns:
            A function that ends the period and returns its energy; None where the counter cannot be read, or was reset meanwhile.
            Neither call raises.
        """
