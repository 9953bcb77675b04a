"""How a finished model becomes the result of its trial: measurements, curves and a file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trainer.compression.sizes import Sizes
from trainer.objectives.certificate import stated_multipliers, stated_residual
from trainer.objectives.lagrangian import convergence
from trainer.objectives.scalarization import chebyshev_values
from trainer.objectives.sparsity_metrics import SparsityMetrics, layer_sparsity, sparsity_metrics
from trainer.problems.problem import Problem
from trainer.training.checkpoint import model_file
from trainer.training.measurements import Measurements
from trainer.training.notes import model_notes
from trainer.training.trial import Convergence, EpochMeasurements, TrialMeasurements, TrialResult, TrialSpec
from trainer.training.usage import Usage

_ROUNDING = 1e-9
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Lagrange:
    """The multipliers of a trial in its kept epoch."""

    multipliers: Tensor
    """Shape (n_active,), float64."""
    penalty: float
    has_sparsity: bool
    """Whether the last phase's multipliers include the sparsity objective."""
    sparsity: float = 0.0
    """The multiplier of sparsity in the kept epoch of the last phase that had it among its objectives; 0 if none had, NaN if unknown."""


@dataclass(frozen=True)
class FinishedModel:
    """One model of a finished pack, with the values that are measured on the whole pack at once."""

    alive: bool
    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    weight_names: tuple[str, ...]
    n_parameters: int
    labels: Mapping[str, Tensor]
    """Weight name -> cluster of each row, shape (n_rows,)."""
    sizes: Sizes
    """Measures the networks of the trial's model."""
    losses: Mapping[str, Tensor]
    """Part of the data -> shape (n_tasks,), float64."""
    metrics: Mapping[str, Tensor]
    """Part of the data -> shape (n_tasks,), float64."""
    gradient_cosine: tuple[float | None, ...] | None
    """Cosine between the gradients of each pair of tasks (trainer/training/gradient_cosine.py)."""
    sparsity: float
    """The sparsity objective L0, unscaled."""
    anchors: Tensor
    """Shape (n_objectives,), float64."""
    lagrange: Lagrange | None
    """None for methods without multipliers."""
    improvement: float | None
    """By how much a search lowered max g (trainer/objectives/certificate.py); None where losses depend on data."""
    best_epoch: int
    limits: Mapping[str, float]
    """Weight name -> the largest share of zero rows that the settings allow."""
    sparsity_reached: bool
    tying_converged: bool
    output_ranges: Tensor
    """Shape (n_tasks,), float64: the range of the outputs over the first validation samples."""
    data_notes: tuple[str, ...]
    backend: str
    epochs: list[EpochMeasurements]
    usage: Usage
    measurements: Measurements
    """Takes the remaining measurements; its notes so far describe those that failed."""


def result_of(spec: TrialSpec, problem: Problem, model: FinishedModel) -> TrialResult:
    """Measure one finished model and return the result of its trial.

    A measurement that fails here is None, and the notes say why (trainer/training/measurements.py). If a network cannot be written as a
    file, the result has no weights, but the trial is still `ok`. A diverged model has NaN losses and no weights.

    Args:
        spec: the trial.
        problem: the problem, with its data and tasks.
        model: the trial's finished model.
    """
    tasks = {task.name: task.metric_name for task in problem.tasks}
    if not model.alive:
        return _diverged(spec, tasks, model)
    take = model.measurements.take
    weights = {name: model.weights[name] for name in model.weight_names}
    state = {**model.weights, **model.buffers}
    no_notes: list[str] = []
    rows = take(partial(_rows, weights), None, "the sparsity and sharing rates are unknown")
    layers = take(partial(layer_sparsity, weights), None, "the sparsity of the layers is unknown")
    sizes = take(partial(model.sizes.measure, state), None, "the size of the compressed network is unknown")
    size_notes = [model.sizes.note] if model.sizes.note else []
    unusual = take(partial(model_notes, problem, layers or {}, model.output_ranges), no_notes, "what is odd about the network is unknown")
    values = take(partial(_chebyshev, spec, model), _Chebyshev(), "the scalarized value and the convergence are unknown")
    optimum = take(partial(_optimum, spec, problem, model), None, "the exact optimum is unknown")
    file = take(partial(_model_file, spec, problem, model, layers or {}), None, "the trained network could not be made a file")
    measurements = TrialMeasurements(
        usage=model.usage,
        losses=_by_task(tasks, model.losses),
        sparsity=model.sparsity,
        n_epochs=len(model.epochs),
        notes=(*model.data_notes, *unusual, *size_notes, *model.measurements.notes),
        metrics=_by_task(tasks, model.metrics),
        rows=rows,
        layer_sparsity=layers,
        layers_at_limit=None if layers is None else sum(0 < limit <= layers[name] + _ROUNDING for name, limit in model.limits.items()),
        sizes=sizes,
        n_params=model.n_parameters,
        anchors=tuple(model.anchors.tolist()),
        reference_point=values.reference_point,
        scalarized=values.scalarized,
        optimum=optimum,
        convergence=values.convergence,
        gradient_cosine=model.gradient_cosine,
        sparsity_reached=model.sparsity_reached,
        tying_converged=model.tying_converged,
        best_epoch=model.best_epoch,
        backend=model.backend,
    )
    return TrialResult(spec.trial_id, "ok", None, tasks, measurements, model.epochs, file)


