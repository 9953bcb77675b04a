"""Counters of energy for tests: a tree of files like Linux's, and what is used of NVML."""

from pathlib import Path
from typing import Any

MAX_RANGE = 262_143_328_850
"""Microjoules, as of many processors."""


def write_zone(root: Path, zone: str, name: str, microjoules: int, wraps_at: int = MAX_RANGE) -> Path:
    """One RAPL zone; returns its counter."""
    folder = root / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
    counter = folder / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


class NvmlError(Exception):
    """What the fake library raises."""


class FakeNvml:
    """A driver with one GPU whose counter the test sets."""

    NVMLError = NvmlError

    def __init__(self, uuid: str = "GPU-one", millijoules: int | None = 1000, n_processes: int | None = 1) -> None:
        self.uuid, self.millijoules, self.n_processes = uuid, millijoules, n_processes
        """None: the driver refuses."""
        self.has_driver = True

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.has_driver:
            raise NvmlError("Driver Not Loaded")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        if uuid != self.uuid:
            raise NvmlError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        if self.millijoules is None:
            raise NvmlError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        if self.n_processes is None:
            raise NvmlError("Insufficient Permissions")
        return [object()] * self.n_processes
