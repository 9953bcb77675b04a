"""Every method, model and setting on a pretended CUDA device: nothing mixes devices, and recorded steps train as those of a CPU do."""

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from pretended_cuda import pretended_cuda
from sets import short_cases
from torch import Tensor, nn

from trainer.api import (
    Problem,
    Split,
    Stream,
    TrainingSettings,
    TrialResult,
    TrialSpec,
    classification,
    fits,
    from_bytes,
    resolve_device,
    start,
    to_bytes,
)
from trainer.catalog import PROBLEMS
from trainer.compression.sizes import Sizes
from trainer.models.family import Layers
from trainer.models.mtan import Attention
from trainer.pack.device import BackendMissingError, DeviceMissingError, Place
from trainer.settings import (
    EvolutionSettings,
    GrowlSettings,
    LsuvSettings,
    OnePhaseSettings,
    RetrainSettings,
    SparsifySettings,
    TyingSettings,
)
from trainer.training.base import PackTraining
from trainer.training.lsuv import initialise_lsuv
from trainer.training.two_phase import TwoPhase

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
    return Problem("noise", (classification("a", 3), classification("b", 3)), networks, split(4 * 4 + 2), split(12), split(12))


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

    def start(self, device: str, **options: Any) -> PackTraining:
        own = {"backend": self.backend, "given": self.given, "starts": self.starts}
        training = start(self.specs(), self.problem, device=device, **(own | options))
        assert isinstance(training, PackTraining)
        return training

    def train(self, device: str) -> tuple[PackTraining, list[TrialResult]]:
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


