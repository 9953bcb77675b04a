"""Recording a training step once and replaying it, because on a GPU a step spends most of its time launching hundreds of small kernels."""

import functools
import gc
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from trainer.pack.device_errors import is_out_of_memory

_N_WARM_UP = 3
"""Number of steps before a recording; they create the optimizer's moments and the libraries' workspaces."""
_N_PAUSE = 100
"""Number of steps after a failed recording before the next attempt: its cause may have passed, such as a call of another library."""
_MAX_FAILURES = 2
"""Number of failed recordings of one kind of step after which no further recording is attempted."""
_MAX_SHAPES = 8
"""Number of shapes of minibatches that are recorded for each kind of step; minibatches of further shapes are computed without recording."""

BatchStep = Callable[[Tensor, Tensor], None]
"""(inputs, targets) of a minibatch -> None; it works only on tensors, and never waits for their values."""


class Recorder(Protocol):
    """Records the operations of a function on tensors. Both methods run it on the recorder's own stream."""

    def warm_up(self, function: Callable[[], None]) -> None:
        """Run the function without recording it."""

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record the function without running it, and return a function that replays it on the same memory.

        Raises:
            RuntimeError: the function contains an operation that cannot be recorded, such as waiting for a result.
        """


class CudaRecorder:
    """Records CUDA graphs. Those that exist at the same time share their memory, so they must not run concurrently."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _stream_of(device)
        self._graphs: WeakSet[Any] = WeakSet()

    def warm_up(self, function: Callable[[], None]) -> None:
        """See `Recorder`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            function()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder`."""
        graph, has_begun = torch.cuda.CUDAGraph(), False
        before = torch.cuda.current_stream(self._device)
        # A pool that no graph uses any more must not be used again.
        pool = next((other.pool() for other in self._graphs), None) or torch.cuda.graph_pool_handle()
        try:
            # In the mode `global`, a call of another thread, such as one that pins memory, would end the capture.
            with (
                _without_collection(),
                torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
            ):
                has_begun = True
                function()
        except BaseException:
            if has_begun:
                _abandon(graph, pool, before.device_index)
            self._stream = torch.cuda.Stream(self._device)
            raise
        finally:
            torch.cuda.set_stream(before)  # after a failed capture, torch leaves the recorder's stream current
        self._graphs.add(graph)
        replay: Callable[[], None] = graph.replay
        return replay


@functools.cache
def _stream_of(device: torch.device) -> Any:
    """Return the stream on which steps are recorded: one for each device, since cuBLAS keeps a workspace for every stream that it used."""
    return torch.cuda.Stream(device)


def _abandon(graph: Any, pool: Any, device_index: int) -> None:
    """Return the memory of a capture that has failed.

    PyTorch does not do so itself: up to 2.12 each later `torch.cuda.empty_cache()` raises an error, and up to 2.13 the memory stays
    reserved until the process ends (pytorch/pytorch#180395 and #190348).
    """
    try:
        graph.pool()
    except RuntimeError:  # the capture has not ended, so the graph's destructor releases nothing
        releases_itself = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)
        for name in ("_cuda_endAllocateToPool", *(() if releases_itself else ("_cuda_releasePool",))):
            with suppress(RuntimeError, AttributeError):
                getattr(torch._C, name)(device_index, pool)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Collect garbage now, and not again within the context, because destroying a CUDA graph during a capture would abort the capture."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass
class _Recording:
    """The recording of one kind of step for one shape of minibatches."""

    n_until: int = _N_WARM_UP
    """Number of steps before the next attempt to record."""
    batch: tuple[Tensor, Tensor] | None = None
    """The minibatch that the recording reads; None until there is a recording."""
    replay: Callable[[], None] | None = None


class StepGraph:
    """Runs steps on minibatches, recorded if there is a recorder. There is one recording for each kind of step and shape of minibatches.

    A recording refers to fixed memory, and Python numbers are constants in it. All data that a step reads besides its minibatch must
    therefore stay in the same tensors, or its `key` must change.

    The graph keeps no reference to the steps. They are methods of its owner, so a reference would form a cycle that keeps the memory of a
    training until Python's garbage collector runs.

    Args:
        recorder: records the steps; None runs every step without recording.

    Attributes:
        failures: kind of step -> the reason of each failed recording.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._keys: dict[str, Hashable] = {}
        self._recordings: defaultdict[str, dict[Hashable, _Recording]] = defaultdict(dict)
        self._recorded: set[str] = set()
        self.failures: dict[str, list[str]] = {}

    def run(self, kind: str, key: Hashable, step: BatchStep, inputs: Tensor, targets: Tensor) -> None:
        """Run one step.

        Args:
            kind: the kind of step, a noun such as `step` that `notes` use.
            key: identifies the constants of steps of this kind; a new key drops the earlier recordings of the kind.
            step: the step. Steps of equal kind and key must compute the same.
            inputs, targets: a minibatch, shapes (n, ...) and (n, n_tasks).
        """
        if self._recorder is None:
            step(inputs, targets)
            return
        recordings = self._recordings[kind]
        if self._keys.setdefault(kind, key) != key:
            self._keys[kind] = key
            recordings.clear()
        recording = recordings.setdefault(tuple((part.shape, part.dtype) for part in (inputs, targets)), _Recording())
        may_record = len(self.failures.get(kind, ())) < _MAX_FAILURES and _n_replayed(recordings) < _MAX_SHAPES
        if recording.replay is None and recording.n_until <= 0 and may_record:
            self._record(kind, recording, step, inputs, targets)
        if recording.replay is None or recording.batch is None:
            self._recorder.warm_up(lambda: step(inputs, targets))
            recording.n_until -= 1
            return
        for part, fixed in zip((inputs, targets), recording.batch, strict=True):
            fixed.copy_(part)
        recording.replay()

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each kind of step for which a recording failed."""
        return tuple(
            f"{'some ' if kind in self._recorded else ''}{kind}s were launched one by one, not as a CUDA graph: "
            f"{'; '.join(dict.fromkeys(reasons))}"
            for kind, reasons in self.failures.items()
        )

    def _record(self, kind: str, recording: _Recording, step: BatchStep, inputs: Tensor, targets: Tensor) -> None:
        assert self._recorder is not None
        batch = inputs.clone(), targets.clone()
        try:
            recording.replay = self._recorder.record(lambda: step(*batch))
            recording.batch = batch
            self._recorded.add(kind)
        except RuntimeError as error:
            if any(map(is_out_of_memory, _causes(error))):
                raise torch.OutOfMemoryError(_reason(error)) from error
            self.failures.setdefault(kind, []).append(_reason(error))
            recording.n_until = _N_PAUSE


def _n_replayed(recordings: dict[Hashable, _Recording]) -> int:
    return sum(recording.replay is not None for recording in recordings.values())


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that led to an error, the first one first: the end of a broken capture raises an error of its own."""
    if error.__context__ is not None:
        yield from _causes(error.__context__)
    yield error


def _reason(error: BaseException) -> str:
    return ", then ".join(dict.fromkeys(str(cause).strip().partition("\n")[0] for cause in _causes(error)))


def recorder_for(device: torch.device) -> Recorder | None:
    """Return a recorder of CUDA graphs for a CUDA device, and None for other devices."""
    return CudaRecorder(device) if device.type == "cuda" else None
