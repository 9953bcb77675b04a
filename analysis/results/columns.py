"""The columns of a results folder's tables: the name, type, unit and meaning of each, defined once.

`sweep.store.schema` makes its Arrow schemas from these lists, and all code that reads a table takes the column names for a task, a split or
an objective from the functions below.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

READABLE_VERSIONS = frozenset({1, 2, 3})
"""Values of `schema_version` that this release reads, in tables and in the manifest."""
Kind = Literal["text", "whole", "real", "flag", "time", "numbers", "texts", "number_mapping", "text_mapping"]
"""Type of a column's cells; the last four are stored as JSON text: lists of numbers or texts, objects of numbers or texts."""
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
ACCURACY = "accuracy"
"""The metric of a classification task, a fraction; it has its own columns."""
MEAN = "mean"
"""Stands in for a task's name in the column of the mean over the tasks that have the quantity."""
SPARSITY_OBJECTIVE = "objective.sparsity"
SPARSITY_RATE = "sparsity_rate"
ROWS_KEPT = "1 - sparsity_rate"
"""The share of rows that are not zero: the sparsity axis on which networks of any architecture can be compared (no column of the files)."""
PARAMETERS_KEPT = "1 - removable_params / n_params"
"""The share of parameters that compression does not remove, the other such axis (no column of the files)."""
DEVICE_SECONDS = "device_s"
PHASES = ("sparsify", "tying", "retrain")
"""The phases that a trial's seconds are spent on, in this order."""


def share_column(i: int) -> str:
    """Return the column of one entry of the preference vector; 0 is sparsity, i > 0 is the i-th task."""
    return f"k_{i}"


def share_columns(n_tasks: int) -> list[str]:
    """Return the columns of the whole preference vector, sparsity first: 1 + n_tasks names."""
    return [share_column(i) for i in range(n_tasks + 1)]


def loss_column(split: Split, task: str) -> str:
    """Return the column of a task's loss on a split, in the task's own unit."""
    return f"loss.{split}.{task}"


def accuracy_column(split: Split, task: str = MEAN) -> str:
    """Return the column of a classification task's accuracy on a split, or of the mean over these tasks; a fraction."""
    return f"accuracy.{split}.{task}"


def metric_column(split: Split, task: str) -> str:
    """Return the column of the metric of a task other than classification; the manifest names the metric."""
    return f"metric.{split}.{task}"


def wall_column(phase: str | None = None) -> str:
    """Return the column of the seconds that a trial's pack took, in one phase or (None) in total."""
    return "wall_s" if phase is None else f"wall_s_{phase}"


def is_of(quantity: Literal["loss", "accuracy", "metric"], column: str, split: Split | None = None) -> bool:
    """Return whether a column holds this quantity of some task, on the given split or (None) on any split."""
    return column.startswith(f"{quantity}." if split is None else f"{quantity}.{split}.")


def task_of(column: str) -> str:
    """Return the task's name in a column of a loss, an accuracy or a metric; the name itself may contain dots."""
    return column.split(".", 2)[-1]


@dataclass(frozen=True)
class Column:
    """A column, or a family of columns: `{i}` stands for an entry of k, `{split}` and `{task}` for each split and task."""

    name: str
    kind: Kind
    unit: str
    """The unit of the values; empty if they have none."""
    meaning: str
    splits: tuple[Split, ...] = SPLITS
    """The splits for which a family has columns."""
    has_mean: bool = False
    """Whether, after the tasks of each split, a family has a column for their mean."""

    def for_tasks(self, tasks: Sequence[str]) -> Iterator["Column"]:
        """Yield the columns of this family for a problem with these tasks, in the stored order; a single column yields itself."""
        if "{i}" in self.name:
            names = share_columns(len(tasks))
        elif "{task}" in self.name:
            each = (*tasks, MEAN) if self.has_mean else tasks
            names = [self.name.format(split=split, task=task) for split in self.splits for task in each]
        else:
            names = [self.name]
        return (replace(self, name=name) for name in names)


_FRACTION, _RATIO, _SECONDS = "fraction", "ratio", "s"

