"""The messages with which CUDA reports that a device cannot be used for reasons unrelated to the network or its data.

PyTorch raises a plain RuntimeError for most of them, so only the text distinguishes them from an error in a network.
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
"""Parts of messages, in lower case, that mean that no process can use the device in the machine's current state."""
LOST_DEVICE = ("cuda error", "cudnn error", "cudnn_status", "cublas_status", "nccl error")
"""Parts of all other device messages, in lower case: this process can no longer use the device, but a new process probably can, for example
after a failed assertion or an invalid address on the device."""


def is_device_error(error: BaseException) -> bool:
    """Return whether an error is caused by a device rather than by the computation on it."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in (*BROKEN_DEVICE, *LOST_DEVICE))
