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
    """Compute each trial's own seconds, in total and by phase.

    Args:
        frame: rows of a `ResultTable`, with `device_s` (a trial's share of its pack's seconds), `wall_s` and
            `wall_s_<phase>` (the pack's seconds).

    Returns:
        `device_s` and `device_s_<phase>` (= wall_s_<phase> * device_s / wall_s) in seconds, one row for each row of the frame;
        NaN where they were not measured. For single-phase methods and dense trials, all seconds count as `retrain`.
    """
    own, wall = _numbers(frame, DEVICE_SECONDS), _numbers(frame, wall_column())
    share = np.divide(own, wall, out=np.full(len(frame), np.nan), where=wall > 0)
    seconds = {f"{DEVICE_SECONDS}_{phase}": _numbers(frame, wall_column(phase)) * share for phase in PHASES}
    return pd.DataFrame({**seconds, DEVICE_SECONDS: own}, index=frame.index)


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].to_numpy(dtype=np.float64, na_value=np.nan)


@dataclass(frozen=True)
class Costs:
    """Prices and emission factors; None for those that are not given."""

    usd_per_device_hour: float | None = None
    usd_per_kwh: float | None = None
    g_co2_per_kwh: float | None = None


@dataclass(frozen=True)
class Spent:
    """What all trials of a sweep used, including failed ones; each trial counts with its own share of its pack."""

    n_trials: int
    n_timed: int
    """Trials whose device seconds are known."""
    device_h: float
    n_measured: int
    """Trials that had their device to themselves, so that their energy was measured."""
    measured_kwh: float
    n_estimated: int
    """Trials that shared their device, so that their energy is an estimate."""
    estimated_kwh: float

    @property
    def kwh(self) -> float | None:
        """The sum of measured and estimated energy; None if no energy is known."""
        return self.measured_kwh + self.estimated_kwh if self.n_measured + self.n_estimated else None

    @property
    def n_uncounted(self) -> int:
        """Number of trials whose energy is not known."""
        return self.n_trials - self.n_measured - self.n_estimated


def costs_of(plan: dict[str, Any] | None, given: Costs | None = None) -> Costs:
    """Combine given prices with those of the latest plan's grid file.

    Args:
        plan: `ResultTable.plan`; values in it that are not prices are ignored.
        given: prices that take precedence over the plan's; None for none.
    """
    config = (plan or {}).get("config")
    stored = config.get("costs") if isinstance(config, dict) else None
    planned = {field.name: _price(stored.get(field.name)) for field in fields(Costs)} if isinstance(stored, dict) else {}
    override = {field.name: getattr(given, field.name) for field in fields(Costs)} if given is not None else {}
    return Costs(**(planned | {name: value for name, value in override.items() if value is not None}))


def spent(table: ResultTable) -> Spent:
    """Sum what all trials of a table used."""
    frame = table.frame
    seconds, kwh = _known(table, DEVICE_SECONDS), _known(table, "energy_wh") / 1000
    counted = np.isfinite(kwh)
    # Files older than this column hold no energy, so an energy without the flag can only come from another program.
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
    """The values of a column that are >= 0, with NaN for all others, shape (n_trials,)."""
    values = table.frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values) & (values >= 0), values, np.nan)


def _price(value: Any) -> float | None:
    is_price = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if is_price else None


NEAR_ACCURACY = 0.01
"""A network counts as equally good if its mean validation accuracy is within this much (a fraction) of the best in its study."""


@dataclass(frozen=True)
class Saving:
    """What a study's sparsest network saves, chosen among the networks that are about as good as the best one."""

    study: str
    trial_id: str
    params: float
    """Fraction of the best dense network's parameters that it saves; 0 if no sparse network is good enough."""
    macs: float | None
    """Fraction of the multiply-adds for one sample that it saves; None if the rows do not hold them."""
    accuracy_test: float | None
    """Its mean test accuracy, a fraction; None without accuracies."""
    best_accuracy_test: float | None
    """Mean test accuracy of the network that is best on validation data, a fraction."""
    has_dense: bool
    """Whether the study has a network without zero rows; otherwise savings are relative to the unpruned network, which was not trained."""


def savings(table: ResultTable) -> tuple[Saving, ...]:
    """Compute the savings of each study that has a network with zero rows, in the order of `compared_studies`.

    Networks are compared on validation data. Savings are what compression removes or, if a row does not record that, the weights in zero
    rows.
    """
    frame = table.ok.frame
    names = frame["study"].astype(object).where(frame["study"].notna(), "").to_numpy()
    savings_of = [_of_study(table, study.name, frame[names == study.name]) for study in compared_studies(table)]
    return tuple(saving for saving in savings_of if saving is not None)


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
    """The fraction of the dense network's size that the chosen network saves; None if it is not known."""
    own = kept(chosen.to_frame().T)[0]
    whole = 1.0 if dense is None else kept(dense.to_frame().T)[0]
    return float(1 - own / whole) if np.isfinite(own) and whole > 0 else None


def _kept_params(rows: pd.DataFrame) -> NDArray[np.float64]:
    """The fraction of the parameters that compression keeps, shape (n_rows,)."""
    share = _kept(rows, "removable_params", "n_params")
    return np.where(np.isfinite(share), share, 1 - _measured(rows, "sparsity_rate_params"))


def _kept_macs(rows: pd.DataFrame) -> NDArray[np.float64]:
    """The fraction of the multiply-adds that compression keeps, shape (n_rows,); NaN where a row does not record it."""
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
