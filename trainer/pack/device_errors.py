"""How CUDA says that a device cannot be used, whatever the work was: no fault of a network or its data.

PyTorch raises a plain RuntimeError for most of these, so that only the text tells them from a mistake in a network.
"""

BROKEN_DEVICE = (
    "no cuda-capable device",
    "found no nvidia driver",
    "driver version is insufficient",
    "no kernel image is available",
    "uncorrectable ecc",
    "invalid device ordinal",
    "device not available",
    "system has unsupported display driver",
    "system not yet initialized",
    "initialization error",
)
"""Parts of messages, in lower case: no process can use the device as this machine is."""
LOST_DEVICE = ("cuda error", "cudnn error", "cudnn_status", "cublas_status", "nccl error")
"""Parts of all other messages of a device: this process can use it no more, a new one probably can. An assertion or a wrong address on the
device leaves it so."""


def is_device_error(error: BaseException) -> bool:
    """Whether an error comes from a device, and not from what was computed on it.

    Args:
        error: as it was raised.
    """
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in (*BROKEN_DEVICE, *LOST_DEVICE))
