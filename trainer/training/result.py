"""From a finished model to its row, its curves and its file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainer.compression.sizes import Sizes
from trainer.objectives.lagrangian import convergence
from trainer.objectives.scalarization import chebyshev_values
from trainer.objectives.sparsity_metrics import layer_sparsity, sparsity_metrics
from trainer.problems.problem import Problem
from trainer.training.checkpoint import model_file
from trainer.training.measurements import Measurements
from trainer.training.notes import model_notes
from trainer.training.trial import TrialResult, TrialSpec


@dataclass(frozen=True)
class Lagrange:
    """Where a trial's multipliers stood in its kept epoch."""

    multipliers: Tensor
    """Shape (n_active,), float64."""
    penalty: float
    has_sparsity: bool
    """Whether the last phase's multipliers include the sparsity objective."""


@dataclass(frozen=True)
class Measured:
    """Everything measured on one model of a finished pack."""

    alive: bool
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    weight_names: tuple[str, ...]
    n_parameters: int
    labels: Mapping[str, Tensor]
    sizes: Sizes
    """Of the trial's model."""
    losses: Mapping[str, Tensor]
    """Split -> shape (n_tasks,), float64."""
    metrics: Mapping[str, Tensor]
    gradient_cosine: tuple[float | None, ...] | None
    """Between the gradients of each pair of tasks (trainer/training/gradient_cosine.py)."""
    sparsity: float
    """Raw L0 of the final model."""
    anchors: Tensor
    """Shape (n_objectives,), float64."""
    lagrange: Lagrange | None
    """None for methods without multipliers."""
    best_epoch: int
    sparsity_reached: bool
    tying_converged: bool
    output_ranges: Tensor
    """Shape (n_tasks,), float64: how much the outputs vary over the first validation data."""
    data_notes: tuple[str, ...]
    backend: str
    epochs: list[dict[str, Any]]
    spent: Mapping[str, float | bool | None]
    """Columns on time and energy."""
    measurements: Measurements
    """With which the rest is measured; its notes so far are on what failed."""


def result_of(spec: TrialSpec, problem: Problem, measured: Measured) -> TrialResult:
    """One trial's result. A diverged model has NaN where numbers would be, and no weights.

    What fails here is null in the row, which says why in its notes (trainer/training/measurements.py). A network that
    cannot be made a file has no weights, and its row is `ok` all the same.
    """
    epochs = [_flat(record, problem) for record in measured.epochs]
    if not measured.alive:
        last = epochs[-1]["epoch"] if epochs else 0
        first_bad = next((record["epoch"] for record in epochs if not math.isfinite(record["scalarized"])), last)
        columns: dict[str, Any] = (
            dict(measured.spent)
            | dict.fromkeys(_loss_columns(problem), math.nan)
            | {"objective.sparsity": math.nan, "n_epochs": len(epochs)}
        )
        message = f"a loss became NaN or infinite in epoch {first_bad}; a smaller training.learning_rate may help"
        columns |= {"notes": list(measured.data_notes) or None}
        return TrialResult(spec.trial_id, "diverged", message, columns, epochs[:first_bad], None)

    take = measured.measurements.take
    unknown: dict[str, Any] = {}
    no_notes: list[str] = []
    weights = {name: measured.weights[name] for name in measured.weight_names}
    sparsity = take(partial(_sparsity, weights), unknown, "the sparsity and sharing rates are unknown")
    layers = take(partial(layer_sparsity, weights), None, "the sparsity of the layers is unknown")
    state = {**measured.weights, **measured.buffers}
    sizes = take(partial(measured.sizes.columns, state), unknown, "the size of the compressed network is unknown")
    size_notes = [measured.sizes.note] if measured.sizes.note else []
    strange = take(
        partial(model_notes, problem, layers or {}, measured.output_ranges), no_notes, "what is odd about the network is unknown"
    )
    scalarized = take(partial(_chebyshev_columns, spec, measured), unknown, "the scalarized value and the convergence are unknown")
    optimum = take(partial(_optimum, spec, problem, measured), None, "the exact optimum is unknown")
    file = take(partial(_model_file, spec, problem, measured, layers or {}), None, "the trained network could not be made a file")
    columns = {
        **measured.spent,
        **sparsity,
        **_values(problem, "loss", measured.losses),
        **_metric_columns(problem, measured.metrics),
        "anchors": measured.anchors.tolist(),
        **scalarized,
        "objective.sparsity": measured.sparsity,
        "gradient_cosine": None if measured.gradient_cosine is None else list(measured.gradient_cosine),
        "n_params": measured.n_parameters,
        **sizes,
        "layer_sparsity": layers,
        "sparsity_reached": measured.sparsity_reached,
        "tying_converged": measured.tying_converged,
        "best_epoch": measured.best_epoch,
        "n_epochs": len(epochs),
        "optimum": optimum,
        "backend": measured.backend,
        "notes": [*measured.data_notes, *strange, *size_notes, *measured.measurements.notes] or None,
    }
    return TrialResult(spec.trial_id, "ok", None, columns, epochs, file)


