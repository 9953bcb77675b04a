"""Recording a training step once and replaying it, because on a GPU a step spends most of its time launching hundreds of small kernels."""

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch
from torch import Tensor

_N_WARM_UP = 3
"""Number of steps before a recording; they create the optimizer's moments and the libraries' workspaces."""


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
    """Records CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)

    def warm_up(self, function: Callable[[], None]) -> None:
        """See `Recorder`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            function()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            function()
        replay: Callable[[], None] = graph.replay
        return replay


class StepGraph:
    """Runs a step on minibatches, recorded if there is a recorder.

    A recording refers to fixed memory, and Python numbers are constants in it. All data that the step reads besides its minibatch must
    therefore stay in the same tensors, or `key` must change with it. Only minibatches of the first one's size are recorded.

    Args:
        step: called with (inputs, targets) of a minibatch; it works only on tensors, and never waits for their values.
        recorder: records the step; None runs every step without recording.

    Attributes:
        failure: why steps are not recorded although a recorder was given; None as long as recording works.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None], recorder: Recorder | None) -> None:
        self._step, self._recorder = step, recorder
        self._batch: tuple[Tensor, Tensor] | None = None
        self._key: Hashable = None
        self._replay: Callable[[], None] | None = None
        self._n_warm = 0
        self.failure: str | None = None

    def run(self, key: Hashable, inputs: Tensor, targets: Tensor) -> None:
        """Run one step.

        Args:
            key: identifies the constants of the step; a new key starts a new recording.
            inputs, targets: a minibatch, shapes (n, ...) and (n, n_tasks).
        """
        if self._recorder is None or self.failure is not None:
            self._step(inputs, targets)
            return
        if self._batch is None:
            self._batch = torch.empty_like(inputs), torch.empty_like(targets)
        if any(part.shape != fixed.shape for part, fixed in zip((inputs, targets), self._batch, strict=True)):
            self._recorder.warm_up(lambda: self._step(inputs, targets))
            return
        for part, fixed in zip((inputs, targets), self._batch, strict=True):
            fixed.copy_(part)
        if key != self._key:
            self._key, self._replay, self._n_warm = key, None, 0
        if self._replay is None and self._n_warm >= _N_WARM_UP:
            self._record()
        if self._replay is None:
            self._recorder.warm_up(self._on_batch)
            self._n_warm += 1
        else:
            self._replay()

    def _on_batch(self) -> None:
        assert self._batch is not None
        self._step(*self._batch)

    def _record(self) -> None:
        assert self._recorder is not None
        try:
            self._replay = self._recorder.record(self._on_batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.failure = str(error).strip().partition("\n")[0]


def recorder_for(device: torch.device) -> Recorder | None:
    """Return a recorder of CUDA graphs for a CUDA device, and None for other devices."""
    return CudaRecorder(device) if device.type == "cuda" else None
