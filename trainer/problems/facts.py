"""The facts about a problem that follow from its options, before any tensor exists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SPARSITY = "sparsity"
"""The name of objective 0, for problems that have it."""


@dataclass(frozen=True)
class ProblemFacts:
    """The tasks and objectives of a problem as plain values, so that planning imports no torch."""

    tasks: tuple[str, ...]
    metrics: Mapping[str, str]
    """Task -> name of its metric; `accuracy` for classification."""
    guess_losses: tuple[float, ...]
    """The loss of a constant guess for each task (cross-entropy: ln of the number of classes), in the unit of the loss."""
    loss_units: tuple[str, ...]
    """The unit of each task's loss."""
    n_train: int
    """Number of training samples in an epoch of one trial; 1 if an epoch costs next to nothing."""
    has_sparsity: bool = True
    """Whether sparsity is an objective; False if nothing can be pruned, so that k0 is 0."""
    models: tuple[str, ...] = ()
    """Names of the networks of a user's own problem, the default first; the catalog's entries name their models themselves."""
    true_front: Callable[[], Sequence[Sequence[float]]] | None = field(default=None, repr=False)
    """Returns points of the exact Pareto front, shape (n_points, n_objectives), for figures; None if it is not known."""

    front_corners: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Ideal and nadir of the exact front, each of shape (n_objectives,), where the points of `true_front` only sample it."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives that a preference vector of the grid file weights, in its order."""
        return (SPARSITY, *self.tasks) if self.has_sparsity else self.tasks
