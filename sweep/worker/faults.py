"""Errors of a worker, sorted by what can be done about them.

| kind | examples | what follows |
|---|---|---|
| trial | NaN, an exception of a custom problem | its row says so; it is not trained again |
| transient | memory, a connection, a worker that was killed | retried after a pause, then planned again |
| node | broken CUDA, missing packages or data, a full disk of its own | the node gets no more packs while another one can take them |
| user | the disk with the results is full | the run stops with one message |
"""

import errno
import sys
from collections.abc import Iterator
from enum import StrEnum

from sweep.store.files import StoreError, StoreWriteError
from sweep.worker.environment import NodeDiffersError
from trainer.errors import TrainerError
from trainer.pack.device_errors import BROKEN_DEVICE, LOST_DEVICE

_FULL = {errno.ENOSPC, errno.EDQUOT}
# A folder that others can write, or a disk of the node's own.
_OF_THE_NODE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EIO, *_FULL}


class Kind(StrEnum):
    """What can be done about an error: see the table above."""

    TRIAL = "trial"
    TRANSIENT = "passing"  # the value that `TrainerError.kind` uses
    NODE = "node"
    USER = "user"


class WorkerError(Exception):
    """The error that ended a worker, on its way to the driver.

    Args:
        kind: never `trial`, which becomes a row.
        message: for the user.
        node: Ray's id of the worker's node.
        host: its name.
    """

    def __init__(self, kind: str, message: str, node: str, host: str) -> None:
        super().__init__(kind, message, node, host)
        self.kind, self.message, self.node, self.host = Kind(kind), message, node, host

    def __str__(self) -> str:
        return self.message


def kind_of(error: BaseException) -> Kind:
    """Sort an error that training or its surroundings raised.

    Args:
        error: as it was raised, with its causes.
    """
    if isinstance(error, StoreWriteError):
        return _kind_of_write(_number(error))
    if isinstance(error, StoreError):
        return Kind.NODE if _number(error) in (errno.EACCES, errno.EPERM) else Kind.TRANSIENT
    if isinstance(error, TrainerError):
        return Kind(error.kind)
    if isinstance(error, MemoryError) or _is_out_of_device_memory(error):
        return Kind.TRANSIENT
    if isinstance(error, (NodeDiffersError, ImportError)):
        return Kind.NODE
    if isinstance(error, OSError):
        return Kind.NODE if error.errno in _OF_THE_NODE else Kind.TRANSIENT
    if isinstance(error, RuntimeError):
        return _kind_of_device(str(error).lower())
    return Kind.TRIAL


def message_of(error: BaseException) -> str:
    """The message for the user: of a store's error as it is, of others with the name of the class before it."""
    return str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"


def _kind_of_write(number: int | None) -> Kind:
    """Sort a failed write: all nodes share the results' disk, but may see it differently. Without a number an object store refused."""
    if number is None or number in _FULL:
        return Kind.USER
    return Kind.NODE if number in _OF_THE_NODE - {errno.EIO} else Kind.TRANSIENT


def _kind_of_device(text: str) -> Kind:
    if any(part in text for part in BROKEN_DEVICE):
        return Kind.NODE
    return Kind.TRANSIENT if any(part in text for part in LOST_DEVICE) else Kind.TRIAL


def _number(error: BaseException) -> int | None:
    """The errno of the first OSError among its causes."""
    return next((cause.errno for cause in _causes(error) if isinstance(cause, OSError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def _is_out_of_device_memory(error: BaseException) -> bool:
    """Without importing torch, which cannot have raised anything where it was never imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
