"""The columns of the method table: their names for programs and for readers, and which direction is better."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from analysis.measures.costs import own_seconds
from analysis.measures.selection import mean_loss
from analysis.results.columns import ACCURACY, DEVICE_SECONDS, MEAN, PHASES, SPARSITY_RATE, accuracy_column, loss_column, metric_column
from analysis.results.table import ResultTable

MEAN_LOSS = loss_column("test", MEAN)
Look = Literal["percent", "ratio", "number", "seconds"]


@dataclass(frozen=True)
class Column:
    """One column of the method table."""

    name: str
    """Name for programs: the store's column if there is one."""
    title: str
    """Title for readers, with the unit."""
    look: Look
    """How the values are printed; `percent` is stored as a fraction."""
    higher_is_better: bool | None = None
    """Which direction is better; None if no best value is marked."""
    neutral: float | None = None
    """The value of an untouched network, which is never marked as best."""


_RATES = (
    Column(SPARSITY_RATE, "SR, %", "percent", higher_is_better=True, neutral=0.0),
    Column("compression_rate", "CR", "ratio", higher_is_better=True, neutral=1.0),
    Column("parameter_sharing", "PS", "ratio"),
)
_TIMES = (
    *(Column(f"{DEVICE_SECONDS}_{phase}", f"{phase}, s", "seconds") for phase in PHASES),
    Column(DEVICE_SECONDS, "total, s", "seconds"),
)


def columns_of(table: ResultTable) -> tuple[Column, ...]:
    """List the columns of a sweep's lines: SR, CR and PS, each task on test data, their mean, seconds by phase and in total.

    A task without accuracy shows its own metric; no best value is marked there, because the name of a metric does not say which direction
    is better. A sweep without a classification task has the mean test loss in place of the mean accuracy.
    """
    tasks = [
        Column(accuracy_column("test", task), f"{task} accuracy, %", "percent", higher_is_better=True)
        if metric == ACCURACY
        else Column(metric_column("test", task), f"{task} {metric}", "number")
        for task, metric in table.metrics.items()
    ]
    if ACCURACY in table.metrics.values():
        mean = Column(accuracy_column("test"), "mean accuracy, %", "percent", higher_is_better=True)
    else:
        mean = Column(MEAN_LOSS, "mean loss", "number", higher_is_better=False)
    return (*(_RATES if table.sparsity_objective is not None else ()), *tasks, mean, *_TIMES)


def measurements(table: ResultTable) -> pd.DataFrame:
    """Compute the columns' values for each row of `table.ok.frame`, in the same order; NaN where a value was not measured."""
    frame = table.ok.frame
    seconds = own_seconds(frame)
    names = [column.name for column in columns_of(table)]
    values = {name: seconds[name] if name in seconds else frame[name] for name in names if name != MEAN_LOSS}
    if MEAN_LOSS in names:
        values[MEAN_LOSS] = pd.Series(mean_loss(table, frame, "test"), index=frame.index)
    return pd.DataFrame(values, index=frame.index)[names].astype("float64")
