"""The GPU's kernels in Triton's interpreter (on a GPU: compiled), against PyTorch; and the packs that use them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification
from trainer.models.hps import HPS
from trainer.pack.device import Place
from trainer.pack.packed import why_missing
from trainer.settings import RetrainSettings, SparsifySettings
from trainer.training.two_phase import TwoPhase

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed (it is for Linux on x86-64)")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = {
    # n_models, n, channels, height, width, outputs, size, and whether all models share the input
    "shared input": (2, 3, 1, 12, 12, 10, 5, True),
    "second layer": (2, 3, 4, 9, 11, 20, 3, False),
    "wide filters": (1, 2, 3, 13, 10, 5, 7, False),
}
ORDERS = {"of models": (0, 1, 2, 3, 4), "of samples": (1, 0, 2, 3, 4), "of filters": (0, 2, 1, 3, 4)}
"""Orders in memory of values of shape (n_models, n, outputs, height, width)."""


def pooled(values: Tensor, relu: bool) -> Tensor:
    largest = torch.stack([F.max_pool2d(model, 2) for model in values])
    return largest.relu() if relu else largest


def convolved_and_pooled(inputs: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    each = [inputs] * len(weight) if inputs.dim() == 4 else list(inputs)
    return pooled(torch.stack([F.conv2d(x, w, b) for x, w, b in zip(each, weight, bias, strict=True)]), relu)


def values_and_gradients(function: Callable[..., Tensor], leaves: Sequence[Tensor], is_shared: bool, relu: bool) -> list[Tensor]:
    own = [leaf.detach().requires_grad_(not (place == 0 and is_shared)) for place, leaf in enumerate(leaves)]
    values = function(*own, relu)
    values.backward(torch.randn(values.shape, generator=torch.Generator().manual_seed(1), dtype=values.dtype).to(values.device))
    return [values.detach(), *(leaf.grad for leaf in own if leaf.grad is not None)]


def drawn(shape: str, with_ties: bool) -> list[Tensor]:
    n_models, n, channels, height, width, outputs, size, is_shared = SHAPES[shape]
    inputs = (n, channels, height, width) if is_shared else (n_models, n, channels, height, width)
    generator = torch.Generator().manual_seed(0)
    sizes = [inputs, (n_models, outputs, channels, size, size), (n_models, outputs)]
    if with_ties:
        return [torch.randint(-1, 2, dims, generator=generator).double().to(DEVICE) for dims in sizes]
    return [torch.randn(dims, generator=generator, dtype=torch.float64).to(DEVICE) for dims in sizes]


@pytest.mark.parametrize(
    ("shape", "relu", "with_ties"),
    [
        pytest.param(shape, relu, with_ties, marks=[] if (shape, relu) == ("shared input", True) else [pytest.mark.full])
        for shape in SHAPES
        for relu in (True, False)
        for with_ties in (True, False)
    ],
)
def test_values_and_gradients_are_those_of_pytorch(shape: str, relu: bool, with_ties: bool) -> None:
    """With integers many of the four values are equal, and the first of them has the gradient."""
    from trainer.pack.kernels.gpu_conv_pool import PackedConvPool

    leaves, is_shared = drawn(shape, with_ties), SHAPES[shape][-1]
    expected = values_and_gradients(convolved_and_pooled, leaves, is_shared, relu)
    found = values_and_gradients(PackedConvPool.apply, leaves, is_shared, relu)
    assert len(expected) == (3 if is_shared else 4)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-12


def test_a_nan_is_seen_behind_it() -> None:
    from trainer.pack.kernels.gpu_conv_pool import PackedConvPool

    ones = [torch.ones(dims, device=DEVICE) for dims in ((1, 1, 6, 6), (1, 2, 1, 3, 3))]
    values = PackedConvPool.apply(*ones, torch.full((1, 2), torch.nan, device=DEVICE), True)
    assert values.isnan().all()


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [(8, 6), (7, 9)], ids=["even", "odd"])
def test_pooling_alone_is_that_of_pytorch(size: tuple[int, int], order: str, relu: bool) -> None:
    """With ties, a NaN, rows and columns that belong to no pooled value, and the layouts of all backends."""
    from trainer.pack.kernels.gpu_conv_pool import PackedPool

    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-2, 3, (2, 3, 4, *size), generator=generator).double()
    values[0, 1, 2, 3, 4] = torch.nan
    there = ORDERS[order]
    values = values.permute(there).contiguous().permute([there.index(dim) for dim in range(5)]).to(DEVICE)
    bias = torch.randn(2, 4, generator=generator, dtype=torch.float64).to(DEVICE)
    expected = values_and_gradients(lambda v, b, r: pooled(v + b[:, None, :, None, None], r), (values, bias), False, relu)
    for ours, theirs in zip(values_and_gradients(PackedPool.apply, (values, bias), False, relu), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12, equal_nan=True)


def test_many_models_and_large_tensors_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several launches where one grid is too small, and 64-bit offsets within a model."""
    from trainer.pack.kernels import gpu_conv_pool

    leaves = drawn("second layer", with_ties=False)
    leaves[0], leaves[1] = leaves[0][:, :1, :2], leaves[1][:, :, :2]
    values = leaves[0].new_ones(3, 2, 4, 5, 6) * torch.arange(3, device=DEVICE)[:, None, None, None, None]
    bias = torch.arange(12, dtype=torch.float64, device=DEVICE).view(3, 4)

    def computed() -> list[Tensor]:
        one = values_and_gradients(gpu_conv_pool.PackedConvPool.apply, leaves, False, True)
        return one + values_and_gradients(gpu_conv_pool.PackedPool.apply, (values, bias), False, True)

    expected = computed()
    monkeypatch.setattr(gpu_conv_pool, "_MAX_PROGRAMS", 5)
    monkeypatch.setattr(gpu_conv_pool, "_MAX_OFFSET", 0)
    for ours, theirs in zip(computed(), expected, strict=True):
        assert torch.equal(ours, theirs)


