"""The columns of a row and of its curves are those of the store, whatever the training measured."""

import dataclasses
import math

from sweep.store.schema import epoch_schema, row_schema
from sweep.worker.columns import epoch_columns, row_columns
from trainer.api import EpochMeasurements, TrialMeasurements, TrialResult, Usage
from trainer.compression.sizes import NetworkSizes
from trainer.objectives.sparsity_metrics import SparsityMetrics
from trainer.training.trial import Convergence

TASKS = {"kind": "accuracy", "value": "mean absolute error"}
PARTS = ("train", "validation", "test")
USAGE = Usage(4.0, 1.0, 1.0, 2.0, 0.5, None, None)
MEASUREMENTS = TrialMeasurements(
    usage=USAGE,
    losses={part: {"kind": 0.25, "value": 2.0} for part in PARTS},
    sparsity=3.0,
    n_epochs=2,
    notes=("a note",),
    metrics={part: {"kind": 0.75, "value": 1.5} for part in PARTS},
    rows=SparsityMetrics(0.5, 2.0, 1.0, 0.5, 2.0, 1.0, 8),
    layer_sparsity={"a.weight": 0.5},
    sizes=NetworkSizes(100, 10, 20, 300),
    n_params=40,
    anchors=(1.0, 1.0, 1.0),
    reference_point=(0.0, 0.0, 0.0),
    scalarized=0.5,
    optimum=0.25,
    convergence=Convergence((0.0, 0.5, 0.5), 2.0, 0.125, 0.0625, 0.5, 0.25, 0.75, 1.5, 0.125),
    gradient_cosine=(None,),
    sparsity_reached=True,
    tying_converged=False,
    best_epoch=1,
    backend="vmap",
)
EPOCH = EpochMeasurements(1, "sparsify", 1, 3.0, 0.5, [0.5, 1.0], [0.25, 2.0], [0.75, 1.5], 0.5, 1e-3, 2.0, [0.0, 0.5, 0.5])
OF_THE_RUN = {
    *("trial_id", "pack_id", "attempt", "retry", "state", "error", "taken_over", "problem", "model", "method", "study", "seed"),
    *("k", "k_0", "k_1", "k_2", "host", "device", "versions", "peak_memory_mb", "weights_sha256", "finished_at"),
}


def result(measurements: TrialMeasurements = MEASUREMENTS, state: str = "ok") -> TrialResult:
    return TrialResult("a", state, None, TASKS, measurements, [EPOCH], None)


def test_every_measured_column_of_a_row_is_filled() -> None:
    columns = row_columns(result())
    no_metric = {f"metric.{part}.kind" for part in PARTS} | {f"accuracy.{part}.value" for part in PARTS}
    assert set(columns) == set(row_schema(tuple(TASKS)).names) - OF_THE_RUN - no_metric
    assert (columns["accuracy.test.kind"], columns["accuracy.test.mean"], columns["metric.test.value"]) == (0.75, 0.75, 1.5)
    assert (columns["sparsity_rate"], columns["compact_bytes"], columns["wall_s"]) == (0.5, 300, 4.0)
    assert (columns["multipliers"], columns["gradient_cosine"], columns["notes"]) == ([0.0, 0.5, 0.5], [None], ["a note"])


def test_values_that_are_not_known_become_null() -> None:
    unknown = TrialMeasurements(USAGE, {part: dict.fromkeys(TASKS, math.nan) for part in PARTS}, math.nan, 1, ())
    columns = row_columns(result(unknown, "diverged"))
    assert math.isnan(columns["loss.test.kind"])
    left = {name: value for name, value in columns.items() if value is not None and not name.startswith("loss.")}
    assert set(left) == {"objective.sparsity", "n_epochs", "wall_s", "wall_s_sparsify", "wall_s_tying", "wall_s_retrain", "device_s"}


def test_curves_have_the_columns_of_the_store() -> None:
    (columns,) = epoch_columns(result())
    of_the_run = {"trial_id", "attempt", "retry", "residual", "wall_s", "accuracy.validation.value"}
    assert set(columns) == set(epoch_schema(tuple(TASKS)).names) - of_the_run
    assert (columns["loss.train.value"], columns["accuracy.validation.kind"], columns["multipliers"]) == (1.0, 0.75, [0.0, 0.5, 0.5])


def test_an_epoch_survives_its_checkpoint() -> None:
    stored = EPOCH.to_json()
    assert {"objective.sparsity", "loss.train", "loss.validation", "metric.validation"} <= set(stored), "the keys of earlier checkpoints"
    assert EpochMeasurements.from_json(stored) == EPOCH
    without_multipliers = {name: value for name, value in stored.items() if name not in ("learning_rate", "penalty", "multipliers")}
    assert EpochMeasurements.from_json(without_multipliers) == dataclasses.replace(
        EPOCH, learning_rate=None, penalty=None, multipliers=None
    )
