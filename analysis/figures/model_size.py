"""The figure that shows accuracy against real size and latency, in the colours of the sparsity clusters."""

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from analysis.figures.base import Cluster, clusters_of, new_figure
from analysis.measures.model_size import RealSize
from analysis.results.table import ResultTable

MAX_POINTS = 500
"""Largest number of trials in a panel: the trials on the front come first, then a sample of the others."""
_PANELS = {
    "bytes": ("Bytes on disk", "bytes", "~s"),
    "params_kept": ("Parameters kept", "parameters", "~s"),
    "macs_kept": ("Multiply-adds kept", "multiply-adds a sample", "~s"),
    "ms_1_kept": ("Time, batch 1", "ms on one core", "~g"),
    "ms_256_kept": ("Time, batch 256", "ms on one core", "~g"),
}
_SIZE = (290, 380)
"""Width and height of a panel, in pixels."""
_FAINT, _CLEAR = 0.22, 0.95


def real_size_figure(table: ResultTable, sizes: RealSize, labels: pd.DataFrame, seed: int = 0) -> go.Figure | None:
    """Draw a panel for each measure for which some trial has a value; trials off the front are faint.

    Args:
        table: what `read_results` gave.
        sizes: what `real_size` returned for it.
        labels: what `label_points` returned for it.
        seed: seed of the sample if there are more than `MAX_POINTS` trials.

    Returns:
        A figure whose traces have trial ids as `customdata` and the cluster's group in their `meta`; None if no trial has a value.
    """
    known = sizes.frame["value"].notna()
    panels = [name for name in _PANELS if (sizes.frame[name].notna() & known).any()]
    if not panels:
        return None
    titles = [_PANELS[name][0] for name in panels]
    figure = make_subplots(cols=len(panels), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03)
    shown = _shown(labels["kept"].to_numpy(dtype=bool), known.to_numpy(), seed)
    clusters = list(clusters_of(table, labels, everything=True))
    named: set[str] = set()
    for column, name in enumerate(panels, start=1):
        for cluster in clusters:
            trace = _trace(table, cluster, cluster.rows[shown[cluster.rows]], sizes, labels, name)
            if trace is not None:
                trace.showlegend = cluster.name not in named
                named.add(cluster.name)
                figure.add_trace(trace, row=1, col=column)
        _, unit, form = _PANELS[name]
        figure.update_xaxes(title={"text": unit, "standoff": 8}, tickformat=form, zeroline=False, row=1, col=column)
    value = {"title": {"text": value_title(sizes)}, "tickformat": ".1%" if sizes.is_accuracy else "~g"}
    figure.update_yaxes(zeroline=False)
    figure.update_yaxes(value, row=1, col=1)
    figure.update_layout(new_figure().layout)
    figure.update_annotations(font={"size": 14})
    figure.update_layout(width=_SIZE[0] * len(panels), height=_SIZE[1], margin={"t": 40, "b": 90}, legend={"y": -0.36})
    return figure


def value_title(sizes: RealSize) -> str:
    """Name the quality on the vertical axis."""
    return "mean test accuracy" if sizes.is_accuracy else "mean test loss"


def _shown(kept: NDArray[np.bool_], known: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Mark the trials to draw, shape (n_trials,)."""
    order = np.random.default_rng(seed).permutation(len(kept))
    order = order[np.argsort(~kept[order], kind="stable")]
    chosen = np.zeros(len(kept), dtype=bool)
    chosen[order[known[order]][:MAX_POINTS]] = True
    return chosen


def _trace(
    table: ResultTable, cluster: Cluster, rows: NDArray[np.int64], sizes: RealSize, labels: pd.DataFrame, name: str
) -> go.Scatter | None:
    rows = rows[sizes.frame[name].notna().to_numpy()[rows]]
    if not len(rows):
        return None
    frame, kept = sizes.frame.iloc[rows], labels["kept"].to_numpy(dtype=bool)[rows]
    trials = table.ok.frame.iloc[rows]
    trace = cluster.trace({"x": frame[name], "y": frame["value"]}, size=8)
    trace["marker"] |= {"opacity": np.where(kept, _CLEAR, _FAINT).tolist()}
    look = {"customdata": trials["trial_id"].tolist(), "hovertext": _hovers(trials, frame, sizes, name), "legendgroup": cluster.name}
    return go.Scatter({**trace, **look})


def _hovers(trials: pd.DataFrame, frame: pd.DataFrame, sizes: RealSize, name: str) -> list[str]:
    """The hover texts: trial, study, what the panel shows, and the value."""
    title, unit, _ = _PANELS[name]
    texts = []
    for trial_id, study, x, y in zip(trials["trial_id"], trials["study"], frame[name], frame["value"], strict=True):
        size = f"{x:.4g} ms" if name.startswith("ms") else f"{x:,.0f} {unit}"
        value = f"{100 * y:.2f} %" if sizes.is_accuracy else f"{y:.4g}"
        of_study = f", {html.escape(study)}" if isinstance(study, str) else ""
        texts.append(f"<b>{html.escape(str(trial_id))}</b>{of_study}<br>{title.lower()}: {size}<br>{value_title(sizes)} {value}")
    return texts
