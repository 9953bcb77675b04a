"""The options of the analytic problems, and their facts. Imports no torch."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from trainer.problems.facts import ProblemFacts
from trainer.settings import Checked, Range

PREFIX = "analytic/"


@dataclass(frozen=True)
class AnalyticOptions(Checked):
    """The size of an analytic problem, and the number of gradient steps in its epochs."""

    function: ClassVar[str]
    """The name of the problem after `analytic/`."""

    n_variables: Annotated[int, Range(ge=2, le=10_000)] = 10
    """Number of variables that are optimised."""
    n_steps: Annotated[int, Range(ge=1, le=1_000_000)] = 50
    """Gradient steps in an epoch, with `training.batch_size: 1`; an epoch has n_steps / batch_size steps."""

    @property
    def n_objectives(self) -> int:
        """The number of objectives: two, unless the problem can have more."""
        return 2

    @property
    def worst(self) -> float:
        """The largest value of an objective on the front plus about a tenth, which stands for the loss of a guess."""
        return 1.1

    @property
    def front_corners(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Ideal and nadir of the front, where the points of `exact.front` are samples; None if these include its ends."""
        return None

    def facts(self) -> ProblemFacts:
        """Return facts with the objectives f1, f2, ..., without pruning, accuracies or units."""
        from trainer.problems.analytic.exact import front

        tasks = tuple(f"f{i + 1}" for i in range(self.n_objectives))
        return ProblemFacts(
            tasks=tasks,
            metrics=dict.fromkeys(tasks, "value"),
            guess_losses=(self.worst,) * len(tasks),
            loss_units=("",) * len(tasks),
            n_train=1,
            has_sparsity=False,
            true_front=lambda: front(self.function, self.n_objectives),
            front_corners=self.front_corners,
        )


@dataclass(frozen=True)
class Zdt1Options(AnalyticOptions):
    """A convex front f2 = 1 - sqrt(f1)."""

    function: ClassVar[str] = "zdt1"


@dataclass(frozen=True)
class Zdt2Options(AnalyticOptions):
    """A non-convex front f2 = 1 - f1^2."""

    function: ClassVar[str] = "zdt2"


@dataclass(frozen=True)
class Vlmop2Options(AnalyticOptions):
    """A non-convex front between two Gaussian wells."""

    function: ClassVar[str] = "vlmop2"
    n_variables: Annotated[int, Range(ge=2, le=10_000)] = 2
    """Number of variables that are optimised."""


@dataclass(frozen=True)
class QuadraticsOptions(AnalyticOptions):
    """Squared distances to two points whose distance is 1."""

    function: ClassVar[str] = "quadratics"


@dataclass(frozen=True)
class DtlzOptions(AnalyticOptions):
    """Options of problems with any number of objectives."""

    objectives: Annotated[int, Range(ge=2, le=20)] = 3
    """Number of objectives f1, f2, ..."""

    @property
    def n_objectives(self) -> int:
        """The chosen number of objectives."""
        return self.objectives

    @property
    def nadir(self) -> float:
        """The largest value of an objective on the front."""
        return 1.0

    @property
    def front_corners(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Ideal and nadir of the front: each objective is 0 where another one is largest."""
        return (0.0,) * self.objectives, (self.nadir,) * self.objectives


@dataclass(frozen=True)
class Dtlz1Options(DtlzOptions):
    """A flat front, sum f = 0.5."""

    function: ClassVar[str] = "dtlz1"

    @property
    def worst(self) -> float:
        """The largest value on the front plus a tenth."""
        return 0.55

    @property
    def nadir(self) -> float:
        """The largest value of an objective on the front."""
        return 0.5


@dataclass(frozen=True)
class Dtlz2Options(DtlzOptions):
    """A spherical, non-convex front, |f| = 1."""

    function: ClassVar[str] = "dtlz2"


@dataclass(frozen=True)
class OwlOptions(Checked):
    """0.5 |X - B|^2 versus the GrOWL norm of the matrix X: one convex task and sparsity."""

    function: ClassVar[str] = "owl"
    n_rows: Annotated[int, Range(ge=2, le=10_000)] = 20
    """Number of rows of the matrix that is optimised."""
    row_length: Annotated[int, Range(ge=1, le=10_000)] = 4
    """Length of a row."""
    n_steps: Annotated[int, Range(ge=1, le=1_000_000)] = 50
    """Gradient steps in an epoch, with `training.batch_size: 1`."""

    def facts(self) -> ProblemFacts:
        """Return facts with sparsity and one task, the distance to B."""
        from trainer.problems.analytic.owl import distance_at_zero, owl_front

        return ProblemFacts(
            tasks=("distance",),
            metrics={"distance": "value"},
            guess_losses=(distance_at_zero(self.n_rows, self.row_length),),
            loss_units=("",),
            n_train=1,
            true_front=lambda: owl_front(self.n_rows, self.row_length),
        )
