"""Cosine similarities between the rows of a trial's pruned layers (Figure 7 of the paper)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from analysis.figures.base import new_figure
from analysis.formatting import preference_text
from analysis.measures.summary import summary
from analysis.results.table import ResultsError, ResultTable
from analysis.results.weights import PrunedLayer, find_trial, read_pruned_layers


def similarity(rows: ArrayLike) -> NDArray[np.float64]:
    """Compute S(i, j) = w_i . w_j / max(|w_i|^2, |w_j|^2): 1 for equal rows, -1 for opposite ones.

    Args:
        rows: shape (n_rows, row_length).

    Returns:
        Shape (n_rows, n_rows), symmetric, in [-1, 1]; NaN in the rows and columns of rows of zeros.

    Source: Zhang et al., ICLR 2018, section 3.2.
    """
    matrix = np.asarray(rows, dtype=np.float64)
    inner = matrix @ matrix.T
    squares = np.diag(inner)
    with np.errstate(invalid="ignore", divide="ignore"):
        similarities = np.clip(inner / np.maximum(squares[:, None], squares[None, :]), -1, 1)
    suppressed = (matrix == 0).all(axis=1)
    similarities[suppressed, :] = np.nan
    similarities[:, suppressed] = np.nan
    return similarities


MAX_ROWS = 320
"""Largest number of surviving rows in a map; in larger layers only every second, third, ... row is shown."""
_PANEL, _GAP, _SIDE = 300, 70, 110  # pixels
_N_COLUMNS = 3
_SUPPRESSED = "#F3D9A4"
_BAND = 0.07
"""Width of the band of suppressed rows, as a fraction of the others."""
_DIGITS = 2
_N_TICKS = 5


def similarity_figure(table: ResultTable, trial: str | None = None) -> go.Figure:
    """Draw one map for each pruned layer: white means equal rows, black means opposite rows, and suppressed rows are tinted.

    Titles give component | kind | position in the component | sparsity rate of the layer; colours range from -1 to 1 in every map. One
    tinted band represents all suppressed rows, so that the others remain visible; the ticks are row numbers. A layer with more than
    `MAX_ROWS` surviving rows shows equally spaced rows, and its title says so.

    Args:
        table: the table of the sweep.
        trial: a trial's id or a prefix of it; None selects the sparsest model close to the best dense one (`summary`).

    Raises:
        ResultsError: the trial does not exist, or its weights cannot be read.

    Source: Hotegni, Berkemeier, Peitz, IJCNN 2024, Figure 7.
    """
    trial_id = _default_trial(table) if trial is None else find_trial(table, trial)
    layers = read_pruned_layers(table, trial_id)
    n_columns = min(len(layers), _N_COLUMNS)
    n_rows = -(-len(layers) // n_columns)
    width, height = n_columns * (_PANEL + _GAP) + _SIDE, n_rows * (_PANEL + _GAP) + 20
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=[_title(layer) for layer in layers],
        horizontal_spacing=_GAP / width,
        vertical_spacing=_GAP / height if n_rows > 1 else 0,
    )
    for i, layer in enumerate(layers):
        row, column = divmod(i, n_columns)
        figure.add_trace(_heatmap(layer), row=row + 1, col=column + 1)
    figure.update_layout(new_figure().layout)
    for i, layer in enumerate(layers):
        name = "" if i == 0 else str(i + 1)
        figure.layout[f"xaxis{name}"].update(_axis(layer))
        figure.layout[f"yaxis{name}"].update({**_axis(layer), "autorange": "reversed", "scaleanchor": f"x{name}", "scaleratio": 1})
    figure.update_annotations(font={"size": 12})
    figure.update_layout(
        coloraxis={
            "cmin": -1,
            "cmax": 1,
            "colorscale": [[0, "#000000"], [1, "#ffffff"]],
            "colorbar": {"title": {"text": "similarity"}, "len": 0.9},
        },
        plot_bgcolor=_SUPPRESSED,
        showlegend=False,
        width=width,
        height=height,
        margin={"l": 44, "r": 20, "t": 56, "b": 36},
        meta={"caption": _caption(table, trial_id, layers)},
    )
    return figure


def _default_trial(table: ResultTable) -> str:
    facts = summary(table)
    best = facts["best_sparse"] or facts["best_dense"]
    if best is None:
        raise ResultsError(f"{table.place}: no best model to show\n  hint: name a trial with --trial")
    return str(best["trial_id"])


@dataclass(frozen=True)
class _Map:
    """The part of a layer that is drawn."""

    rows: NDArray[np.int64]
    """The surviving rows that are shown, in the layer's order."""
    step: int
    """One out of this many surviving rows is shown."""
    n_surviving: int
    n_band: int
    """Width of the band that represents all suppressed rows, in rows; 0 without suppressed rows."""


