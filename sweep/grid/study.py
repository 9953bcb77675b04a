"""One study of a sweep, with everything it inherits filled in."""

from dataclasses import dataclass

from sweep.grid.preferences import Vector
from trainer.problems.facts import SPARSITY
from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class Placing:
    """How the vectors of a study are placed in rounds (`preferences: {front: ...}`), and how far that has come."""

    n: int
    """The number of vectors to place."""
    gain: float | None
    """Placing ends when the best gaps promise less than this fraction of the hypervolume; None for never."""
    objectives: tuple[str, ...]
    """The objectives between which vectors are placed: sparsity first, if the method prunes, then the tasks."""
    rounds: tuple[int, ...]
    """The number of the round (1, 2, ...) in which each vector of the study was placed, shape (n_vectors,)."""
    end: str | None = None
    """Why no further vectors are placed although `n` is not reached; None if that is not so."""

    @property
    def has_sparsity(self) -> bool:
        """Whether the first objective is sparsity."""
        return self.objectives[0] == SPARSITY

    @property
    def n_unplaced(self) -> int:
        """The number of vectors that are still to be placed."""
        return 0 if self.end is not None else max(0, self.n - len(self.rounds))


@dataclass(frozen=True)
class Study:
    """An architecture, a method, preference vectors and seeds, with everything filled in."""

    name: str
    model: str
    method: str
    preferences: tuple[Vector | None, ...]
    """Shape (n_vectors, 1 + n_tasks); k0 comes first and is 0 for problems without a sparsity objective. (None,) for a method without
    preferences."""
    training: TrainingSettings
    """For a study that is `tuned_by` a search: the settings before the best candidate's values are filled in."""
    seeds: tuple[int, ...]
    after: tuple[str, ...] = ()
    """The studies whose trials must be complete before these start."""
    candidate_of: str | None = None
    """The search that this is a candidate of."""
    tuned_by: str | None = None
    """The search whose best candidate this study trains with."""
    searched: tuple[tuple[str, ...], ...] = ()
    """Paths of the settings that the search determines."""
    placing: Placing | None = None
    """For vectors that are placed in rounds, of which `preferences` holds those placed so far; None for a grid."""

    @property
    def n_unplaced(self) -> int:
        """The number of vectors that are still to be placed; 0 for a grid."""
        return 0 if self.placing is None else self.placing.n_unplaced
