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
    """Whether other processes also used the device, so that the energy is an estimated share of what was measured."""


class EnergyMeter(Protocol):
    """Measures the energy of a device, or of a machine's processors, by reading hardware counters before and after a period of work."""

    def begin(self) -> Callable[[], Energy | None]:
        """Begin a period of work.

        Returns:
            A function that ends the period and returns its energy; it returns None if the counter cannot be read or was reset meanwhile.
            Neither call raises an exception.
        """
