"""Recorded steps without a GPU: what is recorded and when, and what happens when a recording fails."""

import gc
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from pretended_cuda import DEVICE, Graph, PretendedDevice, pretended_cuda
from torch import Tensor

from trainer.pack.cuda_graph import CudaRecorder, StepGraph


class CountingRecorder:
    """Replays a function by calling it. Attributes: what it was called for, in order, and the errors that the next recordings raise."""

    def __init__(self, *errors: Exception) -> None:
        self.calls: list[str] = []
        self.errors = list(errors)

    def warm_up(self, function: Callable[[], None]) -> None:
        self.calls.append("warm up")
        function()

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        self.calls.append("record")
        if self.errors:
            raise self.errors.pop(0)

        def replay() -> None:
            self.calls.append("replay")
            function()

        return replay


class Sums:
    """A step that keeps the sums of its minibatches."""

    def __init__(self) -> None:
        self.sums: list[float] = []

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        self.sums.append(float(inputs.sum() + targets.sum()))


def run(graph: StepGraph, sums: Sums, n: int, *, size: int = 2, kind: str = "step", key: object = None) -> None:
    for i in range(n):
        graph.run(kind, key, sums.step, torch.full((size,), float(i)), torch.zeros(1))


def test_each_kind_and_shape_is_recorded_once_until_its_key_changes() -> None:
    recorder, sums = CountingRecorder(), Sums()
    graph = StepGraph(recorder)
    for kind, size in (("step", 2), ("step", 3), ("evaluation", 3)):
        run(graph, sums, 5, size=size, kind=kind)
    assert recorder.calls == [*["warm up"] * 3, "record", "replay", "replay"] * 3
    assert sums.sums[:5] == [0.0, 2.0, 4.0, 6.0, 8.0]
    recorder.calls.clear()
    run(graph, sums, 1, size=3)
    run(graph, sums, 4, key="another phase")
    run(graph, sums, 1, size=3, kind="evaluation")
    assert recorder.calls == ["replay", *["warm up"] * 3, "record", "replay", "replay"]
    assert graph.failures == {}
    assert graph.notes == ()


def test_a_failure_may_pass() -> None:
    recorder, sums = CountingRecorder(RuntimeError("another library was busy\nmore")), Sums()
    graph = StepGraph(recorder)
    run(graph, sums, 200)
    assert recorder.calls.count("record") == 2
    assert recorder.calls[-1] == "replay"
    assert len(sums.sums) == 200
    assert graph.notes == ("some steps were launched one by one, not as a CUDA graph: another library was busy",)


def test_after_two_failures_steps_of_this_kind_are_not_recorded_and_every_reason_is_kept() -> None:
    recorder, sums = CountingRecorder(RuntimeError("one\nmore"), RuntimeError("two")), Sums()
    graph = StepGraph(recorder)
    run(graph, sums, 400)
    run(graph, sums, 5, kind="evaluation")
    assert sums.sums[:4] == [0.0, 2.0, 4.0, 6.0]
    assert len(sums.sums) == 405
    assert recorder.calls.count("record") == 3
    assert graph.notes == ("steps were launched one by one, not as a CUDA graph: one; two",)


def test_what_is_recorded_is_replayed_although_another_shape_cannot_be_recorded() -> None:
    recorder, sums = CountingRecorder(), Sums()
    graph = StepGraph(recorder)
    run(graph, sums, 4)
    recorder.errors = [RuntimeError("one"), RuntimeError("two")]
    run(graph, sums, 300, size=3)
    run(graph, sums, 1)
    assert recorder.calls[-1] == "replay"
    assert graph.notes == ("some steps were launched one by one, not as a CUDA graph: one; two",)


