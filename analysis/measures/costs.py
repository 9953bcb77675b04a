"""What training cost: seconds, energy and emissions of each trial and of the sweep, and what sharing and warm starts saved."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.selection import CLOSE_LOSS, best_row, quality
from analysis.measures.studies import compared_studies
from analysis.results.columns import DEVICE_SECONDS, PHASES, SPARSITY_RATE, accuracy_column, wall_column
from analysis.results.table import ResultTable


def own_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    """A trial's own seconds, in total and by phase.

    Args:
        frame: rows of a `ResultTable`, with `device_s` (a trial's share of its pack's seconds), `wall_s` and
            `wall_s_<phase>` (the pack's seconds).

    Returns:
        `device_s` and `device_s_<phase>` (= wall_s_<phase> * device_s / wall_s), one row a row of the frame, in seconds;
        NaN where it was not measured. Methods of one phase and dense trials have all of it in `retrain`.
    """
    own, wall = _numbers(frame, DEVICE_SECONDS), _numbers(frame, wall_column())
    share = np.divide(own, wall, out=np.full(len(frame), np.nan), where=wall > 0)
    seconds = {f"{DEVICE_SECONDS}_{phase}": _numbers(frame, wall_column(phase)) * share for phase in PHASES}
    return pd.DataFrame({**seconds, DEVICE_SECONDS: own}, index=frame.index)


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


@dataclass(frozen=True)
class Costs:
    """Prices and factors; None where nobody gave one."""

    usd_per_device_hour: float | None = None
    usd_per_kwh: float | None = None
    g_co2_per_kwh: float | None = None


@dataclass(frozen=True)
class Spent:
    """What the trials of a sweep used, each its own share of its pack; also those that failed."""

    n_trials: int
    n_timed: int
    """Trials with device seconds."""
    device_h: float
    n_measured: int
    """Trials that had their device for themselves."""
    measured_kwh: float
    n_estimated: int
    """Trials beside which others used the device."""
    estimated_kwh: float

    @property
    def kwh(self) -> float | None:
        """All that was counted; None where nothing was."""
        return self.measured_kwh + self.estimated_kwh if self.n_measured + self.n_estimated else None

    @property
    def n_uncounted(self) -> int:
        """Trials whose energy is not known."""
        return self.n_trials - self.n_measured - self.n_estimated


def costs_of(plan: dict[str, Any] | None, given: Costs | None = None) -> Costs:
    """The prices that hold for a sweep: those given, and for the others what the latest plan's grid file says.

    Args:
        plan: `ResultTable.plan`; a value in it that is no price is as good as none.
        given: None, or prices that a person gave.
    """
    config = (plan or {}).get("config")
    stored = config.get("costs") if isinstance(config, dict) else None
    found = {field.name: _price(stored.get(field.name)) for field in fields(Costs)} if isinstance(stored, dict) else {}
    asked = {field.name: getattr(given, field.name) for field in fields(Costs)} if given is not None else {}
    return Costs(**(found | {name: value for name, value in asked.items() if value is not None}))


def spent(table: ResultTable) -> Spent:
    """Over all rows of a table."""
    frame = table.frame
    seconds, kwh = _known(table, DEVICE_SECONDS), _known(table, "energy_wh") / 1000
    counted = np.isfinite(kwh)
    # Files of before there was the column hold no energy, so a missing mark stands beside a number of another program's only.
    estimated = counted & np.array([cell is None or cell != False for cell in frame["energy_estimated"].to_list()], dtype=bool)  # noqa: E712
    measured = counted & ~estimated
    return Spent(
        n_trials=len(frame),
        n_timed=int(np.isfinite(seconds).sum()),
        device_h=float(np.nansum(seconds)) / 3600,
        n_measured=int(measured.sum()),
        measured_kwh=float(kwh[measured].sum()),
        n_estimated=int(estimated.sum()),
        estimated_kwh=float(kwh[estimated].sum()),
    )


def _known(table: ResultTable, column: str) -> NDArray[np.float64]:
    """Values >= 0, NaN for all else, shape (n_trials,)."""
    values = table.frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values) & (values >= 0), values, np.nan)


def _price(value: Any) -> float | None:
    is_price = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if is_price else None


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
    best, zero = best_row(table, rows), _measured(rows, SPARSITY_RATE)
    if best is None or not (zero > 0).any():
        return None
    near = rows[(quality(table, rows) >= _least_quality(table, best)) & np.isfinite(_kept_params(rows))]
    chosen = best_row(table, near[_kept_params(near) == _kept_params(near).min()]) if len(near) else None
    if chosen is None:
        return None
    dense = best_row(table, rows[zero == 0])
    is_sparse = chosen[SPARSITY_RATE] > 0
    return Saving(
        study=name,
        trial_id=str(chosen["trial_id"]),
        params=(_saved(_kept_params, chosen, dense) or 0.0) if is_sparse else 0.0,
        macs=_saved(_kept_macs, chosen, dense) if is_sparse else None,
        accuracy_test=_number(chosen[accuracy_column("test")]),
        best_accuracy_test=_number(best[accuracy_column("test")]),
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
    return np.where(np.isfinite(share), share, 1 - _measured(rows, "sparsity_rate_params"))


def _kept_macs(rows: pd.DataFrame) -> NDArray[np.float64]:
    """The same of the multiply-adds; NaN where a row does not say."""
    return _kept(rows, "removable_macs", "n_macs")


def _kept(rows: pd.DataFrame, removable: str, of: str) -> NDArray[np.float64]:
    total = _measured(rows, of)
    removed = np.divide(_measured(rows, removable), total, out=np.full(len(rows), np.nan), where=total > 0)
    return np.asarray(1 - removed)


def _least_quality(table: ResultTable, best: pd.Series) -> float:
    value = float(quality(table, best.to_frame().T)[0])
    return value - (NEAR_ACCURACY if table.selection.by == "accuracy" else CLOSE_LOSS * abs(value))


def _measured(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return rows[column].to_numpy(dtype=np.float64, na_value=np.nan)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float, np.number)) and np.isfinite(value) else None
