"""Errors are sorted by who can do something about them."""

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
from trainer.problems.custom.source import SourceError
from trainer.problems.images.sources import DataError


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
    *((RuntimeError("CUDA error: device-side assert triggered"), "passing"), (RuntimeError("CUDA error: out of memory"), "passing")),
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


def test_what_ends_a_worker_travels() -> None:
    sent = WorkerError("node", "CUDA is broken", "ab12", "host-7")
    got = pickle.loads(pickle.dumps(sent))
    assert (got.kind, got.message, got.node, got.host, str(got)) == (Kind.NODE, "CUDA is broken", "ab12", "host-7", "CUDA is broken")


def test_messages_of_the_store_are_for_the_user_already() -> None:
    assert message_of(StoreError("torn", "file", "delete it")) == "file: torn\n  hint: delete it"
    assert message_of(ModuleNotFoundError("No module named 'pymoo'")) == "ModuleNotFoundError: No module named 'pymoo'"
