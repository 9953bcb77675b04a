"""The energy meter of the device that a pack trains on."""

import torch

from trainer.energy.meter import EnergyMeter
from trainer.energy.nvml import nvml_meter
from trainer.energy.rapl import rapl_meter


def energy_meter(device: torch.device) -> EnergyMeter | None:
    """Return the energy meter of a CPU or a CUDA device; None if no counter can be read, and for other devices."""
    if device.type == "cpu":
        return rapl_meter()
    if device.type == "cuda":
        return nvml_meter(str(torch.cuda.get_device_properties(device).uuid))
    return None
