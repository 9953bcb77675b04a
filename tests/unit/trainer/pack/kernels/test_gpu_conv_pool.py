"""The GPU's fused kernel in Triton's interpreter, against PyTorch; and the pack that uses it."""

from dataclasses import replace
from importlib.util import find_spec

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

SHAPES = {
    # n_models, n, channels, height, width, outputs, size
    "shared input": (2, 3, 1, 12, 12, 10, 5, True),
    "second layer": (2, 3, 4, 9, 11, 20, 3, False),
    "wide filters": (1, 2, 3, 13, 10, 5, 7, False),
}


SLOWER = {("second layer", True), ("second layer", False), ("wide filters", True)}


def reference(inputs: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    each = [inputs] * len(weight) if inputs.dim() == 4 else list(inputs)
    pooled = torch.stack([F.max_pool2d(F.conv2d(x, w, b), 2) for x, w, b in zip(each, weight, bias, strict=True)])
    return pooled.relu() if relu else pooled


@pytest.mark.parametrize(
    ("shape", "relu"),
    [
        pytest.param(shape, relu, marks=[pytest.mark.slow if (shape, relu) in SLOWER else pytest.mark.full])
        for shape in SHAPES
        for relu in (True, False)
    ],
)
def test_values_and_gradients_are_those_of_pytorch(shape: str, relu: bool) -> None:
    from trainer.pack.kernels.gpu_conv_pool import PackedConvPool

    n_models, n, channels, height, width, outputs, size, is_shared = SHAPES[shape]
    generator = torch.Generator().manual_seed(0)
    sizes = [(n, channels, height, width), (n_models, outputs, channels, size, size), (n_models, outputs)]
    sizes[0] = sizes[0] if is_shared else (n_models, *sizes[0])
    drawn = [torch.randn(dims, generator=generator, dtype=torch.float64) for dims in sizes]
    found = []
    for function in (reference, PackedConvPool.apply):
        leaves = [leaf.clone().requires_grad_(not (place == 0 and is_shared)) for place, leaf in enumerate(drawn)]
        values = function(*leaves, relu)
        values.backward(torch.randn(values.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
        found.append([values.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)])
    assert len(found[0]) == (3 if is_shared else 4)
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert (ours - theirs).abs().max() <= 1e-12


def test_a_nan_is_seen_behind_it() -> None:
    from trainer.pack.kernels.gpu_conv_pool import PackedConvPool

    values = PackedConvPool.apply(torch.ones(1, 1, 6, 6), torch.ones(1, 2, 1, 3, 3), torch.full((1, 2), torch.nan), True)
    assert values.isnan().all()


def small() -> nn.Module:
    trunk = nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.ReLU()),
    )
    return HPS(trunk, [nn.Linear(6, 3), nn.Linear(6, 3)]).double()


@pytest.mark.slow
def test_a_pack_trains_alike_with_it() -> None:
    assert why_missing(torch.device("cpu")) is None, "the tests run Triton's interpreter"
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 14, 14, generator=generator, dtype=torch.float64), torch.randint(3, (n, 2), generator=generator))

    problem = Problem("small", (classification("a", 3), classification("b", 3)), {"net": small}, split(16), split(8), split(8))
    settings = TrainingSettings(
        batch_size=8, optimizer="sgd", learning_rate=0.01, sparsify=SparsifySettings(1, 1), retrain=RetrainSettings(1, 1)
    )
    first = TrialSpec("a", "net", "wcal_growl", (0.1, 0.45, 0.45), 0, settings)
    trained = []
    for backend in ("packed", "packed+kernel"):
        training = TwoPhase([first, replace(first, trial_id="b", preference=(0.2, 0.5, 0.3))], problem, Place(backend=backend))
        while not training.done:
            training.step()
        assert training.results()[0].measurements.backend == backend
        trained.append(training.pack)
    for name, value in trained[0].parameters.items():
        torch.testing.assert_close(trained[1].parameters[name], value, rtol=0, atol=1e-12)
