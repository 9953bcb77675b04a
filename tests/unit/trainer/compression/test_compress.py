"""A compressed network computes what the masked one computes, whatever is zero, equal or constant in it."""

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from sets import short_cases
from torch import Tensor, nn

from trainer.compression.compress import (
    NotTraceableError,
    ProgramError,
    compress,
    compressed,
    largest_difference,
    load_compressed,
    macs_of,
    trace,
)
from trainer.compression.program import CompactNetwork, Program, Step, Stored, Value
from trainer.compression.trace import fold
from trainer.models.published import CIFAR10MNIST, MULTIMNIST

SHAPES = {"multimnist": (MULTIMNIST, (1, 28, 28)), "cifar10mnist": (CIFAR10MNIST, (3, 32, 32))}
MODELS = ("mdmtn", "hps", "stl", "mtan", "kdmtl")


def made(shape: str, model: str) -> nn.Module:
    """A network in double precision whose every number is its own, batch norm's statistics too."""
    layers, _ = SHAPES[shape]
    torch.manual_seed(1)
    network = layers.networks([10, 7])[model]().double().eval()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2.0) if "var" in name else buffer.normal_()
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return network


@pytest.fixture(scope="module")
def traced() -> Callable[[str, str], tuple[nn.Module, Program]]:
    known: dict[tuple[str, str], tuple[nn.Module, Program]] = {}

    def of(shape: str, model: str) -> tuple[nn.Module, Program]:
        if (shape, model) not in known:
            network = made(shape, model)
            known[shape, model] = network, trace(network, torch.randn(2, *SHAPES[shape][1], dtype=torch.float64))
        return known[shape, model]

    return of


def sparsified(network: nn.Module, layers: tuple[str, ...], share: float, is_tied: bool, seed: int) -> dict[str, Tensor]:
    """State of a network of whose layers some rows are zero and others equal."""
    torch.manual_seed(seed)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for layer in layers:
        weight = state[f"{layer}.weight"]
        is_zero = torch.rand(weight.shape[1]) < share
        weight[:, is_zero] = 0
        rows = (~is_zero).nonzero().flatten()
        if is_tied and len(rows) > 2:
            cluster = torch.randint(len(rows) // 2, (len(rows),))
            for row, number in zip(rows.tolist(), cluster.tolist(), strict=True):
                weight[:, row] = weight[:, rows[cluster == number][0]]
    return state


@pytest.mark.parametrize("shape", short_cases(SHAPES))
@pytest.mark.parametrize("model", MODELS)
def test_the_published_networks_compute_the_same(traced: Callable[[str, str], tuple[nn.Module, Program]], shape: str, model: str) -> None:
    network, program = traced(shape, model)

    @settings(max_examples=6, deadline=None, derandomize=True)
    @given(share=st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]), is_tied=st.booleans(), seed=st.integers(0, 2**20))
    def check(share: float, is_tied: bool, seed: int) -> None:
        state = sparsified(network, network.growl_layers, share, is_tied, seed)  # type: ignore[arg-type]
        network.load_state_dict(state)
        small = compressed(replace(program, tensors={name: state[name] for name in program.tensors}))
        inputs = torch.randn(5, *SHAPES[shape][1], dtype=torch.float64)
        assert largest_difference(network, small.network, [inputs]) < 1e-12
        assert small.notes == ()
        if share == 1.0:
            assert small.n_params == 17, "nothing but the biases of what no input reaches"
        elif share >= 0.3:
            zeros = sum(int((t == 0).sum()) for t in state.values() if t.dim() > 1)
            assert small.n_params < program.n_parameters - 0.9 * zeros

    check()


def test_a_network_without_zeros_keeps_its_size() -> None:
    network = made("multimnist", "hps")
    small = compress(network, torch.randn(2, 1, 28, 28, dtype=torch.float64))
    assert small.n_params == sum(parameter.numel() for parameter in network.parameters())
    assert small.macs == macs_of(network, (1, 28, 28)) > 0


def test_tied_rows_are_kept_once_only_when_asked() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    wrapped = Listed(network)
    with torch.no_grad():
        network[3].weight[:, 4:] = network[3].weight[:, :1]
    sample = torch.randn(4, 6, dtype=torch.float64)
    apart, tied = compress(wrapped, sample, ties=False), compress(wrapped, sample)
    assert apart.n_params - tied.n_params == 4 * 3
    assert largest_difference(wrapped, tied.network, [sample]) < 1e-12


