"""What can be asked for by name: problems, models, methods. Known without importing torch.

Planning a sweep of thousands of trials, completing a grid file in an editor and `sweep --help` all need the names and
the tasks, none of them needs a tensor; so an entry holds strings that are imported when a worker needs them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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

Takes = Literal["teachers", "architecture", "start"]


@dataclass(frozen=True)
class MethodEntry:
    """Where a method is, and what a grid file must know of it."""

    path: str
    about: str
    """In a few words, for people."""
    has_preferences: bool = True
    """Whether it trains for a preference vector; otherwise there is one trial a seed."""
    prunes: bool = False
    """Whether k0 may be above 0."""
    model: str | None = None
    """The only model that it trains; None for any."""
    takes: Takes | None = None
    """What it takes over from a study that it comes after: single-task networks to learn from, the masks of a sparse network,
    or weights to begin with."""
    giver: str | None = None
    """The method of that study."""
    shares_network: bool = False
    """Whether one network serves all preference vectors of a seed, which are one pack then."""
    needs: tuple[str, str] | None = None
    """A package that is no dependency of ours, and the extra that brings it."""
    depends_on_grid: bool = False
    """Whether a trial's result depends on the other preference vectors of its study."""


METHODS = {
    "wcal_growl": MethodEntry(
        "trainer.training.two_phase:TwoPhase", "weighted Chebyshev by an augmented Lagrangian, with GrOWL", prunes=True
    ),
    "fixed_architecture": MethodEntry(
        "trainer.methods.fixed_architecture:FixedArchitecture",
        "a sparse network of an earlier study, trained afresh",
        takes="architecture",
        giver="wcal_growl",
    ),
    "stl": MethodEntry("trainer.methods.stl:SingleTask", "one network a task", has_preferences=False, model="stl"),
    "mgda": MethodEntry("trainer.methods.mgda:MGDA", "least common gradient (multiple-gradient descent)", has_preferences=False),
    "kdmtl": MethodEntry(
        "trainer.methods.kdmtl:Distillation",
        "knowledge distillation from single-task networks",
        has_preferences=False,
        model="kdmtl",
        takes="teachers",
        giver="stl",
    ),
    "epo": MethodEntry("trainer.methods.epo:EPO", "exact Pareto optimal search"),
    "cosmos": MethodEntry("trainer.methods.cosmos:COSMOS", "one network conditioned on the preference", shares_network=True),
    "moead": MethodEntry(
        "trainer.methods.moead:Evolved",
        "evolution of the weights by decomposition",
        takes="start",
        giver="wcal_growl",
        shares_network=True,
        depends_on_grid=True,
        needs=("pymoo", "moead"),
    ),
}
MODELS = {
    "mdmtn": "trainer.models.mdmtn:MDMTN",
    "hps": "trainer.models.hps:HPS",
    "mtan": "trainer.models.mtan:MTAN",
    "stl": "trainer.models.stl:STL",
    "kdmtl": "trainer.models.kdmtl:KDMTL",
    "point": "trainer.problems.analytic.networks:Point",
}


class ProblemOptions(Protocol):
    """Options of a problem: a frozen dataclass, each field with a default and a rule."""

    def facts(self) -> ProblemFacts:
        """What these options settle; imports no torch."""


class Entry(Protocol):
    """A problem that a grid file can name: the catalog's, or a user's own."""

    @property
    def name(self) -> str:
        """As the grid file has it."""

    @property
    def options(self) -> type[Any]:
        """A dataclass."""

    def models_of(self, options: Any) -> tuple[str, ...]:
        """Names of its networks, the default first."""

    def facts(self, options: Any) -> ProblemFacts:
        """Tasks and objectives."""

    def build(self, options: Any) -> Any:
        """The `trainer.problems.problem.Problem` itself."""

    def fingerprint(self, options: Any) -> str:
        """SHA-256 over all that the data and networks depend on."""


@dataclass(frozen=True)
class ProblemEntry:
    """Where a problem is, and what can be asked of it by name."""

    name: str
    models: tuple[str, ...]
    options: type[Any]
    """The problem's options, a `ProblemOptions`."""
    build_path: str = field(repr=False)
    fingerprint_path: str = field(repr=False)

    def models_of(self, options: Any) -> tuple[str, ...]:
        """`models`, whatever the options."""
        return self.models

    def facts(self, options: Any) -> ProblemFacts:
        """What the options settle."""
        facts: ProblemFacts = options.facts()
        return facts

    def build(self, options: Any) -> Any:
        """The `trainer.problems.problem.Problem` itself (imports torch, loads or makes the data)."""
        return resolve(self.build_path)(options)

    def fingerprint(self, options: Any) -> str:
        """SHA-256 over the data's source files and the options; reads no more than it must and imports no torch."""
        digest: str = resolve(self.fingerprint_path)(options)
        return digest


def resolve(path: str) -> Callable[..., Any]:
    """Import `package.module:name`."""
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


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
    """A problem of the catalog, or a user's own, whose module is imported.

    Args:
        name: a name of the catalog, or `my_package.my_module:factory`.
        folders: where an own problem's module is looked for, before Python's own path.

    Raises:
        KeyError: no such name in the catalog.
        ProblemError: an own problem that cannot be imported.
    """
    return own_problem(name, folders) if is_own(name) else PROBLEMS[name]
