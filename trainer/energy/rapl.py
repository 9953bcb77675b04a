"""Energy of a machine's processors: the counters that Linux shows below /sys/class/powercap (RAPL; Intel and AMD).

A counter belongs to a whole package, its idle power and everybody's work included. A process gets the share of it that its processor
time has of all processor time meanwhile, so the shares of all processes add up to what was counted, whoever asks.
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
"""Environment variable: where the counters are, for containers that see the host's `/sys` elsewhere."""
_DEFAULT_ROOT = "/sys/class/powercap"
# Top-level zones only: `intel-rapl:0:1` is a part of its package. `intel-rapl-mmio:0` shows the same package once more, and the
# zone `psys` the whole board with its packages.
_ZONE = re.compile(r"intel-rapl:\d+")
_PACKAGE = "package-"
_MICRO = 1e-6


@dataclass(frozen=True)
class PackageCounter:
    """The energy counter of one processor package."""

    path: Path
    """`energy_uj`: microjoules, a whole number that grows."""
    wraps_at: int
    """`max_energy_range_uj`: after it the counter begins at 0 again."""

    def read(self) -> int:
        """Microjoules.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        return int(self.path.read_text(encoding="ascii"))

    def between(self, before: int, after: int) -> int:
        """Microjoules from one reading to a later one, with at most one wrap in between.

        Raises:
            ValueError: the readings cannot be of this counter.
        """
        used = after - before if after >= before else after - before + self.wraps_at
        if used < 0:
            raise ValueError(f"{self.path} expects readings below {self.wraps_at}, found {before} and then {after}")
        return used


class RaplMeter:
    """Energy of all packages, by this process's share of the processor time.

    Args:
        counters: of each package, at least one.
        own_s: processor seconds of this process so far.
        busy_s: those of the whole machine; may raise OSError or ValueError.
    """

    def __init__(
        self, counters: Sequence[PackageCounter], own_s: Callable[[], float] = own_cpu_s, busy_s: Callable[[], float] = busy_cpu_s
    ) -> None:
        self._counters, self._own_s, self._busy_s = tuple(counters), own_s, busy_s

    def begin(self) -> Callable[[], Energy | None]:
        """As `EnergyMeter`; always an estimate, since a share is one."""
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
        # The machine's time comes in steps, so a short stretch may seem to hold less of it than of our own.
        share = own / max(own, busy) if own > 0 else 0.0
        return Energy(sum(used) * _MICRO * share, is_estimate=True)


def rapl_meter(root: Path | None = None) -> RaplMeter | None:
    """The meter of this machine's processors; None where there are no counters, or not all of them may be read.

    Args:
        root: where the counters are; default: what the environment variable `POWERCAP` says, else /sys/class/powercap.
    """
    counters = [_counter(zone) for zone in _packages(root or Path(os.environ.get(POWERCAP) or _DEFAULT_ROOT))]
    found = [counter for counter in counters if counter is not None]
    if not found or len(found) < len(counters):
        return None
    meter = RaplMeter(found)
    return meter if meter.begin()() is not None else None


def _packages(root: Path) -> list[Path]:
    """The folders of the packages, in the order of their numbers."""
    try:
        zones = [path for path in root.iterdir() if _ZONE.fullmatch(path.name)]
        named = [zone for zone in zones if (zone / "name").read_text(encoding="ascii").startswith(_PACKAGE)]
    except (OSError, ValueError):
        return []
    return sorted(named, key=lambda zone: int(zone.name.partition(":")[2]))


def _counter(zone: Path) -> PackageCounter | None:
    """None where it may not be read: since 2020 kernels let only root."""
    try:
        counter = PackageCounter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text(encoding="ascii")))
        counter.read()
    except (OSError, ValueError):
        return None
    return counter
