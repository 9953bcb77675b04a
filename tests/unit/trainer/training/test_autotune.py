"""The choice of a backend and of a pack's size, with a memory that is only counted."""

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, fits, timed_backend
from trainer.models.hps import HPS
from trainer.models.mdmtn import MDMTN
from trainer.pack.device import Place
from trainer.training.autotune import CANDIDATES, CudaMemory, NoBackendError, fastest_backend, largest_pack
from trainer.training.two_phase import TwoPhase


class Counted:
    """So many bytes for each model of the last training, and something beside them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, a_model: int, rest: int, free: int) -> None:
        self._sizes, self._a_model, self._rest, self._free = [0], a_model, rest, free
        original = TwoPhase.__init__

        def counting(training: TwoPhase, specs: list[TrialSpec], *arguments: object) -> None:
            self._sizes.append(len(specs))
            original(training, specs, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(TwoPhase, "__init__", counting)

    def restart(self) -> None:
        self._sizes.append(0)

    def peak(self) -> int:
        return self._rest + self._a_model * self._sizes[-1]

    def free(self) -> int:
        return self._free

    def wait(self) -> None:
        pass


def small(networks: Mapping[str, Callable[[], nn.Module]]) -> Problem:
    inputs, targets = torch.randn(64, 6), torch.randint(3, (64, 2))
    split = Split(inputs, targets)
    return Problem("small", (classification("a", 3), classification("b", 3)), networks, split, split, split)


def dense() -> nn.Module:
    return HPS(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU()), [nn.Linear(8, 3), nn.Linear(8, 3)])


SPECS = [TrialSpec(str(i), "net", "wcal_growl", (0.02, 0.49, 0.49), 0, TrainingSettings(batch_size=16)) for i in range(3)]


@pytest.mark.parametrize(("share", "expected"), [(1.0, 75), (0.5, 35)])
def test_the_largest_pack_is_four_fifths_of_the_free_memory(monkeypatch: pytest.MonkeyPatch, share: float, expected: int) -> None:
    memory = Counted(monkeypatch, a_model=10, rest=50, free=1000)
    assert largest_pack(SPECS, small({"net": dense}), Place(backend="packed"), memory, share) == expected


def test_one_model_is_tried_however_little_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Counted(monkeypatch, a_model=10, rest=50, free=3)
    assert largest_pack(SPECS, small({"net": dense}), Place(backend="packed"), memory) == 1


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Packs of `smallest` models and more raise an error in their steps. Return the sizes that are tried."""

    def limit(smallest: int, error: Exception) -> list[int]:
        sizes: list[int] = []
        original = TwoPhase.take_steps

        def limited(training: TwoPhase, n: int, n_samples: int | None = None) -> None:
            if sizes[-1:] != [len(training.specs)]:
                sizes.append(len(training.specs))
            if len(training.specs) >= smallest:
                raise error
            original(training, n, n_samples)

        monkeypatch.setattr(TwoPhase, "take_steps", limited)
        return sizes

    return limit


FULL = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError("CUDA error: out of memory"), MemoryError()]


@pytest.mark.parametrize("error", FULL, ids=str)
@pytest.mark.parametrize(
    ("smallest", "free", "tried", "expected"), [(4, 60, [2, 4, 1], 2), (4, 10_000, [2, 4, 1], 3), (2, 10_000, [2], 1), (1, 10_000, [2], 1)]
)
def test_a_probe_that_does_not_fit_is_replaced_by_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch,
    too_large: Callable[..., list[int]],
    error: Exception,
    smallest: int,
    free: int,
    tried: list[int],
    expected: int,
) -> None:
    memory = Counted(monkeypatch, a_model=15, rest=10, free=free)
    sizes = too_large(smallest, error)
    assert largest_pack(SPECS, small({"net": dense}), Place(backend="packed"), memory) == expected
    assert sizes == tried


