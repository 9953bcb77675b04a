"""One trial: what is asked for, and what comes back."""

from dataclasses import dataclass
from typing import Any

from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class TrialSpec:
    """One preference vector, one seed, one study's settings."""

    trial_id: str
    model: str
    method: str
    preference: tuple[float, ...] | None
    """k = (sparsity, tasks ...), >= 0, sums to 1; None for a method that has none."""
    seed: int
    settings: TrainingSettings
    scaling: str = "none"
    """`none`: raw objectives; `anchors`: each divided by its anchor (loss of a constant guess; L0 of the initial network)."""
    reference_point: tuple[float, ...] | None = None
    """a, in the unit of the scaled objectives; None for the origin."""

    @property
    def is_dense(self) -> bool:
        """True when sparsity has no weight: one phase, nothing pruned."""
        return self.preference is None or self.preference[0] == 0


@dataclass(frozen=True)
class TrialResult:
    """What one trial leaves: its row, its curves, its weights."""

    trial_id: str
    state: str
    """`ok`, or `diverged` when a loss became NaN or infinite."""
    error: str | None
    columns: dict[str, Any]
    """The measured columns of its row, named as the result store names them; NaN where the trial diverged."""
    epochs: list[dict[str, Any]]
    """One mapping an epoch."""
    weights: bytes | None
    """Safetensors file of the kept model, None when it diverged."""
