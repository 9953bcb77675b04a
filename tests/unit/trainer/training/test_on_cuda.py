"""Every method, model and setting on a pretended CUDA device: nothing mixes devices, and recorded steps train as those of a CPU do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from pretended_cuda import pretended_cuda
from torch import Tensor, nn

from trainer.api import (
    Problem,
    Split,
    Stream,
    Training,
    TrainingSettings,
    TrialResult,
    TrialSpec,
    classification,
    from_bytes,
    start,
    to_bytes,
)
from trainer.catalog import PROBLEMS
from trainer.compression.sizes import Sizes
from trainer.models.family import Layers
from trainer.models.mtan import Attention
from trainer.pack.device import BackendMissingError
from trainer.settings import (
    EvolutionSettings,
    GrowlSettings,
    LsuvSettings,
    OnePhaseSettings,
    RetrainSettings,
    SparsifySettings,
    TyingSettings,
)

SETTINGS = TrainingSettings(
    batch_size=4,
    learning_rate=2**-7,  # exact in float32, as the numbers on the device are
    learning_rate_decay=0.5,
    sparsify=SparsifySettings(outer_iterations=2, epochs=1),
    retrain=RetrainSettings(outer_iterations=2, epochs=1),
    growl=GrowlSettings(sparsity_min=0.1),
    lsuv=LsuvSettings(n_samples=8),
    one_phase=OnePhaseSettings(epochs=2, decay_every=1),
    evolution=EvolutionSettings(generations=2, n_samples=8),
)
TIED = replace(SETTINGS, tying=TyingSettings(preference=-0.5))
NOT_TIED = replace(SETTINGS, tying=TyingSettings(preference=1.0))


def _layers(norm: Callable[[int], nn.Module]) -> Layers:
    def block(n_inputs: int, n_outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(n_inputs, n_outputs, 3), nn.MaxPool2d(2), norm(n_outputs), nn.ReLU()]

    return Layers(
        lambda: nn.Sequential(*block(1, 4), *block(4, 6), nn.Flatten(), nn.Linear(24, 8), nn.ReLU()),
        lambda: nn.Sequential(*block(1, 4), nn.Flatten(), nn.Linear(144, 8), nn.ReLU()),
        lambda: Attention(
            nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.MaxPool2d(2), norm(6), nn.Sigmoid()),
            nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 8), nn.Sigmoid()),
        ),
        n_features=8,
    )


def _problem(norm: Callable[[int], nn.Module] = lambda n: nn.Identity()) -> Problem:
    """Noise of 14 x 14 pixels, in float64; the last minibatch of an epoch is smaller than the others."""
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        inputs = torch.randn(n, 1, 14, 14, generator=generator, dtype=torch.float64)
        return Split(inputs, torch.randint(3, (n, 2), generator=generator))

    networks = {name: (lambda make=make: make().double()) for name, make in _layers(norm).networks([3, 3]).items()}
    return Problem("noise", (classification("a", 3), classification("b", 3)), networks, split(4 * 5 + 2), split(12), split(12))


NOISE, WITH_BATCH_NORM = _problem(), _problem(nn.BatchNorm2d)


@dataclass(frozen=True)
class _Samples:
    split: Split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int, /) -> tuple[Tensor, Tensor]:
        return self.split.inputs[index], self.split.targets[index]


def _streamed(problem: Problem) -> Problem:
    train, validation = (Stream(_Samples(part)) for part in (problem.train, problem.validation) if isinstance(part, Split))
    return replace(problem, train=train, validation=validation)


def _with_noise(inputs: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)
    return inputs + 0.1 * noise.to(inputs.device)


@dataclass(frozen=True)
class Case:
    """A training of two trials."""

    settings: TrainingSettings = SETTINGS
    model: str = "hps"
    method: str = "wcal_growl"
    k0: float | None = 0.05
    """None for a method without preferences, which trains a single trial."""
    backend: str = "packed"
    problem: Problem = NOISE
    scaling: str = "none"
    reference_point: tuple[float, ...] | None = None
    given: Mapping[str, Tensor] | None = None
    starts: Sequence[Mapping[str, Tensor] | None] | None = None
    resumes_at: int | None = None
    """The epoch after which the training continues from a checkpoint."""

    def specs(self) -> list[TrialSpec]:
        k0 = self.k0
        ks = [None] if k0 is None else [(k0, (1 - k0) * share, (1 - k0) * (1 - share)) for share in (0.4, 0.7)]
        one = TrialSpec("0", self.model, self.method, None, 0, self.settings, self.scaling, self.reference_point)
        return [replace(one, trial_id=str(i), preference=k) for i, k in enumerate(ks)]

    def start(self, device: str, **options: Any) -> Training:
        own = {"backend": self.backend, "given": self.given, "starts": self.starts}
        return start(self.specs(), self.problem, device=device, **(own | options))

    def train(self, device: str) -> tuple[Training, list[TrialResult]]:
        training = self.start(device)
        while not training.done:
            training.step()
            if training.epoch == self.resumes_at:
                training = self.start(device, state=from_bytes(to_bytes(training.state_dict())))
        return training, training.results()


def _network(model: str) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: value.detach().clone() for name, value in NOISE.networks[model]().state_dict().items()}


def _sparse_network() -> dict[str, Tensor]:
    network = _network("hps")
    network["trunk.9.weight"][:, 2] = 0
    return network


def _settings(**changes: Any) -> TrainingSettings:
    return replace(SETTINGS, **changes)


def _growl(**changes: Any) -> TrainingSettings:
    return _settings(growl=replace(SETTINGS.growl, **changes))


def _one_phase(method: str, model: str = "hps", k0: float | None = 0.0, **changes: Any) -> Case:
    return Case(model=model, method=method, k0=k0, backend="auto", resumes_at=1, **changes)


ANALYTIC = {name: PROBLEMS[name].build(PROBLEMS[name].options()) for name in ("analytic/quadratics", "analytic/zdt1", "analytic/owl")}
CASES = {
    "mdmtn": Case(model="mdmtn"),
    "mtan": Case(model="mtan"),
    "mtan dense": Case(model="mtan", k0=0.0),
    **{f"mdmtn {backend}": Case(model="mdmtn", backend=backend) for backend in ("packed+products", "vmap", "loop", "auto")},
    **{f"batch norm {model}": Case(model=model, problem=WITH_BATCH_NORM) for model in ("hps", "mdmtn", "mtan")},
    "resumed in phase 1": Case(resumes_at=1),
    "resumed between the phases": Case(TIED, resumes_at=2),
    "resumed in phase 2 with ties": Case(TIED, resumes_at=3),
    "resumed in phase 2 without ties": Case(NOT_TIED, resumes_at=3),
    "resumed in phase 2, loop": Case(TIED, backend="loop", resumes_at=3),
    "resumed dense": Case(k0=0.0, resumes_at=2),
    "anchors": Case(scaling="anchors", reference_point=(0.0, 0.1, 0.1)),
    **{f"scalarization {name}": Case(_settings(scalarization=name)) for name in ("paper", "smooth_chebyshev", "weighted_sum")},
    "all objectives": Case(_settings(retrain=RetrainSettings(2, 1, "all"))),
    "all objectives, resumed": Case(replace(TIED, retrain=RetrainSettings(2, 1, "all")), resumes_at=3),
    "sgd": Case(_settings(optimizer="sgd")),
    "accuracy": Case(_settings(selection="accuracy")),
    "prox step": Case(_growl(prox="step")),
    "masks phase": Case(_growl(masks="phase")),
    **{f"pattern {pattern}": Case(_growl(pattern=pattern)) for pattern in ("linear", "pld")},
    **{f"step rule {rule}": Case(_growl(step_rule=rule)) for rule in ("row_rms", "row_rms_root", "plain")},
    "groups channel": Case(replace(TIED, growl=replace(TIED.growl, groups="channel")), resumes_at=3),
    "warm start": Case(_settings(warm_start="neighbour"), starts=[_network("hps"), None]),
    "stream": Case(problem=_streamed(NOISE)),
    "augment": Case(problem=replace(NOISE, augment=_with_noise)),
    "stl": _one_phase("stl", "stl", None),
    "mgda": _one_phase("mgda", k0=None),
    "kdmtl": _one_phase("kdmtl", "kdmtl", None, given=_network("stl")),
    "epo": _one_phase("epo"),
    "cosmos": _one_phase("cosmos"),
    "moead": _one_phase("moead", given=_network("hps")),
    "fixed_architecture": _one_phase("fixed_architecture", given=_sparse_network()),
    **{name: Case(model=next(iter(problem.networks)), k0=0.0, backend="auto", problem=problem) for name, problem in ANALYTIC.items()},
}
_IN_SHORT_SET = ("mdmtn", "resumed in phase 1", "resumed in phase 2 with ties", "anchors", "scalarization paper", "epo")
_FAILS = (
    "resumed in phase 1",
    "resumed between the phases",
    "resumed in phase 2 with ties",
    "resumed in phase 2 without ties",
    "resumed in phase 2, loop",
    "resumed dense",
    "anchors",
    "all objectives, resumed",
    "groups channel",
    "fixed_architecture",
)


def _marked(name: str) -> Any:
    marks = [] if name in _IN_SHORT_SET else [pytest.mark.full]
    if name in _FAILS:
        marks.append(pytest.mark.xfail(strict=True, raises=RuntimeError))
    return pytest.param(name, marks=marks)


@pytest.fixture(autouse=True)
def _no_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing a network takes longer than these trainings, and happens on the CPU."""
    monkeypatch.setattr(Sizes, "measure", lambda *_: None)


@pytest.mark.parametrize("name", [_marked(name) for name in CASES])
def test_a_gpu_trains_what_a_cpu_trains(name: str) -> None:
    if name == "moead":
        pytest.importorskip("pymoo", reason="not run: needs pymoo")
    case = CASES[name]
    expected, expected_results = case.train("cpu")
    with pretended_cuda():
        found, results = case.train("cuda:0")
        for parameter, value in expected.pack.parameters.items():  # type: ignore[attr-defined]
            torch.testing.assert_close(found.pack.parameters[parameter].cpu(), value, rtol=1e-9, atol=1e-9)  # type: ignore[attr-defined]
    for ours, theirs in zip(results, expected_results, strict=True):
        assert ours.state == theirs.state == "ok"
        assert ours.measurements.notes == theirs.measurements.notes
        for part, losses in theirs.measurements.losses.items():
            assert ours.measurements.losses[part] == pytest.approx(losses, rel=1e-6)


def test_a_backend_for_cpus_is_refused() -> None:
    with pretended_cuda(), pytest.raises(BackendMissingError, match="loop\\+kernel is for CPUs"):
        Case(backend="loop+kernel").start("cuda:0")
