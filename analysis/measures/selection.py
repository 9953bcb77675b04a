"""Which of several models is best: chosen on validation data, by accuracy where the sweep has one, else by loss."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results.table import ACCURACY, ResultTable

CLOSE_ACCURACY = 0.02
"""A sparse model within this much (a fraction) of the best dense one's mean validation accuracy is called close."""
CLOSE_LOSS = 0.10
"""Without accuracies: a sparse model whose mean validation loss is above the best dense one's by at most this share of it."""


def chosen_by(table: ResultTable) -> Literal["accuracy", "loss"]:
    """What the models of a sweep are chosen by: accuracy, and loss when no finished trial has a mean accuracy."""
    return "accuracy" if table.ok.frame["accuracy.validation.mean"].notna().any() else "loss"


def mean_loss(table: ResultTable, frame: pd.DataFrame, split: str) -> NDArray[np.float64]:
    """Mean over the tasks of their losses on a split, shape (n_rows,); NaN where a loss is not known."""
    columns = [f"loss.{split}.{task}" for task in table.tasks]
    return np.asarray(frame[columns].to_numpy(dtype=np.float64, na_value=np.nan).mean(axis=1))


def quality(table: ResultTable, frame: pd.DataFrame) -> NDArray[np.float64]:
    """How good models are on validation data, higher is better: mean accuracy, or minus the mean loss.

    Args:
        table: the whole sweep, which settles what is compared (`chosen_by`).
        frame: some of its rows.

    Returns:
        Shape (n_rows,); NaN where it was not measured.
    """
    if chosen_by(table) == "accuracy":
        return frame["accuracy.validation.mean"].to_numpy(dtype=np.float64, na_value=np.nan)
    return -mean_loss(table, frame, "validation")


def best_row(table: ResultTable, frame: pd.DataFrame) -> "pd.Series | None":
    """The best of some rows of a table, None when nothing was measured for any of them."""
    values = quality(table, frame)
    return None if np.isnan(values).all() else frame.iloc[int(np.nanargmax(values))]


def is_close(table: ResultTable, frame: pd.DataFrame, best: "pd.Series") -> NDArray[np.bool_]:
    """Mark rows that are nearly as good as a row, shape (n_rows,)."""
    target = float(quality(table, best.to_frame().T)[0])
    tolerance = CLOSE_ACCURACY if chosen_by(table) == "accuracy" else CLOSE_LOSS * abs(target)
    return np.asarray(quality(table, frame) >= target - tolerance)


def measured_metrics(table: ResultTable) -> dict[str, str]:
    """Name of the metric of each task that has one other than accuracy, measured on test data in some finished trial."""
    frame = table.ok.frame
    return {task: name for task, name in table.metrics.items() if name != ACCURACY and frame[f"metric.test.{task}"].notna().any()}
