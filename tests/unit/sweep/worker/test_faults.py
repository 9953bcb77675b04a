"""Errors are sorted by who can do something about them."""

import ast
import errno
import os
import pickle

import pytest
import torch

from sweep.store.errors import StoreError, StoreWriteError, UnreachableError, UnreadableError
from sweep.store.files import read_error, write_error
from sweep.worker.environment import NodeDiffersError
from sweep.worker.faults import Kind, WorkerError, kind_of, message_of
from trainer.pack.device import BackendMissingError, DeviceMissingError
from trainer.pack.device_errors import is_backend_error, is_device_error, is_out_of_memory
from trainer.problems.custom.source import SourceError
from trainer.problems.images.sources import DataError
from trainer.training.autotune import NoBackendError


def raised(error: Exception, cause: BaseException | None = None) -> Exception:
    """With its cause, as `raise ... from` leaves it."""
    try:
        raise error from cause
    except Exception as found:  # noqa: BLE001 - whatever it is
        return found


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def write(number: int) -> Exception:
    cause = os_error(number)
    return raised(write_error("file", cause), cause)  # type: ignore[arg-type]


def read(number: int) -> Exception:
    cause = os_error(number)
    return raised(read_error("file", cause), cause)  # type: ignore[arg-type]


CASES = [
    *((ValueError("loss is NaN"), "trial"), (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "trial"), (KeyError("x"), "trial")),
    *((torch.OutOfMemoryError("CUDA out of memory"), "passing"), (MemoryError(), "passing")),
    *((ConnectionResetError(errno.ECONNRESET, "reset"), "passing"), (TimeoutError("slow"), "passing"), (os_error(errno.EMFILE), "passing")),
    *((RuntimeError("CUDA error: device-side assert triggered"), "passing"), (NoBackendError("no backend can"), "backend")),
    *((RuntimeError("CUDA error: no CUDA-capable device is detected"), "node"), (RuntimeError("Found no NVIDIA driver on your"), "node")),
    *((RuntimeError("CUDA error: uncorrectable ECC error encountered"), "node"), (DeviceMissingError("device cuda is not"), "node")),
    *((ModuleNotFoundError("No module named 'pymoo'"), "node"), (BackendMissingError("no compiler"), "node"), (DataError("none"), "node")),
    *(
        (SourceError("its module is not here"), "node"),
        (NodeDiffersError("other torch"), "node"),
        (os_error(errno.ENOSPC), "node"),
        (os_error(errno.EIO), "node"),
    ),
    *((StoreWriteError("no access to bucket x"), "user"), (UnreachableError("no answer"), "passing")),
    *((write(errno.ENOSPC), "user"), (write(errno.EDQUOT), "user")),
    *((write(errno.EROFS), "node"), (write(errno.ENOENT), "node"), (write(errno.EACCES), "node")),
    *((write(errno.EIO), "passing"), (write(errno.ESTALE), "passing"), (write(errno.ETIMEDOUT), "passing")),
    *((read(errno.EIO), "passing"), (read(errno.EACCES), "node"), (UnreadableError("torn", "file"), "passing")),
]


@pytest.mark.parametrize(("error", "kind"), CASES, ids=[f"{type(error).__name__}-{kind}-{i}" for i, (error, kind) in enumerate(CASES)])
def test_each_error_has_its_kind(error: Exception, kind: str) -> None:
    assert kind_of(error) is Kind(kind)


def accelerator(text: str) -> Exception:
    """As PyTorch raises errors of CUDA since 2.8."""
    return torch.AcceleratorError(text) if hasattr(torch, "AcceleratorError") else RuntimeError(text)


MEMORY, BACKEND, DEVICE, NONE = "out of memory", "backend", "device", "none"
# The text, where it is raised, and its kind: each as PyTorch 2.13 or Triton 3.9 has it.
DEVICE_CASES = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 8 GiB"), MEMORY, "passing"),
    (torch.OutOfMemoryError(), MEMORY, "passing"),
    (MemoryError(), MEMORY, "passing"),
    (
        accelerator("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"),
        MEMORY,
        "passing",
    ),
    (RuntimeError("CUDA error: out of memory"), MEMORY, "passing"),
    (RuntimeError("CUDA driver error: out of memory"), MEMORY, "passing"),
    (RuntimeError("Triton Error [CUDA]: out of memory"), MEMORY, "passing"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MEMORY, "passing"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), MEMORY, "passing"),
    (
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)"),
        MEMORY,
        "passing",
    ),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:126] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
        MEMORY,
        "passing",
    ),
    (RuntimeError("Triton Error [CUDA]: invalid argument"), BACKEND, "backend"),
    (RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), BACKEND, "backend"),
    (RuntimeError("Triton Error [CUDA]: no kernel image is available for execution on the device"), BACKEND, "backend"),
    (RuntimeError("Failed to find C compiler. Please specify via CC environment variable"), BACKEND, "backend"),
    (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), DEVICE, "passing"),
    (accelerator("CUDA error: an illegal memory access was encountered"), DEVICE, "passing"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DEVICE, "passing"),
    (accelerator("CUDA error: no kernel image is available for execution on the device"), DEVICE, "node"),
    (accelerator("CUDA error: uncorrectable ECC error encountered"), DEVICE, "node"),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x6 and 8x8)"), NONE, "trial"),
    (ValueError("out of memory"), NONE, "trial"),
]


@pytest.mark.parametrize(
    ("error", "sort", "kind"), DEVICE_CASES, ids=[f"{type(error).__name__}-{i}" for i, (error, *_) in enumerate(DEVICE_CASES)]
)
def test_errors_of_memory_backends_and_devices_are_told_apart(error: Exception, sort: str, kind: str) -> None:
    assert is_out_of_memory(error) is (sort == MEMORY)
    assert is_backend_error(error) is (sort == BACKEND)
    assert is_device_error(error) is (sort in (MEMORY, DEVICE))
    assert kind_of(error) is Kind(kind)


def test_a_kernel_that_triton_cannot_compile_is_an_error_of_the_backend() -> None:
    runtime, compiler = pytest.importorskip("triton.runtime.errors"), pytest.importorskip("triton.compiler.errors")
    too_large = runtime.OutOfResources(262144, 232448, "shared memory")
    for error in (
        too_large,
        runtime.PTXASError("Internal Triton PTX codegen error"),
        compiler.CompilationError("tl.load(x)", ast.parse("tl.load(x)"), "CUDA error: out of memory"),
    ):
        assert is_backend_error(error)
        assert not is_out_of_memory(error)
        assert not is_device_error(error)
        assert kind_of(error) is Kind.BACKEND
    message = message_of(too_large)
    assert message.startswith("OutOfResources: out of resource: shared memory, Required: 262144, Hardware limit: 232448.")
    assert message.endswith("\n  hint: resources.backend: auto chooses a backend that works on the GPU")


def test_what_ends_a_worker_travels() -> None:
    sent = WorkerError("node", "CUDA is broken", "ab12", "host-7")
    got = pickle.loads(pickle.dumps(sent))
    assert (got.kind, got.message, got.node, got.host, str(got)) == (Kind.NODE, "CUDA is broken", "ab12", "host-7", "CUDA is broken")


def test_messages_of_the_store_are_for_the_user_already() -> None:
    assert message_of(StoreError("torn", "file", "delete it")) == "file: torn\n  hint: delete it"
    assert message_of(ModuleNotFoundError("No module named 'pymoo'")) == "ModuleNotFoundError: No module named 'pymoo'"
