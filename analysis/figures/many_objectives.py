"""Figures of fronts with more than three objectives: all objectives side by side, and every pair of objectives."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.base import clusters_of, exact_front, new_figure
from analysis.figures.style import axis_title, short_title
from analysis.results.columns import SPARSITY_OBJECTIVE
from analysis.results.table import ResultTable, axis_columns

MAX_PAIRED = 6
"""Largest number of objectives in a scatter matrix; a page has room for fifteen pairs at most."""
_GAP = 0.03


def parallel_objectives(table: ResultTable, labels: pd.DataFrame | None = None, everything: bool = False) -> go.Figure:
    """Draw all objectives side by side, one line for each trial, each axis scaled to the range of the values shown.

    Lines are ordinary scatter traces: plotly's parallel coordinates evaluate code, which the report's policy forbids.

    Args:
        table: a table with any number of objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        everything: also draw the points that the filter dropped.
    """
    columns = axis_columns(table)
    clusters = list(clusters_of(table, labels, everything))
    drawn = table.ok.frame.loc[[row for points in clusters for row in points.rows], columns]
    low, span = drawn.min(), (drawn.max() - drawn.min()).replace(0, 1)
    figure = new_figure()
    for points in clusters:
        scaled = ((points.frame[columns] - low) / span).to_numpy()
        lines = np.hstack([scaled, np.full((len(scaled), 1), np.nan)])
        trace = points.trace({"y": pd.Series(lines.ravel())}, size=6)
        n_stops = len(columns) + 1  # the gap between two lines counts as a stop
        trace |= {"x": [*range(len(columns)), None] * len(scaled), "mode": "lines+markers", "line": {"width": 1}}
        trace["customdata"] = np.repeat(points.rows, n_stops).tolist()
        trace["hovertext"] = [text for text in trace["hovertext"] for _ in range(n_stops)]
        figure.add_trace(go.Scatter(**trace))
    ticks = [axis_title(table, column) for column in columns]
    figure.update_layout(
        xaxis={"tickvals": list(range(len(columns))), "ticktext": ticks, "range": [-0.4, len(columns) - 0.6]},
        yaxis={"title": {"text": "smallest to largest"}, "tickvals": [0, 1], "ticktext": ["smallest", "largest"]},
    )
    return figure


def scatter_matrix(table: ResultTable, labels: pd.DataFrame | None = None, everything: bool = False) -> go.Figure:
    """Draw every pair of objectives: the lower half of a matrix with a column and a row for each objective.

    Panels are ordinary scatter traces that share their axes: plotly's splom draws with WebGL code that it evaluates,
    which the report's policy forbids.

    Args:
        table: a table with at least two objectives; if there are more than `MAX_PAIRED`, the manifest's first ones are shown, and a note
            says so.
        labels: what `label_points` returned for the table; default: the exact front.
        everything: also draw the points that the filter dropped.

    Raises:
        ValueError: fewer than two objectives.
    """
    columns = paired_columns(table)
    if len(columns) < 2:
        raise ValueError(f"scatter_matrix expects two objectives, found {len(columns)}: {', '.join(columns)}")
    figure = new_figure()
    clusters = list(clusters_of(table, labels, everything))
    for x, y, axes in _panels(columns):
        once: dict[str, Any] = {**axes, "showlegend": axes == {"xaxis": "x", "yaxis": "y"}}
        if exact := exact_front(table, (x, y)):
            figure.add_trace(go.Scatter(**exact, **once, legendgroup="exact"))
        for points in clusters:
            trace = points.trace({"x": points.frame[x], "y": points.frame[y]}, size=5)
            figure.add_trace(go.Scatter(**trace, **once, legendgroup=points.name))
    figure.update_layout(**_matrix_axes(table, columns))
    n_objectives = len(table.objectives)
    if n_objectives > len(columns):
        text = f"the first {len(columns)} of {n_objectives} objectives"
        figure.add_annotation(text=text, showarrow=False, xref="paper", yref="paper", x=1, y=1, xanchor="right", yanchor="top")
    return figure


def paired_columns(table: ResultTable) -> list[str]:
    """List the columns of a scatter matrix: the manifest's first `MAX_PAIRED` objectives, sparsity last."""
    first = {o["column"] for o in table.objectives[:MAX_PAIRED]}
    return [column for column in axis_columns(table) if column in first]


def _panels(columns: list[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (x column, y column, the trace's axes), row by row from the top."""
    for i in range(1, len(columns)):
        for j in range(i):
            yield columns[j], columns[i], {"xaxis": _axis_id("x", j + 1), "yaxis": _axis_id("y", i)}


def _axis_id(letter: str, number: int) -> str:
    return letter if number == 1 else f"{letter}{number}"


def _matrix_axes(table: ResultTable, columns: list[str]) -> dict[str, Any]:
    """Lay out the axes: column j has x axis j + 1 below its lowest panel, and row i has y axis i to the left of its first panel."""
    n = len(columns) - 1
    size = (1 - _GAP * (n - 1)) / n
    axes: dict[str, Any] = {}
    for i in range(n):
        start = i * (size + _GAP)
        for letter, column in (("x", columns[i]), ("y", columns[i + 1])):
            low = start if letter == "x" else max(0.0, 1 - start - size)
            anchor = _axis_id("y", n) if letter == "x" else "x"
            axis = {"domain": [low, min(1.0, low + size)], "anchor": anchor, "nticks": 4, "title": {"text": short_title(table, column)}}
            axes[f"{letter}axis{'' if i == 0 else i + 1}"] = axis | ({"tickformat": "~g"} if column == SPARSITY_OBJECTIVE else {})
    return axes