def test_another_error_of_a_probe_is_raised(monkeypatch: pytest.MonkeyPatch, too_large: Callable[..., list[int]]) -> None:
    too_large(4, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory"):
        largest_pack(SPECS, small({"net": dense}), Place(backend="packed"), Counted(monkeypatch, 1, 1, 1000))


def test_leftovers_in_cycles_are_collected_before_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: events.append("cache is emptied"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: events.append("peak is reset"))
    gc.disable()
    try:
        weakref.finalize(Cycle(), events.append, "cycle is collected")
        CudaMemory(torch.device("cuda")).restart()
    finally:
        gc.enable()
    assert events == ["cycle is collected", "cache is emptied", "peak is reset"]


@pytest.mark.full
def test_the_fastest_of_the_backends_that_work_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Counted(monkeypatch, 1, 1, 1000)
    found = fastest_backend(SPECS, small({"net": dense}), Place(), memory, n_models=3)
    assert found.n_models == 3
    assert {"packed", "packed+products", "vmap"} <= set(found.step_s) <= set(CANDIDATES)
    assert found.step_s[found.backend] == min(found.step_s.values())


@pytest.mark.full
def test_a_backend_that_computes_something_else_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TwoPhase.first_gradients

    def wrong(training: TwoPhase) -> dict[str, Tensor]:
        scale = 1.1 if training.pack.backend == "vmap" else 1.0
        return {name: scale * value for name, value in original(training).items()}

    monkeypatch.setattr(TwoPhase, "first_gradients", wrong)
    found = fastest_backend(SPECS, small({"net": dense}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert "vmap" not in found.step_s
    assert "packed+products" in found.step_s
    assert found.failures["vmap"].startswith("ArithmeticError: its gradient of ")
    assert found.failures["vmap"].endswith(" differs from the reference by 1.0e-01 (relative; limit 0.01)")


def with_monitors() -> nn.Module:
    def layers() -> nn.Sequential:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU())

    return MDMTN(layers(), [layers(), layers()], [nn.Linear(8, 3), nn.Linear(8, 3)])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No steps are timed."""
    monkeypatch.setattr(TwoPhase, "take_steps", lambda training, n: None)


@pytest.fixture
def gradients_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, dict[str, Tensor]]]:
    """Change the gradients of some backends before they are compared. Return a mapping backend -> gradients before the change."""

    def change(**changes: Callable[[str, Tensor], Tensor]) -> dict[str, dict[str, Tensor]]:
        seen: dict[str, dict[str, Tensor]] = {}
        original = TwoPhase.first_gradients

        def changed(training: TwoPhase) -> dict[str, Tensor]:
            gradients = seen[training.pack.backend] = original(training)
            own = changes.get(training.pack.backend, lambda name, value: value)
            return {name: own(name, value) for name, value in gradients.items()}

        monkeypatch.setattr(TwoPhase, "first_gradients", changed)
        return seen

    return change


@pytest.mark.usefixtures("quick")
def test_wrong_gradients_of_monitors_are_noticed(monkeypatch: pytest.MonkeyPatch, gradients_of: Callable[..., Any]) -> None:
    """Their weights in the outputs are 0 initially, and so are their gradients."""
    seen = gradients_of(vmap=lambda name, value: 1.1 * value if name.startswith("monitors") else value)
    found = fastest_backend(SPECS, small({"net": with_monitors}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert "vmap" not in found.step_s
    assert "monitors" in found.failures["vmap"]
    assert all(bool(value.any()) for value in seen["packed"].values())


@pytest.mark.usefixtures("quick")
def test_models_that_are_confused_are_noticed(monkeypatch: pytest.MonkeyPatch, gradients_of: Callable[..., Any]) -> None:
    """They start from the same network, so their first gradients would be equal."""
    gradients_of(vmap=lambda name, value: value.flip(0))
    found = fastest_backend(SPECS, small({"net": dense}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert set(found.failures) >= {"vmap"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("broken", [("packed",), ("packed", "packed+products", "vmap")])
def test_gradients_that_are_not_finite_are_no_reference(
    monkeypatch: pytest.MonkeyPatch, gradients_of: Callable[..., Any], broken: tuple[str, ...]
) -> None:
    """If those of every backend are NaN, the network is at fault: it trains, and its trials diverge."""
    gradients_of(**dict.fromkeys(broken, lambda name, value: value * torch.nan))
    found = fastest_backend(SPECS, small({"net": dense}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert all("is not finite" in found.failures[backend] for backend in broken)
    assert (found.backend == "packed") is (len(broken) > 1)
    assert ("vmap" in found.step_s) is (len(broken) == 1)


def with_a_useless_bias() -> nn.Module:
    """The normalisation subtracts the bias of the layer before it, whose gradient is therefore zero except for rounding."""
    trunk = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    return HPS(trunk, [nn.Linear(8, 3), nn.Linear(8, 3)])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("error", "is_accepted"), [(1e-8, True), (1e-2, False), (float("nan"), False)])
def test_gradients_that_are_zero_except_for_rounding_are_compared(
    monkeypatch: pytest.MonkeyPatch, gradients_of: Callable[..., Any], error: float, is_accepted: bool
) -> None:
    gradients_of(
        packed=lambda name, value: torch.zeros_like(value) if name == "trunk.0.bias" else value,
        vmap=lambda name, value: torch.full_like(value, error) if name == "trunk.0.bias" else value,
    )
    found = fastest_backend(SPECS, small({"net": with_a_useless_bias}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert ("vmap" in found.step_s) is is_accepted
    assert ("vmap" in found.failures) is not is_accepted


class Bounded(HPS):
    """Refuses parameters outside of their bounds, as a logarithm would."""

    bounds: Mapping[str, tuple[float, float]] = {"trunk.0.bias": (0.0, 0.001)}

    def forward(self, inputs: Tensor) -> list[Tensor]:
        bias = self.trunk[0].bias.clamp(max=0.001)  # type: ignore[operator, union-attr]
        return super().forward(inputs + (bias + 1e-6).log().sum())


@pytest.mark.usefixtures("quick")
def test_compared_parameters_stay_within_their_bounds(monkeypatch: pytest.MonkeyPatch, gradients_of: Callable[..., Any]) -> None:
    def bounded() -> nn.Module:
        network = Bounded(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)), [nn.Linear(8, 3), nn.Linear(8, 3)])
        nn.init.zeros_(network.trunk[0].bias)  # type: ignore[index, arg-type]
        return network

    seen = gradients_of()
    found = fastest_backend(SPECS, small({"net": bounded}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert "vmap" in found.step_s
    assert all(bool(value.isfinite().all()) for value in seen["vmap"].values())


def precisions() -> list[object]:
    """All switches of TF32; an error of one that PyTorch refuses to read."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    reads: list[Callable[[], object]] = [
        torch.get_float32_matmul_precision,
        lambda: matmul.allow_tf32,
        lambda: cudnn.allow_tf32,
        lambda: matmul.fp32_precision,
        lambda: cudnn.conv.fp32_precision,
        lambda: cudnn.rnn.fp32_precision,
    ]
    found: list[object] = []
    for read in reads:
        try:
            found.append(read())
        except (RuntimeError, AttributeError) as error:
            found.append(str(error))
    return found


@contextlib.contextmanager
def switched(name: str) -> Iterator[None]:
    """Within the context, TF32 is on in one of the ways that PyTorch has."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    try:
        if name == "older":
            matmul.allow_tf32 = True
        elif name == "medium":
            torch.set_float32_matmul_precision("medium")
        elif name == "newer":
            matmul.fp32_precision, cudnn.conv.fp32_precision = "tf32", "ieee"
        yield
    finally:
        if hasattr(matmul, "fp32_precision"):
            matmul.fp32_precision, cudnn.conv.fp32_precision = "none", "tf32"
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32 = True


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", ["default", "older", "medium", "newer"])
def test_gradients_are_compared_without_tf32(monkeypatch: pytest.MonkeyPatch, name: str, fails: bool) -> None:
    if name == "newer" and not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this version of PyTorch has only the older switches")
    seen: list[object] = []
    original = TwoPhase.first_gradients

    def observing(training: TwoPhase) -> dict[str, Tensor]:
        seen.extend(precisions()[-3:])
        if fails and training.pack.backend == "vmap":
            raise ArithmeticError("no")
        return original(training)

    monkeypatch.setattr(TwoPhase, "first_gradients", observing)
    with switched(name):
        before = precisions()
        fastest_backend(SPECS, small({"net": dense}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
        assert precisions() == before
    assert set(seen) == {"ieee"} or not hasattr(torch.backends.cuda.matmul, "fp32_precision")


def test_a_smaller_pack_is_timed_if_the_whole_one_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, too_large: Callable[..., list[int]]
) -> None:
    monkeypatch.setattr("trainer.training.autotune._N_TIMED", 1)
    too_large(3, RuntimeError("CUDA error: out of memory"))
    found = fastest_backend(SPECS, small({"net": dense}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=9)
    assert found.n_models == 2
    assert "packed" in found.step_s


def test_a_lack_of_memory_is_no_fault_of_the_backends(monkeypatch: pytest.MonkeyPatch, too_large: Callable[..., list[int]]) -> None:
    sizes = too_large(1, RuntimeError("CUDA error: out of memory"))
    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory$"):
        fastest_backend(SPECS, small({"net": dense}), Place(), Counted(monkeypatch, 1, 1, 1000), n_models=2)
    assert sorted(set(sizes)) == [1, 2]


@pytest.mark.parametrize("lost", ["packed", "packed+products"])
def test_a_lost_device_ends_the_measurement(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """Nothing after it can be believed; what was measured before it is kept."""
    tried: list[str] = []

    def losing(training: TwoPhase, n: int) -> None:
        tried.append(training.pack.backend)
        if training.pack.backend == lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nfor debugging")

    monkeypatch.setattr(TwoPhase, "take_steps", losing)
    memory = Counted(monkeypatch, 1, 1, 1000)
    if lost == "packed":
        with pytest.raises(RuntimeError, match="illegal memory"):
            fastest_backend(SPECS, small({"net": dense}), Place(), memory, n_models=2)
    else:
        found = fastest_backend(SPECS, small({"net": dense}), Place(), memory, n_models=2)
        assert (found.backend, list(found.failures)) == ("packed", [lost])
        assert found.failures[lost] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert tried[-1] == lost


class Asking(HPS):
    """Decides by its data, which no backend for a whole pack can."""

    def forward(self, inputs: Tensor) -> list[Tensor]:
        shared = self.trunk(inputs)
        return [head(-shared if bool((shared.sum() > 1e9).item()) else shared) for head in self.heads]


def test_a_network_that_no_backend_can_train_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def asking() -> nn.Module:
        return Asking(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)), [nn.Linear(8, 3), nn.Linear(8, 3)])

    memory = Counted(monkeypatch, 1, 1, 1000)
    with pytest.raises(NoBackendError, match=r"(?s)no backend can train this network here \(packed: .*hint: resources.backend: loop"):
        fastest_backend(SPECS, small({"net": asking}), Place(), memory, n_models=2)


def test_a_cpu_is_never_timed() -> None:
    assert timed_backend(SPECS, small({"net": dense}), device="cpu", settle=lambda measure: measure().backend) is None
    assert fits(SPECS, small({"net": dense}), device="cpu") is None
