"""The messages by which CUDA reports that a device cannot be used, for reasons other than the network or its data.

PyTorch raises a plain RuntimeError for most of them, so that only the text distinguishes them from an error in a network.
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
"""Parts of messages, in lower case, which mean that no process can use the device in the current state of this machine."""
LOST_DEVICE = ("cuda error", "cudnn error", "cudnn_status", "cublas_status", "nccl error")
"""Parts of all other messages of a device: this process can no longer use it, but a new process probably can, for example after an
assertion or a wrong address on the device."""


def is_device_error(error: BaseException) -> bool:
    """Return whether an error is caused by a device, and not by the computation on it."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in (*BROKEN_DEVICE, *LOST_DEVICE))
