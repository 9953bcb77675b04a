"""One trial: its specification, and the measurements that result from its training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trainer.compression.sizes import NetworkSizes
from trainer.objectives.sparsity_metrics import SparsityMetrics
from trainer.settings import TrainingSettings
from trainer.training.usage import Usage


@dataclass(frozen=True)
class TrialSpec:
    """One preference vector and one seed, with the settings of one study."""

    trial_id: str
    model: str
    method: str
    preference: tuple[float, ...] | None
    """k = (sparsity, tasks ...), >= 0, sums to 1; None for a method without preferences."""
    seed: int
    settings: TrainingSettings
    scaling: str = "none"
    """`none`: raw objectives; `anchors`: each divided by its anchor (loss of a constant guess; L0 of the initial network)."""
    reference_point: tuple[float, ...] | None = None
    """a, in units of the scaled objectives; None for the origin."""

    @property
    def is_dense(self) -> bool:
        """Whether sparsity has no weight: the trial has one phase, and nothing is pruned."""
        return self.preference is None or self.preference[0] == 0


@dataclass(frozen=True)
class EpochMeasurements:
    """The measurements of one trial after one epoch; losses and metrics have one value for each task, in the order of the tasks."""

    epoch: int
    """1, 2, ... over all phases."""
    phase: str
    outer_iteration: int
    """1, 2, ... within the phase."""
    sparsity: float
    """The sparsity objective L0, not scaled."""
    sparsity_rate: float
    train_losses: list[float]
    """Means over the epoch's minibatches."""
    validation_losses: list[float]
    validation_metrics: list[float]
    scalarized: float
    """The value that the training minimises, computed on validation data."""
    learning_rate: float | None = None
    """None for methods without an optimizer."""
    penalty: float | None = None
    """None for methods without multipliers."""
    multipliers: list[float] | None = None
    """Shape (n_active,); None for methods without multipliers."""

    def to_json(self) -> dict[str, Any]:
        """Return the measurements in the form in which a checkpoint stores them; the keys are part of the checkpoint format."""
        return {_CHECKPOINT_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "EpochMeasurements":
        """Read what `to_json` returned."""
        return cls(**{_FIELDS.get(key, key): value for key, value in stored.items()})


_CHECKPOINT_KEYS = {
    "sparsity": "objective.sparsity",
    "train_losses": "loss.train",
    "validation_losses": "loss.validation",
    "validation_metrics": "metric.validation",
}
_FIELDS = {key: name for name, key in _CHECKPOINT_KEYS.items()}


@dataclass(frozen=True)
class Convergence:
    """How well the kept model satisfies the optimality conditions of the weighted Chebyshev problem, on its training losses."""

    multipliers: tuple[float, ...]
    """Shape (n_objectives,); 0 for the sparsity objective where the last phase does not include it."""
    penalty: float
    residual: float
    """||max(g - t, -multipliers / penalty)||_inf, in units of g."""
    spread: float
    """The largest minus the smallest active g."""
    largest: float | None = None
    """The largest g among the same objectives."""
    residual_stated: float | None = None
    """max g - sum_i multipliers_i g_i over all objectives, under the full k (trainer/objectives/certificate.py)."""
    spread_stated: float | None = None
    """The largest minus the smallest g over all objectives with k_i > 0, under the full k."""
    largest_stated: float | None = None
    """The largest g over all objectives, under the full k."""
    improvement: float | None = None
    """By how much a search from the kept model lowered the largest g, as a share of the lowered value; None where losses depend on data."""


@dataclass(frozen=True)
class TrialMeasurements:
    """The measurements of a trial after its training. None stands for a value that is unknown or does not apply."""

    usage: Usage
    losses: Mapping[str, Mapping[str, float]]
    """Part of the data (train, validation, test) -> task -> mean loss; NaN where the trial diverged."""
    sparsity: float
    """The sparsity objective L0 of the kept model, not scaled; NaN where the trial diverged."""
    n_epochs: int
    notes: tuple[str, ...]
    """Sentences that explain a strange or missing value."""
    metrics: Mapping[str, Mapping[str, float]] | None = None
    """Part of the data -> task -> mean metric."""
    rows: SparsityMetrics | None = None
    layer_sparsity: Mapping[str, float] | None = None
    """Weight name -> share of zero rows."""
    layers_at_limit: int | None = None
    """Number of regularised layers that lost as many rows as `growl.layer_sparsity_max` allows."""
    sizes: NetworkSizes | None = None
    n_params: int | None = None
    anchors: tuple[float, ...] | None = None
    """Shape (n_objectives,); the number by which each objective was divided."""
    reference_point: tuple[float, ...] | None = None
    """Shape (n_objectives,), in units of the scaled objectives."""
    scalarized: float | None = None
    """max_i g_i on validation data."""
    optimum: float | None = None
    """The exact minimum of max_i g_i, for problems where it is known."""
    convergence: Convergence | None = None
    """None for methods without multipliers."""
    gradient_cosine: tuple[float | None, ...] | None = None
    """Shape (n_pairs,) (trainer/training/gradient_cosine.py)."""
    sparsity_reached: bool | None = None
    """Whether phase 1 reached `growl.sparsity_min`."""
    tying_converged: bool | None = None
    best_epoch: int | None = None
    """The epoch whose model is kept."""
    backend: str | None = None


@dataclass(frozen=True)
class TrialResult:
    """The outcome of one trial: its measurements, its curves and its weights."""

    trial_id: str
    state: str
    """`ok`, or `diverged` when a loss became NaN or infinite."""
    error: str | None
    tasks: Mapping[str, str]
    """Task -> name of its metric, such as `accuracy`."""
    measurements: TrialMeasurements
    epochs: list[EpochMeasurements]
    weights: bytes | None
    """The kept model as a safetensors file; None when the trial diverged."""

    def mean_accuracy(self, part: str) -> float | None:
        """Return the mean accuracy on a part of the data over the tasks that have one; None if no task has one."""
        values = (self.measurements.metrics or {}).get(part, {})
        accuracies = [value for task, value in values.items() if self.tasks[task] == "accuracy"]
        return sum(accuracies) / len(accuracies) if accuracies else None