def _map_of(layer: PrunedLayer) -> _Map:
    survivors = np.flatnonzero((layer.rows != 0).any(axis=1))
    step = max(1, -(-len(survivors) // MAX_ROWS))
    rows = survivors[::step]
    n_band = 0 if len(survivors) == len(layer.rows) else max(1, round(_BAND * len(rows)))
    return _Map(rows, step, len(survivors), n_band)


def _heatmap(layer: PrunedLayer) -> go.Heatmap:
    shown = _map_of(layer)
    n = len(shown.rows) + shown.n_band
    values = np.full((n, n), np.nan)
    values[: len(shown.rows), : len(shown.rows)] = similarity(layer.rows[shown.rows]).round(_DIGITS)
    z = [[None if np.isnan(value) else value for value in line] for line in values.tolist()]
    return go.Heatmap(z=z, coloraxis="coloraxis", hovertemplate="%{z:.2f}<extra></extra>", hoverongaps=False, meta=layer.name)


def _axis(layer: PrunedLayer) -> dict[str, Any]:
    """Return an axis whose ticks are row numbers, starting at 1, with `zero` at the band of suppressed rows."""
    shown = _map_of(layer)
    n = len(shown.rows)
    places = np.unique(np.linspace(0, n - 1, min(n, _N_TICKS)).round().astype(np.int64)).tolist() if n else []
    texts = [str(shown.rows[place] + 1) for place in places]
    if shown.n_band:
        places, texts = (
            [*places[: -1 if len(places) > 2 else None], n + (shown.n_band - 1) / 2],
            [*texts[: -1 if len(texts) > 2 else None], "zero"],
        )
    return {"tickvals": places, "ticktext": texts, "showgrid": False, "zeroline": False, "constrain": "domain"}


def _title(layer: PrunedLayer) -> str:
    shown = _map_of(layer)
    sampled = "" if shown.step == 1 else f", one of {shown.step} is shown"
    name = f"{layer.component} | {layer.kind} | {layer.position} | {100 * layer.sparsity:.1f} %"
    return f"{name}<br><sup>{shown.n_surviving:,} of {len(layer.rows):,} rows survive{sampled}</sup>"


def _caption(table: ResultTable, trial_id: str, layers: list[PrunedLayer]) -> str:
    row = table.ok.frame[table.ok.frame["trial_id"] == trial_id].iloc[0]
    sampled = any(_map_of(layer).step > 1 for layer in layers)
    return (
        f"Trial {trial_id}, k = {preference_text(row['k'])}, SR {100 * row['sparsity_rate']:.1f} %. Similarity of the rows of each layer "
        "that GrOWL may prune, w_i . w_j / max(|w_i|^2, |w_j|^2): white is equal, black opposite. The rows that survive are in the "
        "layer's order; the tinted band represents all suppressed rows, which are zero. "
        "Titles: component | kind | position in the component | sparsity rate of the layer."
        + (f" Layers with more than {MAX_ROWS} surviving rows are down-sampled to equally spaced ones." if sampled else "")
    )
