"""One study of a sweep, with everything it inherits filled in."""

from dataclasses import dataclass

from sweep.grid.preferences import Vector
from trainer.settings import TrainingSettings


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