ROW_COLUMNS: tuple[Column, ...] = (
    Column("trial_id", "text", "", "hash of everything that the trial's result depends on"),
    Column("pack_id", "text", "", "the pack that it was trained in"),
    Column("attempt", "whole", "", "number of the attempt that trained it; the latest one of a trial counts"),
    Column("retry", "whole", "", "number of the retry within the attempt"),
    Column("state", "text", "", "ok, diverged or error"),
    Column("error", "text", "", "what failed, for the state error"),
    Column("notes", "texts", "", "what a reader should know about this trial; null when there is nothing"),
    Column("taken_over", "texts", "", "trials whose network this one began from or learned from; null for none"),
    Column("problem", "text", "", "name of the problem"),
    Column("model", "text", "", "name of the architecture"),
    Column("method", "text", "", "name of the method"),
    Column("study", "text", "", "name of the study"),
    Column("seed", "whole", "", "seed of the initial network and of the order of the data"),
    Column("k", "numbers", _FRACTION, "preference vector, sparsity first; null for a method without one"),
    Column("k_{i}", "real", _FRACTION, "entry i of k, 0 for sparsity"),
    Column(SPARSITY_OBJECTIVE, "real", "GrOWL norm", "the sparsity objective"),
    Column("loss.{split}.{task}", "real", "the task's own", "loss of a task on a split"),
    Column("accuracy.{split}.{task}", "real", _FRACTION, "accuracy of a classification task, and the mean over these tasks", has_mean=True),
    Column("metric.{split}.{task}", "real", "the metric's own", "metric of a task that is not a classification task"),
    Column(SPARSITY_RATE, "real", _FRACTION, "zero rows / rows"),
    Column("compression_rate", "real", _RATIO, "rows / unique rows"),
    Column("parameter_sharing", "real", _RATIO, "non-zero rows / unique rows"),
    Column("sparsity_rate_params", "real", _FRACTION, "weights in zero rows / weights"),
    Column("compression_rate_params", "real", _RATIO, "weights / weights in unique rows"),
    Column("parameter_sharing_params", "real", _RATIO, "weights in non-zero rows / weights in unique rows"),
    Column("n_rows", "whole", "rows", "rows that the penalty acts on"),
    Column("n_params", "whole", "parameters", "parameters of the network as it was trained"),
    Column("n_macs", "whole", "multiply-adds a sample", "of the network as it was trained"),
    Column("removable_params", "whole", "parameters", "what compression removes; tied rows are kept once"),
    Column("removable_macs", "whole", "multiply-adds a sample", "what compression removes"),
    Column("compact_bytes", "whole", "bytes", "the compressed network as a file"),
    Column("layer_sparsity", "number_mapping", _FRACTION, "sparsity rate of each layer"),
    Column("layers_at_limit", "whole", "layers", "regularised layers that lost as many rows as layer_sparsity_max allows"),
    Column("sparsity_reached", "flag", "", "whether the kept network is as sparse as the settings demand"),
    Column("tying_converged", "flag", "", "whether the clustering of rows converged"),
    Column("multipliers", "numbers", "", "multipliers of the objectives at the end"),
    Column("penalty", "real", "", "penalty of the augmented Lagrangian at the end"),
    Column("residual", "real", "units of g", "||max(g - t, -multipliers / penalty)||_inf at the end"),
    Column("spread", "real", "units of g", "largest minus least active g at the end"),
    Column("largest", "real", "units of g", "largest g of the last phase's objectives on training data, the unit of `residual`"),
    Column("residual_stated", "real", "units of g", "max g - sum_i multipliers_i g_i over all objectives, under the full k"),
    Column("spread_stated", "real", "units of g", "largest minus smallest g over all objectives with k_i > 0, under the full k"),
    Column("largest_stated", "real", "units of g", "largest g over all objectives on training data, under the full k"),
    Column("improvement", "real", _FRACTION, "by how much a search from the kept model lowered max g; null where losses depend on data"),
    Column("gradient_cosine", "numbers", "cosine", "between the tasks' gradients of the shared weights, one for each pair of tasks"),
    Column("scalarized", "real", "units of g", "max_i g_i on validation data of the kept model"),
    Column("optimum", "real", "units of g", "the exact least max_i g_i for this k, where it is known (analytic problems)"),
    Column("anchors", "numbers", "each objective's own", "what each objective was divided by in g; ones for scaling `none`"),
    Column("reference_point", "numbers", "scaled objectives", "a, which was subtracted; null means zeros"),
    Column("best_epoch", "whole", "epochs", "epoch of the kept model"),
    Column("n_epochs", "whole", "epochs", "epochs of both phases"),
    Column("wall_s", "real", _SECONDS, "seconds of the trial's pack"),
    *(Column(f"wall_s_{phase}", "real", _SECONDS, f"seconds of the trial's pack in the phase {phase}") for phase in PHASES),
    Column(DEVICE_SECONDS, "real", _SECONDS, "this trial's share of its pack's seconds"),
    Column("peak_memory_mb", "real", "MB", "largest memory of the pack on its device"),
    Column("energy_wh", "real", "Wh", "energy of the trial's share of seconds; null where nothing measures it"),
    Column("energy_estimated", "flag", "", "whether others used the device too; null where energy_wh is null"),
    Column("host", "text", "", "machine that trained it"),
    Column("device", "text", "", "device that trained it"),
    Column("backend", "text", "", "backend that trained it"),
    Column("versions", "text_mapping", "", "versions of Python and of the libraries"),
    Column("weights_sha256", "text", "", "SHA-256 of the file of the network"),
    Column("finished_at", "time", "UTC", "when the row was written"),
)
"""Columns of `rows/` and `trials.parquet`, in the stored order. Fractions and ratios are never in percent; null means that a value was not
measured, NaN that the trial diverged."""

