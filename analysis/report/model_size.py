"""The report's section on the real size and speed of networks: a figure, a table of the front, and the origin of the times."""

import shlex
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from analysis.figures.model_size import MAX_POINTS, real_size_figure, value_title
from analysis.measures.model_size import BATCHES, RealSize, real_size
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable

MAX_ROWS = 40
"""Largest number of trials in the table."""
_NONE = "–"


@dataclass(frozen=True)
class _Row:
    trial_id: str
    study: str
    sparsity: str
    value: str
    cells: tuple[str, ...]


def real_size_section(table: ResultTable, labels: pd.DataFrame) -> Section | None:
    """Show what compression leaves of the networks; None if it removes nothing.

    Args:
        table: what `read_results` gave.
        labels: what `label_points` returned for it.
    """
    sizes = real_size(table)
    if sizes is None:
        return None
    return Section("real-size", "Real size", real_size_as_html(table, sizes, labels), real_size_figure(table, sizes, labels))


def real_size_as_html(table: ResultTable, sizes: RealSize, labels: pd.DataFrame) -> Markup:
    """Render the section without its heading; names are escaped.

    Args:
        table: what `read_results` gave.
        sizes: what `real_size` returned for it.
        labels: what `label_points` returned for it.
    """
    frame = pd.concat([table.ok.frame[["trial_id", "study", "sparsity_rate"]], sizes.frame], axis=1)[labels["kept"].to_numpy(dtype=bool)]
    frame = frame[frame["params_kept"].notna() | frame["macs_kept"].notna()].sort_values(
        ["sparsity_rate", "trial_id"], ascending=[False, True]
    )
    is_measured = bool(sizes.latencies.of_trials)
    return rendered(
        "real_size.html",
        rows=[_row(sizes, row, is_measured) for _, row in frame.head(MAX_ROWS).iterrows()],
        n_left_out=max(0, len(frame) - MAX_ROWS),
        has_studies=frame["study"].nunique() > 1,
        value_title=value_title(sizes),
        batches=BATCHES if is_measured else (),
        captions=_captions(sizes, shlex.quote(table.place)),
    )


def _captions(sizes: RealSize, place: str) -> list[str]:
    n_trials = int(sizes.frame["value"].notna().sum())
    sample = f" {MAX_POINTS} of {n_trials:,} trials are drawn." if n_trials > MAX_POINTS else ""
    texts = [
        "What remains when zero rows and their exclusive inputs are removed and equal rows are kept once, as `sweep export` does. Strong "
        f"points are on the front, faint ones are not.{sample} A click opens the trial."
    ]
    latencies = sizes.latencies
    if not latencies.of_trials:
        texts.append(f"Latencies were not measured: `sweep measure {place}` measures those of the front.")
        return texts
    host, processor, torch = next(iter(latencies.of_trials.values())).machine
    texts.append(
        f"Times: medians of a call on one core of {processor} ({host}), PyTorch {torch}, as trained → compressed; "
        f"{len(latencies.of_trials):,} of {len(sizes.frame):,} finished trials were measured. "
        f"`sweep measure {place} TRIAL` measures another trial."
    )
    if latencies.n_elsewhere:
        texts.append(
            f"{latencies.n_elsewhere:,} more were measured on other machines or with another version of PyTorch and are not shown."
        )
    return texts


def _row(sizes: RealSize, row: pd.Series, is_measured: bool) -> _Row:
    value = row["value"]
    cells = [
        _smaller(row["params"], row["params_kept"]),
        _smaller(row["macs"], row["macs_kept"]),
        f"{row['bytes']:,.0f}" if np.isfinite(row["bytes"]) else _NONE,
        *(_times(row[f"ms_{n}"], row[f"ms_{n}_kept"]) for n in BATCHES if is_measured),
    ]
    known = _NONE if not np.isfinite(value) else f"{100 * value:.2f} %" if sizes.is_accuracy else f"{value:.4g}"
    rate = row["sparsity_rate"]
    study = str(row["study"]) if isinstance(row["study"], str) else _NONE
    return _Row(str(row["trial_id"]), study, f"{100 * rate:.1f} %" if np.isfinite(rate) else _NONE, known, tuple(cells))


def _smaller(whole: float, kept: float) -> str:
    if not (np.isfinite(whole) and np.isfinite(kept)):
        return _NONE
    return f"{kept:,.0f} ({whole / kept:.2f} ×)" if kept > 0 else f"{kept:,.0f}"


def _times(before: float, after: float) -> str:
    return f"{before:.3g} → {after:.3g}" if np.isfinite(before) and np.isfinite(after) else _NONE