@pytest.mark.parametrize("full", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")])
@pytest.mark.parametrize("is_behind_another_error", [False, True])
def test_out_of_memory_is_not_a_failure_to_record(full: RuntimeError, is_behind_another_error: bool) -> None:
    error = full
    if is_behind_another_error:  # the end of a capture that an error broke raises an error of its own
        error, error.__context__ = RuntimeError("capture failed"), error
    graph, sums = StepGraph(CountingRecorder(error)), Sums()
    run(graph, sums, 3)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        run(graph, sums, 1)


def test_minibatches_of_many_shapes_do_not_fill_the_memory() -> None:
    recorder, sums = CountingRecorder(), Sums()
    graph = StepGraph(recorder)
    for size in range(1, 20):
        run(graph, sums, 5, size=size)
    assert recorder.calls.count("record") == 8
    assert len(sums.sums) == 19 * 5


def test_the_graph_keeps_no_step() -> None:
    sums = Sums()
    graph = StepGraph(CountingRecorder(RuntimeError("no")))
    gc.disable()
    try:
        run(graph, sums, 10)
        freed = weakref.ref(sums)
        del sums
        assert freed() is None
    finally:
        gc.enable()
    assert graph.failures


@pytest.fixture
def gpu() -> Iterator[PretendedDevice]:
    with pretended_cuda() as device:
        yield device


def _add_one(total: Tensor) -> None:
    total.add_(1)


def test_a_replay_repeats_the_step_on_the_same_memory_and_a_recording_changes_nothing(gpu: PretendedDevice) -> None:
    total, factor = torch.zeros(2, device=DEVICE), torch.ones((), device=DEVICE)

    def step() -> None:
        total.add_(factor * 2)

    replay = CudaRecorder(DEVICE).record(step)
    assert total.tolist() == [0, 0]
    replay()
    factor.fill_(10)
    replay()
    assert total.tolist() == [22, 22]
    assert gpu.n_captures == 1


def test_a_step_that_waits_is_named_and_the_stream_is_restored(gpu: PretendedDevice) -> None:
    total = torch.zeros(2, device=DEVICE)
    graph, n_steps = StepGraph(CudaRecorder(DEVICE)), 6

    def step(inputs: Tensor, targets: Tensor) -> None:
        total.add_(float(inputs.sum()))

    for _ in range(n_steps):
        graph.run("step", None, step, torch.ones(1, device=DEVICE), torch.ones(1, device=DEVICE))
        assert gpu.stream is gpu.default_stream
    assert total.tolist() == [n_steps, n_steps]
    (note,) = graph.notes
    assert "operation not permitted when stream is capturing" in note
    assert "then CUDA error: operation failed due to a previous error during capture" in note
    torch.cuda.empty_cache()
    assert len(gpu.released_pools) == 1, "the memory of the failed capture"


def test_calls_of_other_threads_do_not_end_a_capture(gpu: PretendedDevice) -> None:
    total = torch.zeros(2, device=DEVICE)

    def step() -> None:
        gpu.call_in_another_thread()
        total.add_(1)

    CudaRecorder(DEVICE).record(step)()
    assert total.tolist() == [1, 1]


def test_garbage_does_not_end_a_capture(gpu: PretendedDevice) -> None:
    """CUDA refuses to destroy a graph during a capture."""
    recorder, total = CudaRecorder(DEVICE), torch.zeros(2, device=DEVICE)
    cycle: list[object] = [recorder.record(partial(_add_one, total))]
    cycle.append(cycle)
    old = weakref.ref(cycle[0].__self__)  # type: ignore[attr-defined]
    del cycle

    def step() -> None:
        total.add_(1)
        garbage: list[object] = [Graph()]
        garbage.append(garbage)
        del garbage
        [[] for _ in range(10_000)]  # would start an automatic collection

    recorder.record(step)()
    assert old() is None
    assert total.tolist() == [1, 1]


def test_graphs_that_exist_together_share_their_memory(gpu: PretendedDevice) -> None:
    recorder, total = CudaRecorder(DEVICE), torch.zeros(2, device=DEVICE)
    first, second = (recorder.record(partial(_add_one, total)) for _ in range(2))
    shared = first.__self__.pool()  # type: ignore[attr-defined]
    assert second.__self__.pool() is shared  # type: ignore[attr-defined]
    del first, second
    assert recorder.record(partial(_add_one, total)).__self__.pool() is not shared  # type: ignore[attr-defined]