EPOCH_COLUMNS: tuple[Column, ...] = (
    Column("trial_id", "text", "", "the trial"),
    Column("attempt", "whole", "", "as in its row"),
    Column("retry", "whole", "", "as in its row"),
    Column("epoch", "whole", "", "1, 2, ... over both phases"),
    Column("phase", "text", "", "sparsify, retrain or dense"),
    Column("outer_iteration", "whole", "", "outer iteration of the augmented Lagrangian"),
    Column("learning_rate", "real", "", "learning rate of the epoch"),
    Column("penalty", "real", "", "penalty of the augmented Lagrangian"),
    Column("multipliers", "numbers", "", "multipliers of the objectives"),
    Column("residual", "real", "units of g", "as in a row"),
    Column(SPARSITY_OBJECTIVE, "real", "GrOWL norm", "the sparsity objective"),
    Column(SPARSITY_RATE, "real", _FRACTION, "zero rows / rows"),
    Column("loss.{split}.{task}", "real", "the task's own", "loss of a task on a split", splits=("train", "validation")),
    Column("accuracy.{split}.{task}", "real", _FRACTION, "accuracy of a classification task", splits=("validation",)),
    Column("scalarized", "real", "units of g", "max_i g_i on validation data"),
    Column("wall_s", "real", _SECONDS, "seconds of the trial's pack since its start"),
)
"""Columns of `epochs/` and `epochs.parquet`, in the stored order: one row for each epoch of a trial."""

_KINDS: dict[str, Kind] = {column.name: column.kind for column in (*EPOCH_COLUMNS, *ROW_COLUMNS)}
_FAMILIES_OF_REALS = re.compile(r"k_\d+|(loss|accuracy|metric|objective)\..+|wall_s_\w+")
"""Matches further columns of tasks, objectives and phases, which the two lists above lack but other programs and versions may write."""


def row_columns(tasks: Sequence[str]) -> list[Column]:
    """Return the columns of a row for a problem with these tasks, in the stored order."""
    return [one for column in ROW_COLUMNS for one in column.for_tasks(tasks)]


def epoch_columns(tasks: Sequence[str]) -> list[Column]:
    """Return the columns of an epoch for a problem with these tasks, in the stored order."""
    return [one for column in EPOCH_COLUMNS for one in column.for_tasks(tasks)]


def kind_of(name: str) -> Kind | None:
    """Return the type of a column's cells; None for a column that these lists do not define."""
    return "real" if _FAMILIES_OF_REALS.fullmatch(name) else _KINDS.get(name)


def columns_of(*kinds: Kind) -> tuple[str, ...]:
    """Return the names of all columns of these kinds; families are left out."""
    return tuple(name for name, kind in _KINDS.items() if kind in kinds and "{" not in name)
