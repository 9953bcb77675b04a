"""Which of several models is best on validation data, by the rule that the sweep's manifest names."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results.columns import ACCURACY, Split, loss_column, metric_column
from analysis.results.table import ResultTable

CLOSE_ACCURACY = 0.02
"""A sparse model counts as close if its mean validation accuracy is within this much (a fraction) of the best dense model's."""
CLOSE_LOSS = 0.10
"""If losses decide, a sparse model counts as close if its mean validation loss exceeds the best dense model's by at most this fraction."""


def mean_loss(table: ResultTable, frame: pd.DataFrame, split: Split) -> NDArray[np.float64]:
    """Average the tasks' losses on a split, each in its own unit; shape (n_rows,), NaN where a loss is not known.

    Args:
        table: the whole sweep.
        frame: some of its rows.
        split: the part of the data.
    """
    columns = [loss_column(split, task) for task in table.tasks]
    return np.asarray(frame[columns].to_numpy(dtype=np.float64, na_value=np.nan).mean(axis=1))


def quality(table: ResultTable, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Score models on validation data by the sweep's `SelectionRule`; higher is better.

    Args:
        table: the whole sweep, whose manifest names the rule.
        frame: some of its rows.

    Returns:
        Mean accuracy, a fraction, or minus the mean loss, shape (n_rows,); NaN where it was not measured.
    """
    return table.selection.scores(frame[list(table.selection.columns)].to_numpy(dtype=np.float64, na_value=np.nan))


def best_row(table: ResultTable, frame: pd.DataFrame) -> "pd.Series | None":
    """Return the row with the best `quality`, or None if it was measured for none of the rows.

    Args:
        table: the whole sweep, whose manifest names the rule.
        frame: some of its rows.
    """
    values = quality(table, frame)
    return None if np.isnan(values).all() else frame.iloc[int(np.nanargmax(values))]


def is_close(table: ResultTable, frame: pd.DataFrame, best: "pd.Series") -> NDArray[np.bool_]:
    """Mark the rows that are nearly as good as the best one (`CLOSE_ACCURACY`, `CLOSE_LOSS`), shape (n_rows,).

    Args:
        table: the whole sweep, whose manifest names the rule.
        frame: some of its rows.
        best: the row to compare with.
    """
    target = float(quality(table, best.to_frame().T)[0])
    tolerance = CLOSE_ACCURACY if table.selection.by == "accuracy" else CLOSE_LOSS * abs(target)
    return np.asarray(quality(table, frame) >= target - tolerance)


def measured_metrics(table: ResultTable) -> dict[str, str]:
    """Map each task whose metric is not accuracy to the metric's name, if some finished trial has it on test data."""
    frame = table.ok.frame
    return {task: name for task, name in table.metrics.items() if name != ACCURACY and frame[metric_column("test", task)].notna().any()}
