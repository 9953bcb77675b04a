"""Errors of devices, backends and memory, which are not caused by the network that is trained or by its data.

PyTorch and Triton raise a plain RuntimeError for most of them, so only the text distinguishes them from an error in a network. This module
does not import torch.
"""

import sys

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
LOST_DEVICE = ("cuda error", "cuda driver error", "cudnn error", "cudnn_status", "cublas_status", "nccl error", "triton error [cuda]")
"""Parts of all other device messages, in lower case: this process can no longer use the device, but a new process probably can, for example
after a failed assertion or an invalid address on the device."""
OUT_OF_MEMORY = (
    "out of memory",  # of CUDA's runtime and driver, Triton, HIP and MPS
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
)
"""Parts of messages, in lower case, that mean that the memory of the device or of the machine is insufficient."""
_KERNEL_REFUSED = (
    "failed to find c compiler",  # with which Triton builds the code that launches a kernel
    "triton error [cuda]: invalid argument",
    "triton error [cuda]: too many resources requested for launch",
    "triton error [cuda]: device kernel image is invalid",
    "triton error [cuda]: no kernel image is available",
    "triton error [cuda]: the provided ptx was compiled with an unsupported toolchain",
)
"""Parts of messages, in lower case, of kernels that Triton cannot build or launch. The device itself remains usable."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory, of the device or of the machine, was insufficient for a computation."""
    torch = sys.modules.get("torch")  # without torch, its error cannot have been raised
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _contains(error, OUT_OF_MEMORY)


def is_backend_error(error: BaseException) -> bool:
    """Return whether a backend's own kernel cannot be compiled or launched on this device; another backend can still use the device.

    Triton raises such errors if a kernel needs more shared memory than the device has, or if Triton or ptxas cannot compile it.
    """
    if isinstance(error, RuntimeError) and _contains(error, _KERNEL_REFUSED):
        return True
    return any(kind.__module__.partition(".")[0] == "triton" for kind in type(error).__mro__)


def is_device_error(error: BaseException) -> bool:
    """Return whether an error is caused by a device, or by a lack of memory, rather than by the computation."""
    if is_backend_error(error):
        return False
    return is_out_of_memory(error) or (isinstance(error, RuntimeError) and _contains(error, (*BROKEN_DEVICE, *LOST_DEVICE)))


def _contains(error: BaseException, parts: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(part in text for part in parts)
