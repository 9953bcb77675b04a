"""The columns of rows and curves, filled from a training's measurements. Only this module knows both."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.api import EpochMeasurements, TrialResult, Usage

_PLAIN = (
    "n_epochs",
    "scalarized",
    "optimum",
    "n_params",
    "sparsity_reached",
    "tying_converged",
    "best_epoch",
    "backend",
    "layer_sparsity",
    "layers_at_limit",
)
_LISTS = ("anchors", "reference_point", "gradient_cosine", "notes")


def usage_columns(usage: "Usage") -> dict[str, Any]:
    """Return the columns for the time and energy of a trial; the fields of `usage` have the names of the columns."""
    return asdict(usage)


def row_columns(result: "TrialResult") -> dict[str, Any]:
    """Return the measured columns of a trial's row.

    Args:
        result: the outcome of one trial.

    Returns:
        A mapping from column to value; list columns (sweep/store/schema.py) have lists. An unknown value is missing or None, and
        becomes null in either case.
    """
    measured = result.measurements
    columns: dict[str, Any] = usage_columns(measured.usage)
    columns["objective.sparsity"] = measured.sparsity
    columns |= {f"loss.{part}.{task}": value for part, values in measured.losses.items() for task, value in values.items()}
    for part, metrics in (measured.metrics or {}).items():
        columns |= {f"{_metric(result, task)}.{part}.{task}": value for task, value in metrics.items()}
        mean = result.mean_accuracy(part)
        columns |= {} if mean is None else {f"accuracy.{part}.mean": mean}
    columns |= {name: getattr(measured, name) for name in _PLAIN}
    columns |= {name: list(values) if values else None for name in _LISTS for values in (getattr(measured, name),)}
    for fields in (measured.rows, measured.sizes):
        columns |= {} if fields is None else asdict(fields)
    if measured.convergence is not None:
        converged = asdict(measured.convergence)
        columns |= converged | {"multipliers": list(converged["multipliers"])}
    return columns


def epoch_columns(result: "TrialResult") -> list[dict[str, Any]]:
    """Return the columns of a trial's curves, one mapping for each epoch."""
    return [_epoch_columns(result, epoch) for epoch in result.epochs]


def _epoch_columns(result: "TrialResult", epoch: "EpochMeasurements") -> dict[str, Any]:
    columns: dict[str, Any] = {
        "epoch": epoch.epoch,
        "phase": epoch.phase,
        "outer_iteration": epoch.outer_iteration,
        "learning_rate": epoch.learning_rate,
        "penalty": epoch.penalty,
        "multipliers": epoch.multipliers,
        "objective.sparsity": epoch.sparsity,
        "sparsity_rate": epoch.sparsity_rate,
        "scalarized": epoch.scalarized,
    }
    for part, losses in (("train", epoch.train_losses), ("validation", epoch.validation_losses)):
        columns |= {f"loss.{part}.{task}": loss for task, loss in zip(result.tasks, losses, strict=True)}
    metrics = zip(result.tasks, epoch.validation_metrics, strict=True)
    return columns | {f"accuracy.validation.{task}": value for task, value in metrics if result.tasks[task] == "accuracy"}


def _metric(result: "TrialResult", task: str) -> str:
    return "accuracy" if result.tasks[task] == "accuracy" else "metric"