class Launches:
    """Stands for a kernel, and keeps the grids and first models of its launches."""

    def __init__(self) -> None:
        self.found: list[tuple[tuple[int, ...], int]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda tensor, first, *numbers, **constants: self.found.append((grid, first))


def test_ten_thousand_models_fit_into_grids() -> None:
    """CUDA's first dimension holds 2^31 - 1 programs, the others 65,535: 1,000 models in 64 splits were too many for them."""
    from trainer.pack.kernels.gpu_conv_pool import _launch, _splits

    n_splits, n_steps = _splits(256 * 144, 16)
    assert n_splits * n_steps * 16 >= 256 * 144
    assert n_splits <= 64
    kernel = Launches()
    _launch(kernel, 10_000, n_splits * 2, (torch.zeros(1),), ())
    assert kernel.found == [((10_000 * n_splits * 2,), 0)]
    kernel = Launches()
    _launch(kernel, 10_000, 2**20, (torch.zeros(1),), ())
    assert all(programs < 2**31 for (programs,), _ in kernel.found)
    assert [first for _, first in kernel.found] == list(range(0, 10_000, 2047))
    assert sum(programs for (programs,), _ in kernel.found) == 10_000 * 2**20


def test_offsets_are_64_bit_where_a_model_needs_it() -> None:
    from trainer.pack.kernels.gpu_conv_pool import _is_wide

    def of_stride(sample: int) -> Tensor:
        return torch.empty(1, device="meta").as_strided((90, 512, 1, 2, 2), (4, sample, 1, 2, 1))

    assert not _is_wide(of_stride(4 * 10**6))
    assert _is_wide(of_stride(4 * 10**6), of_stride(5 * 10**6))
    assert not _is_wide(torch.empty(10**6, 100, 10, 5, 5, device="meta")), "offsets between models are always 64-bit"


def small() -> nn.Module:
    trunk = nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.ReLU()),
    )
    return HPS(trunk, [nn.Linear(6, 3), nn.Linear(6, 3)]).double()


@pytest.mark.full
def test_a_pack_trains_alike_with_them() -> None:
    assert why_missing(DEVICE) is None, "the tests run Triton's interpreter"
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 14, 14, generator=generator, dtype=torch.float64), torch.randint(3, (n, 2), generator=generator))

    problem = Problem("small", (classification("a", 3), classification("b", 3)), {"net": small}, split(16), split(8), split(8))
    settings = TrainingSettings(
        batch_size=8, optimizer="sgd", learning_rate=0.01, sparsify=SparsifySettings(1, 1), retrain=RetrainSettings(1, 1)
    )
    first = TrialSpec("a", "net", "wcal_growl", (0.1, 0.45, 0.45), 0, settings)
    trained: list[Any] = []
    for backend in ("packed", "packed+kernel", "packed+pool"):
        training = TwoPhase([first, replace(first, trial_id="b", preference=(0.2, 0.5, 0.3))], problem, Place(DEVICE, backend))
        while not training.done:
            training.step()
        assert training.results()[0].measurements.backend == backend
        trained.append(training.pack)
    for name, value in trained[0].parameters.items():
        for other in trained[1:]:
            torch.testing.assert_close(other.parameters[name], value, rtol=0, atol=1e-12)
