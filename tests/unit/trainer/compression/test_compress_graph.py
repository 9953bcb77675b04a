"""Networks that write in place, view, reuse layers or keep tensors as plain attributes are compressed to what they compute."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from sets import short_cases
from torch import Tensor, nn

from trainer.compression.compress import NotTraceableError, compress, compressed, largest_difference, load_compressed, trace
from trainer.compression.program import Program

WIDTH = 8
Forward = Callable[["Layers", Tensor], list[Tensor]]


class Layers(nn.Module):
    """Layers of one width that a forward may use as often as it likes."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.BatchNorm1d(WIDTH)
        self.conv, self.channels = nn.Conv2d(1, WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, (1, 3), padding=(0, 1))
        self.channel_norm = nn.BatchNorm2d(WIDTH)
        self.mean = torch.linspace(-1, 1, WIDTH, dtype=torch.float64)
        self.register_buffer("scale", torch.linspace(1, 2, WIDTH), persistent=False)
        self._forward = forward

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return self._forward(self, inputs)


def _attribute(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.second(torch.relu(net.first((x - net.mean) * net.scale)))]


def _three_times(net: Layers, x: Tensor) -> list[Tensor]:
    for _ in range(3):
        x = torch.relu(net.first(x))
    return [net.second(x)]


def _convolution_twice(net: Layers, x: Tensor) -> list[Tensor]:
    y = net.conv(x[:, None, None])
    y = F.relu(net.channel_norm(net.channels(y)), inplace=True)
    y = F.relu(net.channel_norm(net.channels(y)), inplace=True)
    return [net.second(y.mean((2, 3)))]


def _norm_three_times(net: Layers, x: Tensor) -> list[Tensor]:
    for layer in (net.first, net.second, net.third):
        x = torch.relu(net.norm(layer(x)))
    return [x]


def _shared_encoder(net: Layers, x: Tensor) -> list[Tensor]:
    def encoded(part: Tensor) -> Tensor:
        return torch.relu(net.first(part))

    return [net.second(encoded(x)), net.third(encoded(x * 2 + 1))]


def _fills_a_part(net: Layers, x: Tensor) -> list[Tensor]:
    z = net.first(x)
    z[:, :4] = 0.5
    return [net.second(z)]


def _copies_a_part(net: Layers, x: Tensor) -> list[Tensor]:
    y = net.first(x)
    y[:, 0] = x[:, 0]
    return [net.second(y), y]


def _scales_a_view(net: Layers, x: Tensor) -> list[Tensor]:
    y = net.first(x)
    y[:, :2].mul_(3)
    return [net.second(y)]


def _fills_zeros(net: Layers, x: Tensor) -> list[Tensor]:
    y = net.first(x)
    z = torch.zeros(x.shape[0], WIDTH, dtype=x.dtype)
    z[:, :3] = y[:, 1:4]
    z[:, 3:] = y[:, :5] * 2
    return [net.second(z)]


def _fills_an_empty_tensor(net: Layers, x: Tensor) -> list[Tensor]:
    z = torch.empty(x.shape[0], WIDTH, dtype=x.dtype)
    z[:, ::2], z[:, 1::2] = net.first(x)[:, :4], 0.25
    return [net.second(z)]


def _len(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.second(torch.relu(net.first(x)).view(len(x), -1) + torch.zeros(len(x), 1))]


def _int(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.second(torch.relu(net.first(x)).reshape(int(x.shape[0]), -1))]


def _folds_into_the_batch(net: Layers, x: Tensor) -> list[Tensor]:
    y = torch.relu(net.first(x)).reshape(-1, 2)
    return [net.second((y + torch.ones(y.shape[0], 2)).reshape(x.shape[0], -1))]


def _in_place_everywhere(net: Layers, x: Tensor) -> list[Tensor]:
    y = F.silu(net.first(x), inplace=True)
    y += x
    y = F.hardtanh(net.second(y), inplace=True)
    y = F.hardswish(net.third(y), inplace=True)
    y.masked_fill_(y > 0.3, 0.1).clamp_(max=0.2)
    return [y, y.mean(1), y.t().t()]


def _writes_a_buffer(net: Layers, x: Tensor) -> list[Tensor]:
    net.norm.num_batches_tracked.add_(1)  # type: ignore[operator, union-attr]
    return [net.second(torch.relu(net.first(x)))]


def _writes_the_input(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.second(x.mul_(2))]


def _behind_transposes(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.second(torch.relu(net.first(x)).t().t().relu())]


def _gathers(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.second(net.first(x)[:, [0, 2, 4, 6, 1, 3, 5, 7]] + torch.tensor([0.5]) + torch.arange(WIDTH))]


FORWARDS = [
    *(_attribute, _three_times, _convolution_twice, _norm_three_times, _shared_encoder, _fills_a_part, _copies_a_part, _scales_a_view),
    *(_fills_zeros, _fills_an_empty_tensor, _len, _int, _folds_into_the_batch, _in_place_everywhere, _writes_a_buffer),
    *(_writes_the_input, _behind_transposes, _gathers),
]


