"""Sizes of a compressed network are columns of a row only when that network computes what the trained one does."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, regression, train
from trainer.compression.compress import Compressed, compress, compressed
from trainer.compression.program import Stored
from trainer.compression.sizes import Sizes
from trainer.settings import RetrainSettings, SparsifySettings


class Net(nn.Module):
    """Two heads over layers that read inputs less a plain attribute; one layer is used twice."""

    growl_layers = ("hidden", "reused")

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.randn(8)
        self.first, self.hidden, self.reused = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("calls", torch.zeros(()))
        self.heads = nn.ModuleList([nn.Linear(8, 1), nn.Linear(8, 1)])

    def forward(self, inputs: Tensor) -> list[Tensor]:
        self.calls += 1
        hidden = self.hidden(torch.relu_(self.first(inputs - self.mean)))
        hidden[:, :2] = 0.5
        hidden = torch.relu(hidden)
        for _ in range(2):
            hidden = torch.relu_(self.reused(hidden))
        return [head(hidden) for head in self.heads]


def problem(network: Callable[[], nn.Module] = Net) -> Problem:
    inputs = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
    parts = [Split(inputs[a:b], inputs[a:b, :2]) for a, b in ((0, 32), (32, 40), (40, None))]
    return Problem("tiny", (regression("a", 1.0), regression("b", 1.0)), {"net": network}, *parts)


@pytest.mark.full
def test_a_trial_whose_network_has_constants_views_and_reused_layers_is_kept_with_its_sizes() -> None:
    settings = TrainingSettings(
        batch_size=8, sparsify=SparsifySettings(outer_iterations=1, epochs=1), retrain=RetrainSettings(outer_iterations=1, epochs=1)
    )
    specs = [TrialSpec(str(i), "net", "wcal_growl", (k0, 1 - k0, 0.0), 3, settings) for i, k0 in enumerate((0.0, 0.5))]
    found = [result for one in specs for result in train([one], problem())]
    for result in found:
        assert result.state == "ok", result.error
        assert not any("size of the compressed" in note for note in result.measurements.notes)
        assert result.measurements.sizes.n_macs == 4 * 64 + 2 * 8


def sizes_and_state() -> tuple[Sizes, dict[str, Tensor]]:
    def make() -> nn.Module:
        torch.manual_seed(5)
        return Net()

    return Sizes(problem(), make), {name: tensor.clone() for name, tensor in make().state_dict().items()}


def test_zero_rows_are_removable_and_the_state_is_as_it_was() -> None:
    sizes, state = sizes_and_state()
    state["hidden.weight"][:, 4:] = 0
    before = {name: tensor.clone() for name, tensor in state.items()}
    measured = sizes.measure(state)
    assert sizes.note is None
    assert measured is not None
    assert measured.removable_params >= 4 * 8 + 4 * 8 + 4
    assert all(torch.equal(state[name], before[name]) for name in state), "a buffer that forward writes to is a copy's"


def test_a_network_that_computes_something_else_has_no_sizes_but_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: object, **named: object) -> Compressed:
        small = compressed(*arguments, **named)  # type: ignore[arg-type]
        tensors = {name: tensor + 0.25 if "heads.1.weight.bias" in name else tensor for name, tensor in small.program.tensors.items()}
        return replace(small, program=replace(small.program, tensors=tensors))

    sizes, state = sizes_and_state()
    with monkeypatch.context() as patch:
        patch.setattr("trainer.compression.sizes.compressed", wrong)
        assert sizes.measure(state) is None
    assert sizes.note == (
        "the size of the compressed network is unknown: its outputs differ from the trained network's by 0.25 on validation data, "
        "more than 1e-05"
    )
    assert sizes.measure(state) is not None
    assert sizes.note is None, "the next network's note is its own"


@pytest.mark.full
@pytest.mark.parametrize("name", ["hidden.weight", "heads.0.bias"])
def test_a_network_with_a_number_that_is_not_finite_has_no_sizes(name: str) -> None:
    sizes, state = sizes_and_state()
    state[name].flatten()[0] = torch.nan
    assert sizes.measure(state) is None
    assert sizes.note is not None
    assert "finite" in sizes.note or "inf" in sizes.note


def test_a_network_that_cannot_be_traced_says_why_for_every_trial() -> None:
    class Decides(Net):
        def forward(self, inputs: Tensor) -> list[Tensor]:
            return [inputs[:, :1] if float(inputs.sum()) > 0 else inputs[:, 1:2]] * 2

    sizes = Sizes(problem(Decides), Decides)
    notes = []
    for _ in range(2):
        assert sizes.measure(Decides().state_dict()) is None
        notes.append(sizes.note)
    assert notes[0] == notes[1]
    assert notes[0] is not None
    assert "Could not guard on data-dependent expression" in notes[0]


@pytest.mark.full
def test_a_plain_attribute_is_a_tensor_of_the_program() -> None:
    network = Net()
    small = compress(network, torch.randn(2, 8))
    first = next(step for step in small.program.steps if step.op == "aten.sub.Tensor")
    assert first.args[1] == Stored("mean")
    assert torch.equal(small.program.tensors["mean"], network.mean)
