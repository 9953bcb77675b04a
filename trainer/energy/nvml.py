"""Energy of an NVIDIA GPU: the counter that its driver keeps (NVML; Volta and later), read with nvidia-ml-py where that is installed."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from trainer.energy.meter import Energy

_MILLI = 1e-3


class Nvml(Protocol):
    """What is used of the module `pynvml`."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        """Connect to the driver."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802
        """The device with this UUID."""

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int:  # noqa: N802
        """Millijoules since the driver was loaded."""

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]:  # noqa: N802
        """The processes that compute on it."""


class NvmlMeter:
    """Energy of one GPU, whole: of our packs one at a time works on it (`trainer.pack.device`), and only that one measures.

    Args:
        nvml: the library, connected.
        handle: of the device.
    """

    def __init__(self, nvml: Nvml, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def begin(self) -> Callable[[], Energy | None]:
        """As `EnergyMeter`; an estimate where another process has the device open too."""
        return partial(self._since, self._read())

    def _read(self) -> tuple[int, int] | None:
        """Millijoules, and how many processes have the device open."""
        try:
            return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle), self._n_processes()
        except self._nvml.NVMLError:
            return None

    def _n_processes(self) -> int:
        """In some containers the driver shows none, or refuses."""
        try:
            return len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        except self._nvml.NVMLError:
            return 0

    def _since(self, before: tuple[int, int] | None) -> Energy | None:
        after = self._read()
        if before is None or after is None or after[0] < before[0]:  # the driver was loaded anew
            return None
        return Energy((after[0] - before[0]) * _MILLI, is_estimate=max(before[1], after[1]) > 1)


def nvml_meter(uuid: str, nvml: Nvml | None = None) -> NvmlMeter | None:
    """The meter of a GPU; None without the library or the driver, for an old GPU, and for a part of one (MIG).

    Args:
        uuid: as torch tells it, without `GPU-`.
        nvml: the library; default: `pynvml`, where it is installed.
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