class Listed(nn.Module):
    """A stack as a network of one task."""

    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.stack(inputs)]


class Residual(nn.Module):
    """Padding, addition, concatenation, a gate on channels, a product with a parameter, dropout and view."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(16, 6, 3, stride=2)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(6 * 3 * 3, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.relu(self.norm(self.first(inputs)))
        second = first + self.scale * torch.tanh(self.second(first))
        gated = second * torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(second, 1)))
        third = self.third(torch.cat([gated, first], dim=1))
        features = self.drop(third.view(third.size(0), -1))
        hidden = nn.functional.gelu(self.last(features))
        return self.head(hidden), hidden[:, :1] * 2.0 - 1.0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**20), share=st.sampled_from([0.2, 0.6, 0.9]))
def test_a_network_of_many_kinds_of_steps_computes_the_same(seed: int, share: float) -> None:
    torch.manual_seed(seed)
    network = RESIDUAL[0]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
        for name in ("first", "second", "gate", "third", "last", "head"):
            weight = getattr(network, name).weight
            weight[:, torch.rand(weight.shape[1]) < share] = 0
            weight[torch.rand(len(weight)) < share / 2] = 0
    program = replace(RESIDUAL[1], tensors={name: network.state_dict()[name] for name in RESIDUAL[1].tensors})
    small = compressed(program)
    assert largest_difference(network, small.network, [torch.randn(3, 2, 7, 7, dtype=torch.float64)]) < 1e-11


def _residual() -> tuple[nn.Module, Program]:
    network = Residual().double().eval()
    return network, trace(network, torch.randn(2, 2, 7, 7, dtype=torch.float64))


RESIDUAL = _residual()


def test_a_constant_goes_into_the_next_bias_but_not_through_padding() -> None:
    for padding, n_left in ((0, 0), (1, 3)):
        torch.manual_seed(0)
        stack = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3, padding=padding), nn.Conv2d(2, 4, 1)).double()
        with torch.no_grad():
            stack[0].weight.zero_()  # its three outputs are their biases
        network = Listed(stack)
        sample = torch.randn(2, 2, 8, 8, dtype=torch.float64)
        small = compress(network, sample)
        assert largest_difference(network, small.network, [sample]) < 1e-12
        reads = [step for step in small.program.steps if step.op.startswith("aten.conv2d")]
        assert (len(reads) > 0) == (n_left > 0)


def test_what_cannot_be_removed_is_said() -> None:
    stack = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)).double()
    with torch.no_grad():
        stack[2].weight[:, :5] = 0
    network = Listed(stack)
    sample = torch.randn(4, 6, dtype=torch.float64)
    small = compress(network, sample)
    assert largest_difference(network, small.network, [sample]) < 1e-12
    assert len(small.notes) == 1
    assert "layer_norm reads all 8 units" in small.notes[0]


class Deciding(nn.Module):
    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [inputs if float(inputs.sum()) > 0 else -inputs]


class Sorting(nn.Module):
    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [inputs.sort(dim=1).values]


@pytest.mark.parametrize(("network", "why"), [(Deciding(), "torch.export cannot trace"), (Sorting(), r"aten\.sort")])
def test_what_cannot_be_traced_is_refused(network: nn.Module, why: str) -> None:
    with pytest.raises(NotTraceableError, match=why):
        compress(network, torch.randn(2, 4))


def test_numbers_that_are_not_finite_are_refused() -> None:
    network = Listed(nn.Linear(2, 2))
    with torch.no_grad():
        network.stack.weight[0, 0] = torch.nan  # type: ignore[index]
    with pytest.raises(ValueError, match=r"finite weights, found a number in stack\.weight"):
        compress(network, torch.randn(2, 2))


# -- the file -----------------------------------------------------------------------------------------------------------------


def test_a_file_holds_the_same_network_and_its_card() -> None:
    network = made("multimnist", "mtan")
    network.load_state_dict(sparsified(network, network.growl_layers, 0.6, True, 3))  # type: ignore[arg-type]
    network.float()
    inputs = torch.randn(6, 1, 28, 28)
    small = compress(network, inputs[:2])
    data = small.to_bytes({"trial_id": "a"})
    loaded, card = load_compressed(data)
    assert card == {"trial_id": "a"}
    assert largest_difference(small.network, loaded, [inputs]) < 1e-6, "its tensors lie elsewhere in memory, which may change the last bits"
    assert largest_difference(network, loaded, [inputs]) < 1e-5
    assert data == small.to_bytes({"trial_id": "a"}), "the same network is the same file"


def test_a_torn_or_foreign_file_is_no_network() -> None:
    small = compress(Listed(nn.Linear(2, 2)), torch.randn(2, 2))
    data = small.to_bytes({})
    for broken in (b"", data[:40], data[:-3], save({"a": torch.zeros(1)}), save({"a": torch.zeros(1)}, {"pareto-sweep-network": "[]"})):
        with pytest.raises(ProgramError, match="not a compressed network"):
            load_compressed(broken)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (["x", "aten.from_file.default", ["/etc/passwd"], {}], "is not an operator"),
        (["x", "aten.add_.Tensor", [{"value": "inputs"}, 1], {}], "is not an operator"),
        (["x", "python.eval", ["1"], {}], "is not an operator"),
        (["x", "aten.relu.default", [{"value": "later"}], {}], "reads later, which is not defined"),
        (["x", "aten.add.Tensor", [{"value": "inputs"}, {"tensor": "b"}], {}], "reads b, which is not defined"),
    ],
)
def test_a_file_cannot_name_what_no_network_needs(step: list[object], why: str) -> None:
    described = {"format": 1, "input_shape": [2], "steps": [step], "outputs": [{"value": "x"}], "card": {}}
    data = save({"a": torch.zeros(1)}, {"pareto-sweep-network": json.dumps(described)})
    with pytest.raises(ProgramError, match=why):
        load_compressed(data)


def test_steps_of_stored_numbers_are_computed_once() -> None:
    steps = (
        Step("a", "aten.exp.default", (Stored("b"),), shape=None),
        Step("c", "aten.mul.Tensor", (Value("inputs"), Value("a")), shape=(2,)),
        Step("d", "aten.neg.default", (Value("c"),), shape=(2,)),
    )
    folded = fold(Program((2,), steps, (Value("c"),), {"b": torch.zeros(2)}))
    assert [step.name for step in folded.steps] == ["c"], "the first is a tensor now, the last is read by no output"
    assert torch.equal(folded.tensors["a"], torch.ones(2))


# -- how it runs --------------------------------------------------------------------------------------------------------------


def test_a_list_with_values_in_it_and_named_arguments_reach_their_operator() -> None:
    steps = (
        Step("a", "aten.cat.default", ([Value("inputs"), Stored("b")],), {"dim": 0}, (2,)),
        Step("c", "aten.sum.dim_IntList", (Value("a"), [1]), {"keepdim": True}, (1,)),
    )
    network = CompactNetwork(Program((2,), steps, (Value("c"), [Value("a"), 3]), {"b": torch.tensor([[4.0, 5.0]])}))
    summed, others = network(torch.tensor([[1.0, 2.0]]))
    assert summed.tolist() == [[3.0], [9.0]]
    assert (others[0].tolist(), others[1]) == ([[1.0, 2.0], [4.0, 5.0]], 3)


@pytest.mark.parametrize("remade", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_it_can_be_copied_and_pickled_and_moved(remade: Callable[[nn.Module], nn.Module]) -> None:
    inputs = torch.randn(3, 2)
    small = compress(Listed(nn.Linear(2, 2)), inputs[:2]).network
    other = remade(small)
    torch.testing.assert_close(other(inputs)[0], small(inputs)[0])
    assert other.double()(inputs.double())[0].dtype == torch.float64


def test_an_operator_that_this_pytorch_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.compression.program.ATEN_OPS", frozenset({"aten.no_such_thing.default"}))
    step = Step("a", "aten.no_such_thing.default", (Value("inputs"),))
    with pytest.raises(ProgramError, match=r"aten\.no_such_thing\.default is not in PyTorch"):
        CompactNetwork(Program((2,), (step,), (Value("a"),), {}))