def made(forward: Forward, seed: int) -> Layers:
    torch.manual_seed(seed)
    network = Layers(forward).double().eval()
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if buffer.is_floating_point() and name != "scale":
                buffer.uniform_(0.5, 2.0)
    return network


def mask(network: nn.Module, share: float) -> None:
    """Zero some rows and some columns of each weight, and tie some rows."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() < 2:
                continue
            n_out, n_in = parameter.shape[:2]
            parameter[:, torch.rand(n_in) < share] = 0
            parameter[torch.rand(n_out) < share / 2] = 0
            if n_in > 1:
                parameter[:, 1] = parameter[:, 0]


def with_state(program: Program, network: nn.Module) -> Program:
    """The steps with the network's numbers; constants of its code are the program's own."""
    state = network.state_dict()
    return replace(program, tensors={name: state.get(name, tensor) for name, tensor in program.tensors.items()})


@pytest.mark.parametrize("forward", short_cases(FORWARDS, every=4), ids=lambda forward: forward.__name__.strip("_"))
def test_what_a_forward_may_do_is_computed_by_the_smaller_network_too(forward: Forward) -> None:
    network = made(forward, 0)
    program = trace(network, torch.randn(2, WIDTH, dtype=torch.float64))
    is_smaller = []
    for seed, share in enumerate((0.0, 0.4, 0.8, 1.0)):
        torch.manual_seed(seed)
        for parameter in network.parameters():
            nn.init.normal_(parameter)
        mask(network, share)
        small = compressed(with_state(program, network))
        loaded, _ = load_compressed(small.to_bytes({}))
        for n in (1, 5):
            inputs = torch.randn(n, WIDTH, dtype=torch.float64)
            assert largest_difference(network, small.network, [inputs]) < 1e-12
            assert largest_difference(network, loaded, [inputs]) < 1e-12
        assert small.n_params <= program.n_parameters + 2 * WIDTH, "never larger, but for constants that no bias can take"
        is_smaller.append(small.n_params < program.n_parameters / 2)
    assert is_smaller[-1], "with nothing but zeros nearly nothing is left"


def test_a_weight_that_two_steps_cut_alike_is_stored_once() -> None:
    def alike(net: Layers, x: Tensor) -> list[Tensor]:
        return [net.second(torch.relu(net.first(x))), net.second(torch.relu(net.first(x * 2)))]

    network = made(alike, 1)
    with torch.no_grad():
        network.second.weight[:, 3:] = 0
    inputs = torch.randn(4, WIDTH, dtype=torch.float64)
    small = compress(network, inputs)
    assert largest_difference(network, small.network, [inputs]) < 1e-12
    assert small.n_params == (3 * WIDTH + 3) + (3 * WIDTH + WIDTH)


def test_cuts_of_a_shared_weight_that_are_larger_together_are_not_made() -> None:
    network = made(_shared_encoder, 1)
    with torch.no_grad():
        network.second.weight[:, :1] = 0
        network.third.weight[:, -1:] = 0
    inputs = torch.randn(4, WIDTH, dtype=torch.float64)
    small = compress(network, inputs)
    assert largest_difference(network, small.network, [inputs]) < 1e-12
    assert small.n_params == (WIDTH + 1) * WIDTH + 2 * ((WIDTH - 1) * WIDTH + WIDTH)


# -- random networks ----------------------------------------------------------------------------------------------------------

MOVES: dict[str, Callable[[Layers, Tensor, Tensor], Tensor]] = {
    "first": lambda net, y, x: net.first(y),
    "second": lambda net, y, x: net.second(y),
    "norm": lambda net, y, x: net.norm(y),
    "relu_": lambda net, y, x: torch.relu_(y.clone()),
    "add_": lambda net, y, x: (y * 1).add_(x),
    "constant": lambda net, y, x: y - net.mean,
    "part": lambda net, y, x: _assigned(y, slice(0, 3), x[:, 2:5]),
    "number": lambda net, y, x: _assigned(y, slice(5, None), 0.5),
    "tripled": lambda net, y, x: _scaled(y, slice(2, 6)),
    "viewed": lambda net, y, x: y.view(-1, 2, 4).transpose(1, 2).reshape(y.shape[0], -1),
    "halves": lambda net, y, x: torch.cat([*reversed(y.chunk(2, 1))], 1),
    "sizes": lambda net, y, x: y + torch.ones(y.shape[0], 1),
}


def _assigned(y: Tensor, part: slice, value: Tensor | float) -> Tensor:
    y = y.clone()
    y[:, part] = value
    return y


def _scaled(y: Tensor, part: slice) -> Tensor:
    y = y * 1.0
    y[:, part].mul_(3).sigmoid_()
    return y


@pytest.mark.full
@settings(max_examples=6, deadline=None, derandomize=True)
@given(moves=st.lists(st.sampled_from(sorted(MOVES)), min_size=4, max_size=9, unique=True), seed=st.integers(0, 2**20))
def test_random_networks_with_random_masks_compute_the_same(moves: list[str], seed: int) -> None:
    def forward(net: Layers, x: Tensor) -> list[Tensor]:
        y = net.third(x)
        for move in moves:
            y = MOVES[move](net, y, x)
        return [net.second(y), net.third(torch.tanh(y))]

    network = made(forward, seed)
    program = trace(network, torch.randn(3, WIDTH, dtype=torch.float64))
    for share in (0.2, 0.5, 0.8):
        for parameter in network.parameters():
            nn.init.normal_(parameter)
        mask(network, share)
        small = compressed(with_state(program, network)).network
        assert largest_difference(network, small, [torch.randn(n, WIDTH, dtype=torch.float64) for n in (1, 4)]) < 1e-11


# -- rules ---------------------------------------------------------------------------------------------------------------------


def _average_with_a_divisor(net: Layers, x: Tensor) -> list[Tensor]:
    y = net.channels(net.conv(x[:, None, None]))
    return [net.second(F.avg_pool2d(y, (1, 2), divisor_override=3).flatten(2).sum(2)), F.avg_pool2d(y, (1, 2), divisor_override=3)]


def _average_of_the_units(net: Layers, x: Tensor) -> list[Tensor]:
    y = net.channels(net.conv(x[:, None, None]))[:, :, 0]  # as many places as units
    return [y.mean(-2), net.first(x).mean(-1), net.first(x).mean(1, keepdim=True)]


@pytest.mark.parametrize("forward", [_average_with_a_divisor, _average_of_the_units])
def test_averages_that_are_no_unit_s_own_keep_all_of_them(forward: Forward) -> None:
    network = made(forward, 0)
    with torch.no_grad():
        for layer in (network.channels, network.first):
            layer.weight[::2] = 0  # these units are constant
    inputs = torch.randn(4, WIDTH, dtype=torch.float64)
    assert largest_difference(network, compress(network, inputs).network, [inputs]) < 1e-12


def test_a_mask_of_infinities_is_no_damaged_weight() -> None:
    def masked(net: Layers, x: Tensor) -> list[Tensor]:
        return [net.second(torch.softmax(net.first(x) + torch.tensor([-torch.inf, *[0.0] * (WIDTH - 1)]), 1))]

    network = made(masked, 0)
    inputs = torch.randn(4, WIDTH, dtype=torch.float64)
    assert largest_difference(network, compress(network, inputs).network, [inputs]) < 1e-12


# -- why not -------------------------------------------------------------------------------------------------------------------


def _counts_in_numpy(net: Layers, x: Tensor) -> list[Tensor]:
    return [x.view(int(np.int64(len(x))), -1)]


def _decides(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.first(x) if x.mean() > 0 else x]


def _rolls_dice(net: Layers, x: Tensor) -> list[Tensor]:
    return [net.first(x) + torch.rand_like(x)]


def _fails(net: Layers, x: Tensor) -> list[Tensor]:
    raise ValueError("the first line\nthe cause")


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        (_counts_in_numpy, "the number of samples as a plain number .2 here."),
        (_decides, "Could not guard on data-dependent expression.* in _decides"),
        (_rolls_dice, "its forward draws random numbers .aten.rand_like"),
        (_fails, "the first line the cause"),
    ],
)
def test_the_whole_reason_stands_in_one_line(forward: Forward, why: str) -> None:
    with pytest.raises(NotTraceableError, match=why) as caught:
        trace(made(forward, 0), torch.randn(2, WIDTH, dtype=torch.float64))
    assert "\n" not in str(caught.value)
    assert "TORCH" not in str(caught.value)


def test_each_output_is_compared_by_its_own_scale() -> None:
    def outputs(factor: float) -> nn.Module:
        return made(lambda net, x: [1e6 * x, factor * x], 0)

    inputs = torch.ones(2, WIDTH, dtype=torch.float64)
    assert largest_difference(outputs(1.0), outputs(1.5), [inputs]) == 0.5
    assert largest_difference(outputs(4.0), outputs(5.0), [inputs]) == 0.25


def test_a_file_of_an_earlier_version_is_read() -> None:
    """Before the graph was made functional, steps were views, copies and batch norm as torch.export lists them."""
    tensors = {"w": torch.eye(2), "v": torch.ones(2), "m": torch.tensor([1.0, 3.0])}
    steps = [
        ["n", "aten.sym_size.int", [{"value": "inputs"}, 0], {}],
        ["a", "aten.linear.default", [{"value": "inputs"}, {"tensor": "w"}], {}],
        ["b", "aten.batch_norm.default", [{"value": "a"}, None, None, {"tensor": "m"}, {"tensor": "v"}, False, 0.1, 0.0, True], {}],
        ["c", "aten.dropout.default", [{"value": "b"}, 0.5, False], {}],
        ["d", "aten.view.default", [{"value": "c"}, [{"value": "n"}, -1]], {}],
        ["e", "aten.contiguous.default", [{"value": "d"}], {}],
    ]
    described = {"format": 1, "input_shape": [2], "steps": steps, "outputs": [{"value": "e"}], "card": {"trial_id": "old"}}
    network, card = load_compressed(save(tensors, {"pareto-sweep-network": json.dumps(described)}))
    assert card == {"trial_id": "old"}
    assert network(torch.tensor([[1.0, 2.0]]))[0].tolist() == [[0.0, -1.0]]
