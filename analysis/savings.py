"""What sparsity saved in the networks of a study: parameters, and multiply-adds at inference."""

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
    """Share of the parameters that it needs less than the dense network, a fraction; 0 where no sparse one is as good."""
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

    Parameters and multiply-adds in zero rows are saved: their inputs contribute nothing. Networks are compared on validation data.
    """
    found = []
    for study in compared_studies(table):
        rows = table.ok.frame[(table.ok.frame["study"].astype(object).where(table.ok.frame["study"].notna(), "") == study.name).to_numpy()]
        zero = _zero_share(rows)
        best = best_row(table, rows)
        if best is None or not (zero > 0).any():
            continue
        near = rows[(quality(table, rows) >= _least_quality(table, best)) & np.isfinite(zero)]
        sparsest = near[_zero_share(near) == _zero_share(near).max()] if len(near) else near
        chosen = best_row(table, sparsest)
        if chosen is None:
            continue
        dense = best_row(table, rows[zero == 0])
        found.append(_saving(study.name, chosen, best, dense))
    return tuple(found)


def _saving(study: str, chosen: pd.Series, best: pd.Series, dense: pd.Series | None) -> Saving:
    return Saving(
        study=study,
        trial_id=str(chosen["trial_id"]),
        params=float(_zero_share(chosen.to_frame().T)[0]),
        macs=_saved_macs(chosen),
        accuracy_test=_number(chosen["accuracy.test.mean"]),
        best_accuracy_test=_number(best["accuracy.test.mean"]),
        has_dense=dense is not None,
    )


def _zero_share(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Parameters in zero rows of all, shape (n_rows,); where only the share of the weights is known, that."""
    of_all = _numbers(rows, "removable_params") / _numbers(rows, "n_params")
    return np.where(np.isfinite(of_all), of_all, _numbers(rows, "sparsity_rate_params"))


def _saved_macs(row: pd.Series) -> float | None:
    removable, total = _number(row["removable_macs"]), _number(row["n_macs"])
    return removable / total if removable is not None and total else None


def _least_quality(table: ResultTable, best: pd.Series) -> float:
    value = float(quality(table, best.to_frame().T)[0])
    return value - (NEAR_ACCURACY if chosen_by(table) == "accuracy" else CLOSE_LOSS * abs(value))


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return rows[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float, np.number)) and np.isfinite(value) else None
