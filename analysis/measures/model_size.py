"""How large and how fast the networks of a sweep are once zero rows are removed and equal rows are merged."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.selection import mean_loss
from analysis.results.columns import accuracy_column
from analysis.results.latency import Latencies, read_latencies
from analysis.results.table import ResultTable

BATCHES = (1, 256)


@dataclass(frozen=True)
class RealSize:
    """Sizes and latencies of the finished trials of a sweep."""

    frame: pd.DataFrame
    """One row for each row of `table.ok.frame`, in the same order, with NaN where a value is not known: `value` (mean test accuracy, a
    fraction, or mean test loss), `params` and `params_kept`, `macs` and `macs_kept` (multiply-adds per sample), `bytes` (of the compressed
    file), and for each of `BATCHES` `ms_<n>` (as trained) and `ms_<n>_kept` (compressed)."""
    is_accuracy: bool
    """Whether `value` is an accuracy."""
    latencies: Latencies


def real_size(table: ResultTable) -> RealSize | None:
    """Tabulate what compression keeps of each finished trial's network; None if it removes nothing, or if the rows do not record it."""
    rows = table.ok.frame
    params, macs = _numbers(rows, "n_params"), _numbers(rows, "n_macs")
    frame = pd.DataFrame(
        {
            "value": _numbers(rows, accuracy_column("test")) if table.selection.by == "accuracy" else mean_loss(table, rows, "test"),
            "params": params,
            "params_kept": _at_least_0(params - _numbers(rows, "removable_params")),
            "macs": macs,
            "macs_kept": _at_least_0(macs - _numbers(rows, "removable_macs")),
            "bytes": _numbers(rows, "compact_bytes"),
        }
    )
    if not ((frame["params_kept"] < frame["params"]) | (frame["macs_kept"] < frame["macs"])).any():
        return None
    latencies = read_latencies(table)
    for n in BATCHES:
        pairs = [_pair(latencies, trial_id, n) for trial_id in rows["trial_id"].astype(str)]
        frame[[f"ms_{n}", f"ms_{n}_kept"]] = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return RealSize(frame, table.selection.by == "accuracy", latencies)


def _pair(latencies: Latencies, trial_id: str, batch: int) -> tuple[float, float]:
    latency = latencies.of_trials.get(trial_id)
    return (np.nan, np.nan) if latency is None else latency.milliseconds.get(batch, (np.nan, np.nan))


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    values = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _at_least_0(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values >= 0, values, np.nan)
