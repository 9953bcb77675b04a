"""The energy of a machine's processors, from the counters that Linux provides below /sys/class/powercap (RAPL; Intel and AMD).

A counter covers a whole package, with its idle power and the work of all processes. A process is assigned the same share of the energy as
its share of all processor time in that period, so that the shares of all processes add up to the measured energy.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trainer.energy.cpu_time import busy_cpu_s, own_cpu_s
from trainer.energy.meter import Energy

POWERCAP = "PARETO_SWEEP_POWERCAP"
"""Environment variable with the folder of the counters, for containers that see the host's `/sys` elsewhere."""
_DEFAULT_ROOT = "/sys/class/powercap"
# Top-level zones only: `intel-rapl:0:1` is a part of its package. `intel-rapl-mmio:0` is the same package again, and the
# zone `psys` is the whole board with its packages.
_ZONE = re.compile(r"intel-rapl:\d+")
_PACKAGE = "package-"
_MICRO = 1e-6


@dataclass(frozen=True)
class PackageCounter:
    """The energy counter of one processor package."""

    path: Path
    """The file `energy_uj`, an increasing whole number of microjoules."""
    wraps_at: int
    """`max_energy_range_uj`, the value after which the counter starts from 0 again."""

    def read(self) -> int:
        """Return the counter in microjoules.

        Raises:
            OSError, ValueError: the counter cannot be read.
        """
        return int(self.path.read_text(encoding="ascii"))

    def between(self, before: int, after: int) -> int:
        """Return the microjoules from one reading to a later one, with at most one overflow in between.

        Raises:
            ValueError: the readings cannot be from this counter.
        """
        used = after - before if after >= before else after - before + self.wraps_at
        if used < 0:
            raise ValueError(f"{self.path} expects readings below {self.wraps_at}, found {before} and then {after}")
        return used


class RaplMeter:
    """Measures this process's share of the energy of all packages.

    Args:
        counters: the counters of the packages, at least one.
        own_s: returns the processor seconds of this process so far.
        busy_s: returns the processor seconds of the whole machine so far; may raise OSError or ValueError.
    """

    def __init__(
        self, counters: Sequence[PackageCounter], own_s: Callable[[], float] = own_cpu_s, busy_s: Callable[[], float] = busy_cpu_s
    ) -> None:
        self._counters, self._own_s, self._busy_s = tuple(counters), own_s, busy_s

    def begin(self) -> Callable[[], Energy | None]:
        """See `EnergyMeter.begin`; the energy is always an estimate, since it is a share."""
        return partial(self._since, self._read())

    def _read(self) -> tuple[list[int], float, float] | None:
        try:
            return [counter.read() for counter in self._counters], self._own_s(), self._busy_s()
        except (OSError, ValueError):
            return None

    def _since(self, before: tuple[list[int], float, float] | None) -> Energy | None:
        after = self._read()
        if before is None or after is None:
            return None
        try:
            used = [counter.between(*pair) for counter, *pair in zip(self._counters, before[0], after[0], strict=True)]
        except ValueError:
            return None
        own, busy = after[1] - before[1], after[2] - before[2]
        # The machine's time is counted in steps, so over a short period it may be less than our own.
        share = own / max(own, busy) if own > 0 else 0.0
        return Energy(sum(used) * _MICRO * share, is_estimate=True)


def rapl_meter(root: Path | None = None) -> RaplMeter | None:
    """Return the meter of this machine's processors; None if there are no counters, or if some of them cannot be read.

    Args:
        root: the folder of the counters; default: the environment variable `POWERCAP`, otherwise /sys/class/powercap.
    """
    counters = [_counter(zone) for zone in _packages(root or Path(os.environ.get(POWERCAP) or _DEFAULT_ROOT))]
    readable = [counter for counter in counters if counter is not None]
    if not readable or len(readable) < len(counters):
        return None
    meter = RaplMeter(readable)
    return meter if meter.begin()() is not None else None


def _packages(root: Path) -> list[Path]:
    """Return the folders of the packages, in the order of their numbers."""
    try:
        zones = [path for path in root.iterdir() if _ZONE.fullmatch(path.name)]
        named = [zone for zone in zones if (zone / "name").read_text(encoding="ascii").startswith(_PACKAGE)]
    except (OSError, ValueError):
        return []
    return sorted(named, key=lambda zone: int(zone.name.partition(":")[2]))


def _counter(zone: Path) -> PackageCounter | None:
    """Return the counter of a package; None if it cannot be read. Kernels since 2020 let only root read it."""
    try:
        counter = PackageCounter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text(encoding="ascii")))
        counter.read()
    except (OSError, ValueError):
        return None
    return counter