ANALYTIC = {name: PROBLEMS[name].build(PROBLEMS[name].options()) for name in ("analytic/quadratics", "analytic/zdt1")}
CASES = {
    "mdmtn": Case(model="mdmtn"),
    "mtan": Case(model="mtan"),
    "mtan dense": Case(model="mtan", k0=0.0),
    **{f"mdmtn {backend}": Case(model="mdmtn", backend=backend) for backend in ("packed+products", "vmap", "loop", "auto")},
    # With Adam, the rounding of gradients that are zero becomes steps, as those of a bias in front of a batch norm.
    **{f"batch norm {model}": Case(_settings(optimizer="sgd"), model, problem=WITH_BATCH_NORM) for model in ("hps", "mdmtn", "mtan")},
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
    "removal balance": Case(_growl(removal="balance"), k0=0.6, scaling="anchors", resumes_at=1),
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
_IN_SHORT_SET = ("resumed in phase 2 with ties", "epo")
_OTHERS = [name for name in CASES if name not in _IN_SHORT_SET]
_MARKS = {name: pytest.mark.slow if i % 3 else pytest.mark.full for i, name in enumerate(_OTHERS)}


@pytest.fixture(autouse=True)
def _no_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing a network takes longer than these trainings, and happens on the CPU."""
    monkeypatch.setattr(Sizes, "measure", lambda *_: None)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
@pytest.mark.parametrize("name", [*_IN_SHORT_SET, *(pytest.param(name, marks=mark) for name, mark in _MARKS.items())])
def test_a_gpu_trains_what_a_cpu_trains(name: str) -> None:
    if name == "moead":
        pytest.importorskip("pymoo", reason="not run: needs pymoo")
    case = CASES[name]
    expected, expected_results = case.train("cpu")
    with pretended_cuda() as gpu:
        training, results = case.train("cuda:0")
        for found, tensors in ((training.pack.parameters, expected.pack.parameters), (training.pack.buffers, expected.pack.buffers)):
            for tensor, value in tensors.items():
                torch.testing.assert_close(found[tensor].cpu(), value, rtol=1e-9, atol=1e-9)
    if isinstance(training, TwoPhase):
        assert training._steps.failures == {}
        assert gpu.n_replays > gpu.n_captures > 0
    for ours, theirs in zip(results, expected_results, strict=True):
        assert ours.state == theirs.state == "ok"
        assert ours.measurements.notes == theirs.measurements.notes
        for part, losses in theirs.measurements.losses.items():
            assert ours.measurements.losses[part] == pytest.approx(losses, rel=1e-6)


def test_a_phase_is_recorded_once_for_each_size_of_its_minibatches() -> None:
    """Multipliers, penalty, learning rate and masks change within a phase; validation is recorded once for both phases."""
    settings = _settings(sparsify=SparsifySettings(2, 2), retrain=RetrainSettings(2, 2))
    case = Case(replace(settings, tying=TIED.tying))
    expected, _ = case.train("cpu")
    with pretended_cuda() as gpu:
        training = case.start("cuda:0")
        n_captures = []
        while not training.done:
            training.step()
            n_captures.append(gpu.n_captures)
        # Three steps precede each recording. An epoch has four minibatches of four samples and one of two, and one batch of validation.
        assert n_captures == [1, 1, 1, 3, 4, 4, 4, 5]
        for parameter, value in expected.pack.parameters.items():
            torch.testing.assert_close(training.pack.parameters[parameter].cpu(), value, rtol=1e-9, atol=1e-9)
        multipliers = [epoch.multipliers for epoch in training.results()[0].epochs]
    assert len({tuple(of_epoch) for of_epoch in multipliers if of_epoch is not None}) > 2


def test_a_probe_takes_up_the_memory_that_a_training_keeps() -> None:
    """Recordings of whole and of last minibatches and of the evaluation; each keeps the memory of its operations."""
    with pretended_cuda() as gpu:
        training = Case().start("cuda:0")
        assert isinstance(training, TwoPhase)
        training.take_up_memory()
        recordings = training._steps._recordings
        assert {kind: len(of_kind) for kind, of_kind in recordings.items()} == {"step": 2, "evaluation": 1}
        assert all(recording.replay is not None for of_kind in recordings.values() for recording in of_kind.values())
        assert gpu.n_captures == 3


@pytest.mark.full
@pytest.mark.parametrize("backend", ["packed", "loop"])
def test_a_model_that_diverges_takes_part_in_no_further_pass(backend: str) -> None:
    def train(device: str) -> tuple[list[str], Tensor]:
        training = Case(backend=backend).start(device)
        training.step()
        with torch.no_grad():
            training.pack.parameters["trunk.0.weight"][0] = torch.nan
        while not training.done:
            training.step()
        return [result.state for result in training.results()], training.pack.parameters["trunk.4.weight"].detach().cpu()

    states, expected = train("cpu")
    with pretended_cuda():
        found_states, found = train("cuda:0")
    assert found_states == states == ["diverged", "ok"]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def test_a_step_fills_no_gradients_with_zeros() -> None:
    """The first backward operation writes them instead."""
    with pretended_cuda() as gpu:
        training = Case().start("cuda:0")
        training.step()
        assert isinstance(training, TwoPhase)
        (graph,) = training._steps._recorder._graphs  # type: ignore[union-attr]
        names = [operation[0].overloadpacket.__name__ for operation in graph._operations]
    assert gpu.n_captures == 1
    assert names.count("_fused_adam_") == 1
    sizes = {tuple(value.shape) for value in training.pack.parameters.values()}
    filled = [operation for operation in graph._operations if operation[0].overloadpacket.__name__ == "zero_"]
    assert not [operation for operation in filled if tuple(operation[1][0].shape) in sizes]


@pytest.mark.parametrize("name", short_cases(["epo", "resumed in phase 2 with ties"]))
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_training_is_freed_at_once(name: str, device: str) -> None:
    """A reference cycle would keep its memory on the device until Python collects garbage."""
    with pretended_cuda():
        training, _ = CASES[name].train(device)
        gc.collect()
        gc.disable()
        try:
            freed = [weakref.ref(training), *map(weakref.ref, training.pack.parameters.values())]
            del training
            assert [reference() for reference in freed] == [None] * len(freed)
        finally:
            gc.enable()


def test_the_initial_network_is_computed_once_in_a_process_and_not_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[bool] = [False]
    computed: list[bool] = []

    @contextmanager
    def lock(device: torch.device) -> Iterator[None]:
        locked[0] = True
        yield
        locked[0] = False

    def initialise(*arguments: Any) -> None:
        computed.append(locked[0])
        initialise_lsuv(*arguments)

    def largest_pack(specs: Sequence[TrialSpec], problem: Problem, place: Place, *_: Any) -> int:
        return len([TwoPhase(specs, problem, place) for _ in range(2)])

    monkeypatch.setattr("trainer.api.exclusive_use", lock)
    monkeypatch.setattr("trainer.api.largest_pack", largest_pack)
    monkeypatch.setattr("trainer.training.base.initialise_lsuv", initialise)
    case = Case(replace(SETTINGS, data_share=0.5), scaling="anchors", problem=replace(NOISE, name="another"))
    specs = [replace(spec, seed=3) for spec in case.specs()]
    with pretended_cuda():
        assert fits(specs, case.problem, device="cuda:0") == 2
        start(specs, case.problem, device="cuda:0")
    assert computed == [False, False], "one for the seed, and one for the anchors"
    first, second = (TwoPhase.initial_network(specs[0], case.problem, 3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) and first[name] is not second[name] for name in first)


def test_a_backend_for_cpus_is_refused() -> None:
    with pretended_cuda(), pytest.raises(BackendMissingError, match="loop\\+kernel is for CPUs"):
        Case(backend="loop+kernel").start("cuda:0")


def test_auto_takes_no_device_without_64_bit_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceMissingError, match="device mps has no 64-bit floats"):
        resolve_device("mps")
    with pretended_cuda():
        assert resolve_device("auto") == torch.device("cuda")
