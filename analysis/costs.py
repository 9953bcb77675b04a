"""What a sweep used, and its price: device time, energy and how much of it was measured, CO2, money."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.table import ResultTable


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
    seconds, kwh = _known(table, "device_s"), _known(table, "energy_wh") / 1000
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
