"""What is known of a problem once its options are chosen, before any tensor exists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SPARSITY = "sparsity"
"""Name of objective 0, of problems that have it."""


@dataclass(frozen=True)
class ProblemFacts:
    """Tasks and objectives of a problem. Plain values, so that planning imports no torch."""

    tasks: tuple[str, ...]
    metrics: Mapping[str, str]
    """Name of each task's metric; `accuracy` for classification."""
    guess_losses: tuple[float, ...]
    """Loss of a constant guess for each task (cross-entropy: ln of the number of classes), in the loss's unit."""
    loss_units: tuple[str, ...]
    """Unit of each task's loss."""
    n_train: int
    """Training samples that an epoch of one trial reads; 1 where an epoch costs next to nothing."""
    has_sparsity: bool = True
    """False where nothing can be pruned: then the tasks are all objectives, and k0 is 0."""
    models: tuple[str, ...] = ()
    """Names of the networks of a user's own problem, the default first; the catalog's entries name their models themselves."""
    true_front: Callable[[], Sequence[Sequence[float]]] | None = field(default=None, repr=False)
    """Points of the exact Pareto front, shape (n_points, n_objectives), for pictures; None where it is not known."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives that a preference vector of the grid file weighs, in its order."""
        return (SPARSITY, *self.tasks) if self.has_sparsity else self.tasks
