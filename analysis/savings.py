"""What sparsity saved in the networks of a study: parameters, and multiply-adds at inference."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.choosing import CLOSE_LOSS, best_row, chosen_by, quality
from analysis.studies import compared_studies
from analysis.table import ResultTable

NEAR_ACCURACY = 0.01
"""A network within this much (a fraction) of the best mean validation accuracy of its study is as good as the best."""


@dataclass(frozen=True)
class Saving:
    """The sparsest network of a study that is as good as its best one."""

    study: str
    trial_id: str
    params: float
    """Share of the parameters that it needs less than the best dense network of the study, a fraction; 0 where no sparse one is as good."""
    macs: float | None
    """The same of the multiply-adds of one sample; None where the rows do not have them."""
    accuracy_test: float | None
    """Mean test accuracy; None without accuracies."""
    best_accuracy_test: float | None
    """Of the best network of the study on validation data."""
    has_dense: bool
    """Whether the study has a network without zero rows; else the savings are against the whole network, which was not trained."""


def savings(table: ResultTable) -> tuple[Saving, ...]:
    """One a study in which a network has zero rows, in the order of `compared_studies`.

    Networks are compared on validation data. What compression removes is saved; where a row does not say what that is, the
    weights in zero rows.
    """
    frame = table.ok.frame
    names = frame["study"].astype(object).where(frame["study"].notna(), "").to_numpy()
    found = [_of_study(table, study.name, frame[names == study.name]) for study in compared_studies(table)]
    return tuple(saving for saving in found if saving is not None)


def _of_study(table: ResultTable, name: str, rows: pd.DataFrame) -> Saving | None:
    best, zero = best_row(table, rows), _numbers(rows, "sparsity_rate")
    if best is None or not (zero > 0).any():
        return None
    near = rows[(quality(table, rows) >= _least_quality(table, best)) & np.isfinite(_kept_params(rows))]
    chosen = best_row(table, near[_kept_params(near) == _kept_params(near).min()]) if len(near) else None
    if chosen is None:
        return None
    dense = best_row(table, rows[zero == 0])
    is_sparse = chosen["sparsity_rate"] > 0
    return Saving(
        study=name,
        trial_id=str(chosen["trial_id"]),
        params=(_saved(_kept_params, chosen, dense) or 0.0) if is_sparse else 0.0,
        macs=_saved(_kept_macs, chosen, dense) if is_sparse else None,
        accuracy_test=_number(chosen["accuracy.test.mean"]),
        best_accuracy_test=_number(best["accuracy.test.mean"]),
        has_dense=dense is not None,
    )


def _saved(kept: Callable[[pd.DataFrame], NDArray[np.float64]], chosen: pd.Series, dense: pd.Series | None) -> float | None:
    """Share of what the dense network keeps that the chosen one does without; None where it is not known."""
    own = kept(chosen.to_frame().T)[0]
    whole = 1.0 if dense is None else kept(dense.to_frame().T)[0]
    return float(1 - own / whole) if np.isfinite(own) and whole > 0 else None


def _kept_params(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Share of the parameters that compression keeps, shape (n_rows,)."""
    share = _kept(rows, "removable_params", "n_params")
    return np.where(np.isfinite(share), share, 1 - _numbers(rows, "sparsity_rate_params"))


def _kept_macs(rows: pd.DataFrame) -> NDArray[np.float64]:
    """The same of the multiply-adds; NaN where a row does not say."""
    return _kept(rows, "removable_macs", "n_macs")


def _kept(rows: pd.DataFrame, removable: str, of: str) -> NDArray[np.float64]:
    total = _numbers(rows, of)
    removed = np.divide(_numbers(rows, removable), total, out=np.full(len(rows), np.nan), where=total > 0)
    return np.asarray(1 - removed)


def _least_quality(table: ResultTable, best: pd.Series) -> float:
    value = float(quality(table, best.to_frame().T)[0])
    return value - (NEAR_ACCURACY if chosen_by(table) == "accuracy" else CLOSE_LOSS * abs(value))


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return rows[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float, np.number)) and np.isfinite(value) else None
