"""Names that a grid file may use: problems, models and methods. This module does not import torch.

Planning a sweep of thousands of trials, completing a grid file in an editor and `sweep --help` need the names and the tasks,
but no tensors. An entry therefore holds import paths as strings, which are resolved when a worker needs them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any, Literal, Protocol

from trainer.problems.analytic.options import (
    PREFIX,
    Dtlz1Options,
    Dtlz2Options,
    OwlOptions,
    QuadraticsOptions,
    Vlmop2Options,
    Zdt1Options,
    Zdt2Options,
)
from trainer.problems.custom.factory import is_own, own_problem
from trainer.problems.facts import ProblemFacts
from trainer.problems.images.cifar10mnist import Cifar10MnistOptions
from trainer.problems.images.multidigits import MultiDigitsOptions
from trainer.problems.images.overlap import OverlapOptions
from trainer.settings import TrainingSettings

Inherited = Literal["teachers", "architecture", "start"]

_ALL = frozenset(item.name for item in fields(TrainingSettings))
_TWO_PHASES = _ALL - {"one_phase", "distillation", "cosmos", "evolution"}
_ONE_PHASE = frozenset(
    ("batch_size", "learning_rate", "learning_rate_decay", "data_share", "optimizer", "selection", "growl", "lsuv", "one_phase")
)


@dataclass(frozen=True)
class MethodEntry:
    """Everything that the product knows about a method besides its code; one entry in `METHODS` registers a new method.

    `sweep` reads the entry to check a grid file, to plan and to export; `analysis` finds the label in the manifest.
    """

    path: str
    """`package.module:Class` of its `trainer.api.Training`, imported when a worker trains with it."""
    label: str
    """The name of the method in tables and figures."""
    reads: frozenset[str]
    """The fields of `TrainingSettings` that its results depend on; they are part of a trial's identity."""
    scalarization_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that replace `label` for some values of `training.scalarization`."""
    has_preferences: bool = True
    """Whether it trains for a preference vector; otherwise there is one trial for each seed."""
    prunes: bool = False
    """Whether k0 may be above 0."""
    packable: bool = False
    """Whether the size and the backend of its packs on a GPU are determined by measurement (trainer/training/autotune.py). The measurement
    trains the pack with `trainer.training.two_phase.TwoPhase`."""
    shares_network: bool = False
    """Whether one network serves all preference vectors of a seed, which then form one pack."""
    depends_on_grid: bool = False
    """Whether a trial's result depends on the other preference vectors of its study."""
    compression_obstacle: str | None = None
    """Why its networks cannot be compressed; None if they can."""
    model: str | None = None
    """The only model that it trains; None for any model."""
    owns_model: bool = False
    """Whether no other method trains `model`."""
    inherits: Inherited | None = None
    """What it inherits from an earlier study: single-task networks to learn from, the masks of a sparse network, or weights to start
    from."""
    inherits_from: str | None = None
    """The method of that study."""
    needs: tuple[str, str] | None = None
    """A package that is not a dependency of this product, and the extra that installs it."""

    @property
    def takes_steps(self) -> bool:
        """Whether the networks are trained by optimizer steps on minibatches."""
        return "optimizer" in self.reads

    def label_of(self, settings: TrainingSettings) -> str:
        """Return the name of the method in tables and figures when it trains with these settings."""
        return self.scalarization_labels.get(settings.scalarization, self.label)


METHODS = {
    "wcal_growl": MethodEntry(  # weighted Chebyshev by an augmented Lagrangian, with GrOWL
        "trainer.training.two_phase:TwoPhase",
        label="WC-AL",
        reads=_TWO_PHASES,
        scalarization_labels={
            "weighted_sum": "Weighted sum",
            "smooth_chebyshev": "Smooth Chebyshev",
            "paper": "WC-AL (paper's Lagrangian)",
        },
        prunes=True,
        packable=True,
    ),
    "fixed_architecture": MethodEntry(  # a sparse network of an earlier study, retrained from scratch
        "trainer.methods.fixed_architecture:FixedArchitecture",
        label="Fixed architecture",
        reads=_TWO_PHASES - {"tying", "warm_start"},
        inherits="architecture",
        inherits_from="wcal_growl",
    ),
    "stl": MethodEntry(  # one network for each task
        "trainer.methods.stl:SingleTask", label="STL", reads=_ONE_PHASE, has_preferences=False, model="stl"
    ),
    "mgda": MethodEntry(  # multiple-gradient descent
        "trainer.methods.mgda:MGDA", label="MGDA", reads=_ONE_PHASE, has_preferences=False
    ),
    "kdmtl": MethodEntry(  # knowledge distillation from single-task networks
        "trainer.methods.kdmtl:Distillation",
        label="KDMTL",
        reads=_ONE_PHASE | {"distillation"},
        has_preferences=False,
        model="kdmtl",
        owns_model=True,
        inherits="teachers",
        inherits_from="stl",
    ),
    "epo": MethodEntry("trainer.methods.epo:EPO", label="EPO", reads=_ONE_PHASE),  # exact Pareto optimal search
    "cosmos": MethodEntry(  # one network conditioned on the preference
        "trainer.methods.cosmos:COSMOS",
        label="COSMOS",
        reads=_ONE_PHASE | {"cosmos"},
        shares_network=True,
        compression_obstacle="its network reads the preference beside the inputs",
    ),
    "moead": MethodEntry(  # evolution of the weights by decomposition
        "trainer.methods.moead:Evolved",
        label="MOEA/D",
        reads=frozenset(("batch_size", "data_share", "growl", "lsuv", "evolution")),
        shares_network=True,
        depends_on_grid=True,
        inherits="start",
        inherits_from="wcal_growl",
        needs=("pymoo", "moead"),
    ),
}
_ADDED = {"data_share": 1.0, "warm_start": "none"}
_ADDED_TO_GROWL = {"groups": "unit", "removal": "prox"}
"""Settings that were added after results had been published, each with the value that preserves the earlier behaviour. A setting with that
value is not part of a trial's identity, so that earlier trials keep their ids."""


