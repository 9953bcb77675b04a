"""The classification of a worker's errors by what can be done about them.

| kind | examples | consequence |
|---|---|---|
| trial | NaN, an exception in a custom problem | the trial's row records the error, and the trial is not trained again |
| backend | Triton cannot compile a kernel | `backend: auto` trains without the kernel; any other stops the run with one message |
| transient | out of memory, a lost connection, a killed worker | the pack is retried after a pause, then planned again |
| node | broken CUDA, missing packages or data, a full local disk | the node gets no more packs while another node can train them |
| user | the disk with the results is full | the run stops with one message |
"""

import errno
from collections.abc import Iterator
from enum import StrEnum

from sweep.store.files import StoreError, StoreWriteError
from sweep.worker.environment import NodeDiffersError
from trainer.errors import TrainerError
from trainer.pack.device_errors import BROKEN_DEVICE, LOST_DEVICE, is_backend_error, is_out_of_memory

_FULL = {errno.ENOSPC, errno.EDQUOT}
# Errors of one node's view of the folder, which other nodes may be able to write to, or of the node's own disk.
_OF_THE_NODE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EIO, *_FULL}


class Kind(StrEnum):
    """The kind of an error, which decides what happens next; see the table at the top of this module."""

    TRIAL = "trial"
    BACKEND = "backend"
    TRANSIENT = "passing"  # the value that `TrainerError.kind` uses
    NODE = "node"
    USER = "user"


class WorkerError(Exception):
    """The error that ended a worker, in the form that is sent to the driver.

    Args:
        kind: the kind of the error; never `trial`, because such an error becomes a row.
        message: the message for the user.
        node: Ray's id of the worker's node.
        host: host name of that node.
    """

    def __init__(self, kind: str, message: str, node: str, host: str) -> None:
        super().__init__(kind, message, node, host)
        self.kind, self.message, self.node, self.host = Kind(kind), message, node, host

    def __str__(self) -> str:
        return self.message


def kind_of(error: BaseException) -> Kind:
    """Classify an error that was raised in training or in the code around it.

    Args:
        error: the error with its causes.
    """
    if isinstance(error, StoreWriteError):
        return _kind_of_write(_number(error))
    if isinstance(error, StoreError):
        return Kind.NODE if _number(error) in (errno.EACCES, errno.EPERM) else Kind.TRANSIENT
    if isinstance(error, TrainerError):
        return Kind(error.kind)
    if is_out_of_memory(error):
        return Kind.TRANSIENT
    if is_backend_error(error):
        return Kind.BACKEND
    if isinstance(error, (NodeDiffersError, ImportError)):
        return Kind.NODE
    if isinstance(error, OSError):
        return Kind.NODE if error.errno in _OF_THE_NODE else Kind.TRANSIENT
    if isinstance(error, RuntimeError):
        return _kind_of_device(str(error).lower())
    return Kind.TRIAL


def message_of(error: BaseException) -> str:
    """Return the message for the user. A `StoreError` is shown as it is; other errors are prefixed with the name of their class."""
    if isinstance(error, StoreError):
        return str(error)
    hint = "\n  hint: resources.backend: auto chooses a backend that works on the GPU" if is_backend_error(error) else ""
    return f"{type(error).__name__}: {error}{hint}"


def _kind_of_write(number: int | None) -> Kind:
    """Classify a failed write by its errno; None means that an object store refused it.

    All nodes share the disk with the results, but they may have different access to it.
    """
    if number is None or number in _FULL:
        return Kind.USER
    return Kind.NODE if number in _OF_THE_NODE - {errno.EIO} else Kind.TRANSIENT


def _kind_of_device(text: str) -> Kind:
    if any(part in text for part in BROKEN_DEVICE):
        return Kind.NODE
    return Kind.TRANSIENT if any(part in text for part in LOST_DEVICE) else Kind.TRIAL


def _number(error: BaseException) -> int | None:
    """Return the errno of the first OSError among the error and its causes, or None."""
    return next((cause.errno for cause in _causes(error) if isinstance(cause, OSError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__
