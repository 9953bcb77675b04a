"""What is measured after the last epoch costs no trial: it is null where it fails, and the row says why."""

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trial_specs import SPARSE_K, spec

from trainer.api import Problem, Split, TrainingSettings, TrialResult, TrialSpec, classification, train
from trainer.pack.device_errors import is_device_error
from trainer.settings import CosmosSettings, OnePhaseSettings
from trainer.training.measurements import Measurements, reason_of

GENERATOR = torch.Generator().manual_seed(0)
SPLIT = Split(torch.randn(64, 6, generator=GENERATOR), torch.randint(2, (64, 2), generator=GENERATOR))


class Shared(nn.Module):
    """Two tasks on one trunk; subclasses do what is legal in PyTorch and awkward for a measurement."""

    growl_layers = ("body",)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.body = nn.Linear(6, 8), nn.Linear(8, 8)
        self.heads = nn.ModuleList([nn.Linear(8, 2), nn.Linear(8, 2)])

    def features(self, inputs: Tensor) -> Tensor:
        return self.body(self.first(inputs).relu()).relu()

    def forward(self, inputs: Tensor) -> list[Tensor]:
        shared = self.features(inputs)
        return [head(shared) for head in self.heads]


class PlainTensor(Shared):
    """Subtracts a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(6)

    def features(self, inputs: Tensor) -> Tensor:
        return super().features(inputs - self.mean)


class Twice(Shared):
    """Applies one layer twice."""

    def features(self, inputs: Tensor) -> Tensor:
        shared = super().features(inputs)
        return self.body(shared).relu()


def problem_of(network: Callable[[], nn.Module]) -> Problem:
    tasks = (classification("a", 2), classification("b", 2))
    return Problem("made", tasks, {"net": network}, SPLIT, SPLIT, SPLIT)


def trained(short: TrainingSettings, network: Callable[[], nn.Module] = Shared, n_trials: int = 2) -> list[TrialResult]:
    specs = [spec(k, short, str(i), model="net") for i, k in enumerate(SPARSE_K[:n_trials])]
    return train(specs, problem_of(network))


@pytest.mark.parametrize("network", [PlainTensor, Twice])
def test_a_network_of_any_form_gets_its_row_and_its_weights(short: TrainingSettings, network: type[nn.Module]) -> None:
    for result in trained(short, network):
        assert (result.state, result.error) == ("ok", None)
        assert result.measurements.losses["test"]["a"] > 0
        assert result.weights is not None


FAILING: dict[str, tuple[tuple[str, ...], str]] = {
    "trainer.compression.sizes.Sizes.measure": (("sizes",), "the size of the compressed network is unknown"),
    "trainer.training.base.gradient_cosines": (("gradient_cosine",), "the gradient cosines are unknown"),
    "trainer.training.result.sparsity_metrics": (("rows",), "the sparsity and sharing rates are unknown"),
    "trainer.training.result.layer_sparsity": (("layer_sparsity", "layers_at_limit"), "the sparsity of the layers is unknown"),
    "trainer.training.result.model_notes": ((), "what is odd about the network is unknown"),
    "trainer.training.base.data_notes": ((), "what is odd about the data is unknown"),
    "trainer.pack.loop.Pack.output_ranges": ((), "the ranges of the outputs are unknown"),
    "trainer.objectives.structure.Structure.unit_labels": ((), "the clusters of rows are unknown"),
    "trainer.training.result.convergence": (
        ("scalarized", "reference_point", "convergence"),
        "the scalarized value and the convergence are unknown",
    ),
    "trainer.training.result._optimum": (("optimum",), "the exact optimum is unknown"),
    "trainer.training.result.model_file": ((), "the trained network could not be made a file"),
}
whole = cache(trained)


@pytest.mark.parametrize("path", FAILING)
def test_each_measurement_may_fail_and_is_null_with_a_note(short: TrainingSettings, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    expected = whole(short)
    nulls, failure = FAILING[path]

    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("mean")

    monkeypatch.setattr(path, fail)
    for result, undisturbed in zip(trained(short), expected, strict=True):
        assert result.state == "ok"
        assert f"{failure}: KeyError: 'mean'" in result.measurements.notes
        expected_here = dict.fromkeys(nulls) | {"notes": result.measurements.notes, "usage": result.measurements.usage}
        assert result.measurements == dataclasses.replace(undisturbed.measurements, **expected_here)
        assert (result.weights is None) == (path == "trainer.training.result.model_file")
        assert result.epochs == undisturbed.epochs


def test_a_failure_of_one_trial_is_in_its_own_row_alone(short: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    measure = Measurements.take

    def take(self: Measurements, function: Callable[[], Any], otherwise: Any, failure: str) -> Any:
        if "compressed" not in failure:
            return measure(self, function, otherwise, failure)
        calls.append(len(calls))
        return measure(self, function if len(calls) > 1 else (lambda: 1 / 0), otherwise, failure)

    monkeypatch.setattr(Measurements, "take", take)
    first, second = trained(short)
    assert first.measurements.notes[-1] == "the size of the compressed network is unknown: ZeroDivisionError: division by zero"
    assert not any("ZeroDivision" in note for note in second.measurements.notes)
    assert second.measurements.sizes.n_macs > 0


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OSError(5, "stale file"), RuntimeError("CUDA error: an assertion")],
)
def test_what_is_the_machines_fault_is_raised(short: TrainingSettings, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("trainer.training.base.gradient_cosines", fail)
    with pytest.raises(type(error)):
        trained(short)


@pytest.mark.full
def test_a_shared_network_is_measured_under_each_preference_by_itself(short: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(short, one_phase=OnePhaseSettings(epochs=1), cosmos=CosmosSettings())
    specs = [TrialSpec(str(i), "net", "cosmos", k, 0, settings) for i, k in enumerate([(0.0, 0.2, 0.8), (0.0, 0.5, 0.5)])]
    calls: list[None] = []

    def first_fails(*_: Any) -> tuple[float]:
        calls.append(None)
        if len(calls) == 1:
            raise ValueError("no gradient")
        return (0.5,)

    monkeypatch.setattr("trainer.training.base.gradient_cosines", first_fails)
    first, second = train(specs, problem_of(Shared))
    assert (first.measurements.gradient_cosine, second.measurements.gradient_cosine) == (None, (0.5,))
    assert "the gradient cosines are unknown: ValueError: no gradient" in first.measurements.notes


def test_a_note_is_one_short_line_that_can_be_stored() -> None:
    measurements = Measurements()
    for _ in range(2):
        assert measurements.take(lambda: (_ for _ in ()).throw(ValueError("\n  a\nb")), 3, "x is unknown") == 3
    assert measurements.notes == ["x is unknown: ValueError: a"]
    assert reason_of(KeyError()) == "KeyError"
    assert len(reason_of(ValueError("x" * 1000))) == 200
    assert reason_of(OSError("file\udcff")).encode() == b"OSError: file\\udcff"


def test_a_devices_errors_are_told_from_a_networks() -> None:
    assert is_device_error(RuntimeError("CUDA error: device-side assert triggered"))
    assert is_device_error(RuntimeError("Found no NVIDIA driver on your system"))
    assert not is_device_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x6 and 8x8)"))
    assert not is_device_error(ValueError("CUDA error"))