def read_by(method: str, settings: TrainingSettings) -> dict[str, Any]:
    """Return the settings that a method's results depend on, as plain values.

    Args:
        method: a name of `METHODS`.
        settings: all settings of a study.
    """
    values = {name: value for name, value in asdict(settings).items() if name in METHODS[method].reads}
    if "growl" in values:
        values["growl"] = _without_defaults(values["growl"], _ADDED_TO_GROWL)
    return _without_defaults(values, _ADDED)


def _without_defaults(values: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if added.get(name, _ALL) != value}


MODELS = {
    "mdmtn": "trainer.models.mdmtn:MDMTN",
    "hps": "trainer.models.hps:HPS",
    "mtan": "trainer.models.mtan:MTAN",
    "stl": "trainer.models.stl:STL",
    "kdmtl": "trainer.models.kdmtl:KDMTL",
    "point": "trainer.problems.analytic.networks:Point",
}


class ProblemOptions(Protocol):
    """The options of a problem: a frozen dataclass in which every field has a default and a rule."""

    def facts(self) -> ProblemFacts:
        """Return what these options determine, without importing torch."""


class Entry(Protocol):
    """A problem that a grid file can name, either from the catalog or a user's own."""

    @property
    def name(self) -> str:
        """The problem's name in the grid file."""

    @property
    def options(self) -> type[Any]:
        """The dataclass of the problem's options."""

    def models_of(self, options: Any) -> tuple[str, ...]:
        """Return the names of the problem's networks, the default first."""

    def facts(self, options: Any) -> ProblemFacts:
        """Return the problem's tasks and objectives."""

    def build(self, options: Any) -> Any:
        """Build the `trainer.problems.problem.Problem`."""

    def fingerprint(self, options: Any) -> str:
        """Return the SHA-256 of everything that the data and the networks depend on."""


@dataclass(frozen=True)
class ProblemEntry:
    """A problem of the catalog, with the import paths of the functions that build it."""

    name: str
    models: tuple[str, ...]
    options: type[Any]
    """The problem's options, a `ProblemOptions`."""
    build_path: str = field(repr=False)
    fingerprint_path: str = field(repr=False)

    def models_of(self, options: Any) -> tuple[str, ...]:
        """Return `models`, which do not depend on the options."""
        return self.models

    def facts(self, options: Any) -> ProblemFacts:
        """Return what the options determine."""
        facts: ProblemFacts = options.facts()
        return facts

    def build(self, options: Any) -> Any:
        """Build the `trainer.problems.problem.Problem` (imports torch, loads or generates the data)."""
        return resolve(self.build_path)(options)

    def fingerprint(self, options: Any) -> str:
        """Return the SHA-256 of the data's source files and the options; reads no more than necessary and imports no torch."""
        digest: str = resolve(self.fingerprint_path)(options)
        return digest


def resolve(path: str) -> Callable[..., Any]:
    """Import the object at `package.module:name`."""
    module, _, name = path.partition(":")
    target: Callable[..., Any] = getattr(import_module(module), name)
    return target


_ANALYTIC = (Zdt1Options, Zdt2Options, Dtlz1Options, Dtlz2Options, Vlmop2Options, QuadraticsOptions, OwlOptions)

_IMAGE_MODELS = ("mdmtn", "hps", "mtan", "stl", "kdmtl")

PROBLEMS: dict[str, ProblemEntry] = {
    "multidigits": ProblemEntry(
        name="multidigits",
        models=_IMAGE_MODELS,
        options=MultiDigitsOptions,
        build_path="trainer.problems.images.multidigits:build",
        fingerprint_path="trainer.problems.images.multidigits:fingerprint",
    ),
    **{
        name: ProblemEntry(
            name=name,
            models=_IMAGE_MODELS,
            options=OverlapOptions,
            build_path=f"trainer.problems.images.overlap:build_{name}",
            fingerprint_path=f"trainer.problems.images.overlap:fingerprint_{name}",
        )
        for name in ("multimnist", "multifashion", "multifashion_mnist")
    },
    "cifar10mnist": ProblemEntry(
        name="cifar10mnist",
        models=_IMAGE_MODELS,
        options=Cifar10MnistOptions,
        build_path="trainer.problems.images.cifar10mnist:build",
        fingerprint_path="trainer.problems.images.cifar10mnist:fingerprint",
    ),
    **{
        PREFIX + options.function: ProblemEntry(
            name=PREFIX + options.function,
            models=("point",),
            options=options,
            build_path=f"trainer.problems.analytic.problem:{'build_owl' if options is OwlOptions else 'build'}",
            fingerprint_path="trainer.problems.analytic.problem:fingerprint",
        )
        for options in _ANALYTIC
    },
}


def find_problem(name: str, folders: Sequence[str] = ()) -> Entry:
    """Return a problem from the catalog, or a user's own problem, whose module is then imported.

    Args:
        name: a name of the catalog, or `my_package.my_module:factory`.
        folders: folders that are searched for the module of a user's own problem before Python's import path.

    Raises:
        KeyError: the catalog has no problem of this name.
        ProblemError: a user's own problem cannot be imported.
    """
    return own_problem(name, folders) if is_own(name) else PROBLEMS[name]