def _sparsity(weights: Mapping[str, Tensor]) -> dict[str, float | int]:
    return sparsity_metrics(weights) if weights else {}


def _model_file(spec: TrialSpec, problem: Problem, measured: Measured, layers: Mapping[str, float]) -> bytes:
    """The network, the clusters of its rows and what it is."""
    tensors = {
        **measured.weights,
        **measured.buffers,
        **{f"{name}.labels": value.to(torch.int32) for name, value in measured.labels.items()},
    }
    metadata = {
        "trial_id": spec.trial_id,
        "problem": problem.name,
        "model": spec.model,
        "tasks": [task.name for task in problem.tasks],
        "preference": None if spec.preference is None else list(spec.preference),
        "seed": spec.seed,
        "growl_layers": list(measured.labels),
        "row_dim": 1,
        "layer_sparsity": layers,
    }
    return model_file(tensors, metadata)


def _chebyshev_columns(spec: TrialSpec, measured: Measured) -> dict[str, Any]:
    """The scalarised validation value under the full k, and how converged the kept model is on its training losses."""
    if spec.preference is None:
        return {}
    preference = torch.tensor([spec.preference], dtype=torch.float64)
    reference_point = torch.tensor(spec.reference_point or [0.0] * preference.shape[1], dtype=torch.float64)

    def values(split: str, first: int) -> Tensor:
        objectives = torch.cat([torch.tensor([measured.sparsity], dtype=torch.float64), measured.losses[split]]) / measured.anchors
        active = preference[:, first:] / preference[:, first:].sum()
        return chebyshev_values(objectives[None, first:], active, reference_point[first:], spec.settings.augmentation)

    columns: dict[str, Any] = {
        "scalarized": float(values("validation", 0).max()),
        "reference_point": reference_point.tolist(),
    }
    lagrange = measured.lagrange
    if lagrange is not None:
        first = 0 if lagrange.has_sparsity else 1
        residual, spread = convergence(values("train", first), lagrange.multipliers[None], lagrange.penalty)
        columns |= {
            "multipliers": [0.0] * first + lagrange.multipliers.tolist(),
            "penalty": lagrange.penalty,
            "residual": float(residual),
            "spread": float(spread),
        }
    return columns


def _optimum(spec: TrialSpec, problem: Problem, measured: Measured) -> float | None:
    """The exact solutions are those of the plain Chebyshev problem: no augmentation, the origin as reference, raw objectives."""
    is_plain = spec.settings.augmentation == 0 and not any(spec.reference_point or ()) and bool((measured.anchors == 1).all())
    is_known = problem.optimum is not None and is_plain and spec.preference is not None
    return problem.optimum(spec.preference, spec.settings.growl) if is_known else None  # type: ignore[misc, arg-type]


def _loss_columns(problem: Problem) -> list[str]:
    return [f"loss.{split}.{task.name}" for split in ("train", "validation", "test") for task in problem.tasks]


def _values(problem: Problem, kind: str, splits: Mapping[str, Tensor]) -> dict[str, float]:
    return {
        f"{kind}.{split}.{task.name}": float(value)
        for split, values in splits.items()
        for task, value in zip(problem.tasks, values, strict=True)
    }


def _metric_columns(problem: Problem, splits: Mapping[str, Tensor]) -> dict[str, float]:
    """`accuracy.<split>.<task>` and its mean over the tasks that have one; `metric.<split>.<task>` for other metrics."""
    columns: dict[str, float] = {}
    for split, values in splits.items():
        accuracies = []
        for task, value in zip(problem.tasks, values.tolist(), strict=True):
            is_accuracy = task.metric_name == "accuracy"
            columns[f"{'accuracy' if is_accuracy else 'metric'}.{split}.{task.name}"] = value
            accuracies += [value] if is_accuracy else []
        if accuracies:
            columns[f"accuracy.{split}.mean"] = sum(accuracies) / len(accuracies)
    return columns


def _flat(record: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """An epoch's record with one column a task."""
    flat = {name: value for name, value in record.items() if not isinstance(value, list) or name == "multipliers"}
    for t, task in enumerate(problem.tasks):
        flat[f"loss.train.{task.name}"] = record["loss.train"][t]
        flat[f"loss.validation.{task.name}"] = record["loss.validation"][t]
        if task.metric_name == "accuracy":
            flat[f"accuracy.validation.{task.name}"] = record["metric.validation"][t]
    return flat
