"""The choice of a backend and of a pack's size, with a memory that is only counted."""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from trainer.api import Problem, Split, TrainingSettings, TrialSpec, classification, fits, timed_backend
from trainer.models.hps import HPS
from trainer.pack.device import Place
from trainer.training.autotune import CANDIDATES, fastest_backend, largest_pack
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


class Asking(HPS):
    """Decides by its data, which no backend for a whole pack can."""

    def forward(self, inputs: Tensor) -> list[Tensor]:
        shared = self.trunk(inputs)
        return [head(-shared if bool((shared.sum() > 1e9).item()) else shared) for head in self.heads]


def test_a_network_that_no_backend_takes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def asking() -> nn.Module:
        return Asking(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)), [nn.Linear(8, 3), nn.Linear(8, 3)])

    memory = Counted(monkeypatch, 1, 1, 1000)
    with pytest.raises(RuntimeError, match=r"no backend can train this network here \(packed: .*resources.backend: loop can"):
        fastest_backend(SPECS, small({"net": asking}), Place(), memory, n_models=2)


def test_a_cpu_is_never_timed() -> None:
    assert timed_backend(SPECS, small({"net": dense}), device="cpu") is None
    assert fits(SPECS, small({"net": dense}), device="cpu") is None
