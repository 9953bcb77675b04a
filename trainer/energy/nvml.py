"""The energy of an NVIDIA GPU, from its driver's counter (NVML; Volta and later), read by nvidia-ml-py if that is installed."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from trainer.energy.meter import Energy

_MILLI = 1e-3


class Nvml(Protocol):
    """The part of the module `pynvml` that is used."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        """Connect to the driver."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        """Return the device with this UUID."""

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        """Return the millijoules since the driver was loaded."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        """Return the processes that compute on the device."""


class NvmlMeter:
    """Measures the energy of a whole GPU: only one pack works on it at a time (`trainer.pack.device`), and only that pack measures.

    Args:
        nvml: the library, connected to the driver.
        handle: the device.
    """

    def __init__(self, nvml: Nvml, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def begin(self) -> Callable[[], Energy | None]:
        """See `EnergyMeter.begin`; the energy is an estimate if another process also has the device open."""
        return partial(self._since, self._read())

    def _read(self) -> tuple[int, int] | None:
        """Return the millijoules, and the number of processes that have the device open."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle), self._n_processes()
        except self._nvml.NVMLError:
            return None

    def _n_processes(self) -> int:
        """Count the processes on the device; 0 in containers where the driver lists none or refuses."""
        try:
            return len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except self._nvml.NVMLError:
            return 0

    def _since(self, before: tuple[int, int] | None) -> Energy | None:
        after = self._read()
        if before is None or after is None or after[0] < before[0]:  # the driver was reloaded
            return None
        return Energy((after[0] - before[0]) * _MILLI, is_estimate=max(before[1], after[1]) > 1)


def nvml_meter(uuid: str, nvml: Nvml | None = None) -> NvmlMeter | None:
    """Return the meter of a GPU; None without the library or the driver, for an old GPU, and for a partition of a GPU (MIG).

    Args:
        uuid: the UUID as torch reports it, without `GPU-`.
        nvml: the library; default: `pynvml`, if it is installed.
    """
    library = _installed() if nvml is None else nvml
    if library is None:
        return None
    try:
        library.nvmlInit()
        meter = NvmlMeter(library, library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except library.NVMLError:
        return None
    return meter if meter.begin()() is not None else None


def _installed() -> Nvml | None:
    try:
        import pynvml
    except ImportError:
        return None
    library: Nvml = pynvml
    return library