def _diverged(spec: TrialSpec, tasks: Mapping[str, str], model: FinishedModel) -> TrialResult:
    last = model.epochs[-1].epoch if model.epochs else 0
    first_bad = next((record.epoch for record in model.epochs if not math.isfinite(record.scalarized)), last)
    measurements = TrialMeasurements(
        usage=model.usage,
        losses={part: dict.fromkeys(tasks, math.nan) for part in PARTS},
        sparsity=math.nan,
        n_epochs=len(model.epochs),
        notes=model.data_notes,
    )
    message = f"a loss became NaN or infinite in epoch {first_bad}; a smaller training.learning_rate may help"
    return TrialResult(spec.trial_id, "diverged", message, tasks, measurements, model.epochs[:first_bad], None)


def _rows(weights: Mapping[str, Tensor]) -> SparsityMetrics | None:
    return sparsity_metrics(weights) if weights else None


def _by_task(tasks: Mapping[str, str], parts: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    return {part: dict(zip(tasks, values.tolist(), strict=True)) for part, values in parts.items()}


def _model_file(spec: TrialSpec, problem: Problem, model: FinishedModel, layers: Mapping[str, float]) -> bytes:
    """Return the network, the clusters of its rows and its description as a safetensors file."""
    tensors = {
        **model.weights,
        **model.buffers,
        **{f"{name}.labels": value.to(torch.int32) for name, value in model.labels.items()},
    }
    metadata = {
        "trial_id": spec.trial_id,
        "problem": problem.name,
        "model": spec.model,
        "tasks": [task.name for task in problem.tasks],
        "preference": None if spec.preference is None else list(spec.preference),
        "seed": spec.seed,
        "growl_layers": list(model.labels),
        "row_dim": 1,
        "layer_sparsity": layers,
    }
    return model_file(tensors, metadata)


@dataclass(frozen=True)
class _Chebyshev:
    """The weighted Chebyshev values of a model; None for methods without preferences."""

    scalarized: float | None = None
    reference_point: tuple[float, ...] | None = None
    convergence: Convergence | None = None


def _chebyshev(spec: TrialSpec, model: FinishedModel) -> _Chebyshev:
    """Return the scalarized validation value under the full k, and the convergence of the kept model on its training losses."""
    if spec.preference is None:
        return _Chebyshev()
    preference = torch.tensor([spec.preference], dtype=torch.float64)
    reference_point = torch.tensor(spec.reference_point or [0.0] * preference.shape[1], dtype=torch.float64)

    def values(part: str, first: int) -> Tensor:
        objectives = torch.cat([torch.tensor([model.sparsity], dtype=torch.float64), model.losses[part]]) / model.anchors
        active = preference[:, first:] / preference[:, first:].sum()
        return chebyshev_values(objectives[None, first:], active, reference_point[first:], spec.settings.augmentation)

    scalarized = float(values("validation", 0).max())
    converged, lagrange = None, model.lagrange
    if lagrange is not None:
        first = 0 if lagrange.has_sparsity else 1
        of_phase, of_all = values("train", first), values("train", 0)[0]
        residual, spread = convergence(of_phase, lagrange.multipliers[None], lagrange.penalty)
        all_multipliers = lagrange.multipliers if lagrange.has_sparsity else stated_multipliers(lagrange.sparsity, lagrange.multipliers)
        residual_stated, spread_stated = stated_residual(of_all, all_multipliers, preference[0])
        converged = Convergence(
            multipliers=(*[0.0] * first, *lagrange.multipliers.tolist()),
            penalty=lagrange.penalty,
            residual=float(residual),
            spread=float(spread),
            largest=float(of_phase.max()),
            residual_stated=None if math.isnan(lagrange.sparsity) else residual_stated,
            spread_stated=spread_stated,
            largest_stated=float(of_all.max()),
            improvement=model.improvement,
        )
    return _Chebyshev(scalarized, tuple(reference_point.tolist()), converged)


def _optimum(spec: TrialSpec, problem: Problem, model: FinishedModel) -> float | None:
    """Return the exact optimum, which is known only for the plain Chebyshev problem, without augmentation, reference point or scaling."""
    is_plain = spec.settings.augmentation == 0 and not any(spec.reference_point or ()) and bool((model.anchors == 1).all())
    is_known = problem.optimum is not None and is_plain and spec.preference is not None
    return problem.optimum(spec.preference, spec.settings.growl) if is_known else None  # type: ignore[misc, arg-type]
