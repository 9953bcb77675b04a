"""The fused convolution against PyTorch's own, and how a network comes to it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.models.published import CIFAR10MNIST, MULTIMNIST
from trainer.pack.kernels import library
from trainer.pack.kernels.conv_pool import ConvPool, conv_pool_relu, fuse

pytestmark = pytest.mark.skipif(library.why_missing() is not None, reason=f"no fused kernel here: {library.why_missing()}")

SHAPES = [
    # n, channels, height, width, outputs, size
    (48, 1, 28, 28, 10, 5),
    (37, 10, 12, 12, 20, 5),
    (5, 3, 32, 30, 16, 3),
    (3, 4, 13, 11, 7, 7),
    (1, 16, 15, 15, 32, 3),
]


def reference(inputs: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    pooled = F.max_pool2d(F.conv2d(inputs, weight, bias), 2)
    return pooled.relu() if relu else pooled


def layouts(inputs: Tensor) -> list[Tensor]:
    return [
        inputs,
        inputs.contiguous(memory_format=torch.channels_last),
        inputs.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        torch.cat([inputs, inputs], dim=3)[..., ::2][..., : inputs.shape[3]],
    ]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_pytorch_in_every_layout(shape: tuple[int, ...], relu: bool) -> None:
    n, channels, height, width, n_outputs, size = shape
    generator = torch.Generator().manual_seed(n)
    drawn = [(n, channels, height, width), (n_outputs, channels, size, size), (n_outputs,)]
    inputs, weight, bias = (torch.randn(dims, generator=generator, dtype=torch.float64) for dims in drawn)
    for variant in layouts(inputs):
        found = []
        for function in (reference, conv_pool_relu):
            leaves = [leaf.detach().clone().requires_grad_() for leaf in (variant, weight, bias)]
            values = function(*leaves, relu)
            gradient = torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            values.backward(gradient)
            found.append([values.detach(), *(leaf.grad for leaf in leaves)])
        for ours, theirs in zip(found[1], found[0], strict=True):
            assert (ours - theirs).abs().max() <= 1e-12 * theirs.abs().max()


def test_a_sample_does_not_depend_on_the_others_in_its_tile() -> None:
    torch.manual_seed(0)
    inputs, weight, bias = torch.randn(40, 3, 12, 12), torch.randn(6, 3, 5, 5), torch.randn(6)
    whole = conv_pool_relu(inputs, weight, bias, True)
    assert torch.equal(conv_pool_relu(inputs[7:8], weight, bias, True), whole[7:8])


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_not_finite_is_seen_behind_it(wrong: float) -> None:
    inputs, bias = torch.ones(2, 1, 6, 6), torch.full((3,), wrong)
    assert not conv_pool_relu(inputs, torch.ones(3, 1, 3, 3), bias, True).isfinite().any()


def test_networks_are_fused_where_the_layers_fit_and_compute_the_same() -> None:
    for layers, n_expected, size in ((MULTIMNIST, 4, (1, 28, 28)), (CIFAR10MNIST, 4, (3, 32, 32))):
        torch.manual_seed(0)
        network = layers.networks([10, 10])["mdmtn"]().double()
        inputs = torch.randn(9, *size, dtype=torch.float64)
        before, names = network(inputs), [name for name, _ in network.named_parameters()]
        assert fuse(network) == n_expected
        assert [name for name, _ in network.named_parameters()] == names
        for ours, theirs in zip(network(inputs), before, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2)],
        [nn.Conv2d(1, 2, 3, stride=2), nn.MaxPool2d(2)],
        [nn.Conv2d(2, 2, 3, groups=2), nn.MaxPool2d(2)],
        [nn.Conv2d(1, 2, 4), nn.MaxPool2d(2)],
        [nn.Conv2d(1, 2, 3), nn.MaxPool2d(3)],
        [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, stride=1)],
        [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)],
        [nn.Conv2d(1, 2, 3).half(), nn.MaxPool2d(2)],
    ],
)
def test_other_layers_are_left_alone(layers: list[nn.Module]) -> None:
    network = nn.Sequential(*layers)
    assert fuse(network) == 0
    assert not any(isinstance(module, ConvPool) for module in network.modules())


@pytest.mark.parametrize(("capability", "most_lanes"), [("default", 4), ("avx2", 8)])
def test_pytorchs_switch_for_fewer_instructions_holds_for_the_kernel_too(
    monkeypatch: pytest.MonkeyPatch, capability: str, most_lanes: int
) -> None:
    """ATEN_CPU_CAPABILITY limits how many float32 samples a vector holds; the values stay those of PyTorch."""
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", capability)
    library.library_of.cache_clear()
    try:
        assert library.library_of(torch.float32).lanes <= most_lanes
        test_values_and_gradients_are_those_of_pytorch_in_every_layout(SHAPES[1], True)
    finally:
        library.library_of.cache_clear()


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    library.library_of.cache_clear()
    try:
        with pytest.raises(library.KernelError, match="no C compiler"):
            library.library_of(torch.float32)
    finally:
        library.library_of.cache_clear()
