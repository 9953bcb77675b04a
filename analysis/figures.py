"""The pictures: the 3-D front, its projection, the 2-D front as a staircase, two objectives, many objectives.

Every figure takes a table and what `label_points` said about it. Each trace's `customdata` holds rows of
`table.ok.frame` and its `meta` the group and cluster, so that the report can filter the same figures in a browser.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.front import nondominated
from analysis.labels import DENSE, SPARSE, label_points
from analysis.point_style import SPARSITY_RATE, axis_title, cluster_name, hover_texts, marker_of
from analysis.table import SPARSITY_COLUMN, ResultTable

_ORTHOGRAPHIC = {"projection": {"type": "orthographic"}, "eye": {"x": 1.3, "y": 1.3, "z": 0.7}, "center": {"x": 0, "y": 0, "z": -0.06}}
_CUBE = {"x": 1.25, "y": 1.25, "z": 1.0}


def front_3d(table: ResultTable, labels: pd.DataFrame | None = None, z: str | None = None, everything: bool = False) -> go.Figure:
    """The front in three objectives: the first two task losses and sparsity.

    Args:
        table: at least three objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        z: column of the third axis, `objective.sparsity` or `sparsity_rate`; default: the sparsity objective, and the
            third objective where there is none.
        everything: also draw the points that the filter dropped.

    Returns:
        A figure with one trace a sparsity cluster, the k0 = 0 front (hidden until its legend entry is clicked when
        there are sparse points: it would stretch the axis), orthographic, keeping its view when redrawn.

    Raises:
        ValueError: fewer than three objectives.
    """
    columns = axis_columns(table)
    if len(columns) < 3:
        raise ValueError(f"front_3d expects three objectives, found {len(columns)}: {', '.join(columns)}")
    x, y, third = columns[0], columns[1], z or height_column(table)
    figure = _figure()
    for points in _clusters(table, labels, everything):
        position = {axis: points.frame[column] for axis, column in zip("xyz", (x, y, third), strict=True)}
        figure.add_trace(go.Scatter3d(**points.trace(position, size=5)))
    has_sparse = any(trace.meta["group"] == SPARSE and len(trace.customdata) for trace in figure.data)
    for trace in figure.data:
        if trace.meta["group"] == DENSE and has_sparse:
            trace.visible = "legendonly"
    axes = {f"{axis}axis": _axis(table, column) for axis, column in zip("xyz", (x, y, third), strict=True)}
    scene = {**axes, "camera": _ORTHOGRAPHIC, "uirevision": "keep", "aspectmode": "manual", "aspectratio": _CUBE}
    figure.update_layout(scene=scene, margin={"l": 0, "r": 0, "t": 0, "b": 44}, legend={"y": 0, "yanchor": "top"})
    return figure


def front_2d_projection(table: ResultTable, labels: pd.DataFrame | None = None, everything: bool = False) -> go.Figure:
    """The points of the 3-D front seen from above: the first two task losses, with the k0 = 0 front in black.

    Args:
        table: at least two task objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        everything: also draw the points that the filter dropped.

    Raises:
        ValueError: fewer than two objectives.

    Source: Hotegni, Berkemeier, Peitz, IJCNN 2024, Figure 2.
    """
    return _plane(table, axis_columns(table)[:2], _clusters(table, labels, everything))


def front_2d_staircase(table: ResultTable) -> go.Figure:
    """The non-dominated front of the first two task losses alone, as the staircase that bounds what it dominates.

    Trials with k0 > 0 and the others have one staircase each; the others' is black.

    Args:
        table: at least two task objectives.

    Raises:
        ValueError: fewer than two objectives.
    """
    x, y = _two(axis_columns(table)[:2])
    labels = label_points(table).assign(kept=False)
    stairs = []
    for group in (SPARSE, DENSE):
        rows = np.flatnonzero(labels["group"] == group)
        front = rows[nondominated(table.ok.values([x, y])[rows])]
        labels.loc[front, "kept"] = True
        corners = table.ok.frame.loc[front, [x, y]].sort_values([x, y])
        stairs.append(_staircase(corners, group))
    figure = _plane(table, [x, y], _clusters(table, labels, everything=False))
    figure.add_traces(stairs)
    return figure


def loss_against_sparsity(table: ResultTable, labels: pd.DataFrame | None = None, everything: bool = False) -> go.Figure:
    """The whole picture of a sweep with one task: its loss against sparsity (or the two objectives there are).

    Args:
        table: at least two objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        everything: also draw the points that the filter dropped.

    Raises:
        ValueError: fewer than two objectives.
    """
    columns = axis_columns(table)
    return _plane(table, [columns[-1], columns[0]], _clusters(table, labels, everything))


def parallel_objectives(table: ResultTable, labels: pd.DataFrame | None = None, everything: bool = False) -> go.Figure:
    """All objectives side by side, one line a trial, each axis scaled from its least to its largest value shown.

    Lines are ordinary scatter traces: plotly's parallel coordinates evaluate code, which the report's policy forbids.

    Args:
        table: any number of objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        everything: also draw the points that the filter dropped.
    """
    columns = axis_columns(table)
    clusters = list(_clusters(table, labels, everything))
    drawn = table.ok.frame.loc[[row for points in clusters for row in points.rows], columns]
    low, span = drawn.min(), (drawn.max() - drawn.min()).replace(0, 1)
    figure = _figure()
    for points in clusters:
        scaled = ((points.frame[columns] - low) / span).to_numpy()
        lines = np.hstack([scaled, np.full((len(scaled), 1), np.nan)])
        trace = points.trace({"y": pd.Series(lines.ravel())}, size=6)
        n_stops = len(columns) + 1  # the gap between two lines is a stop too
        trace |= {"x": [*range(len(columns)), None] * len(scaled), "mode": "lines+markers", "line": {"width": 1}}
        trace["customdata"] = np.repeat(points.rows, n_stops).tolist()
        trace["hovertext"] = [text for text in trace["hovertext"] for _ in range(n_stops)]
        figure.add_trace(go.Scatter(**trace))
    ticks = [axis_title(table, column) for column in columns]
    figure.update_layout(
        xaxis={"tickvals": list(range(len(columns))), "ticktext": ticks, "range": [-0.4, len(columns) - 0.6]},
        yaxis={"title": {"text": "least to largest"}, "tickvals": [0, 1], "ticktext": ["least", "largest"]},
    )
    return figure


def axis_columns(table: ResultTable) -> list[str]:
    """Columns to draw: task objectives first, sparsity last."""
    sparsity = table.sparsity_objective
    return [*(o["column"] for o in table.task_objectives), *([sparsity["column"]] if sparsity else [])]


def height_column(table: ResultTable) -> str:
    """What the 3-D front draws upwards: sparsity, or the third objective of a sweep without it."""
    columns = axis_columns(table)
    return columns[2] if table.sparsity_objective is None else columns[-1]


class _Cluster:
    """Points that share a colour, a symbol and a legend entry."""

    def __init__(self, table: ResultTable, group: str, cluster: int, rows: NDArray[np.int64], rates: "pd.Series[float]") -> None:
        self.group = group
        self.cluster = cluster
        self.rows = rows
        self.frame = table.ok.frame.iloc[rows]
        self.name = cluster_name(table, group, cluster, rates)
        self._hover = hover_texts(table, self.frame)

    def trace(self, position: dict[str, "pd.Series[float]"], size: int) -> dict[str, Any]:
        """Keyword arguments of a scatter trace at these coordinates."""
        marker = marker_of(self.group, self.cluster) | {"size": size, "opacity": 0.9}
        return {
            **{axis: values.tolist() for axis, values in position.items()},
            "mode": "markers",
            "name": self.name,
            "marker": marker,
            "hovertext": self._hover,
            "hoverinfo": "text",
            "customdata": self.rows.tolist(),
            "meta": {"group": self.group, "cluster": self.cluster},
        }


def _clusters(table: ResultTable, labels: pd.DataFrame | None, everything: bool) -> Iterator[_Cluster]:
    """Sparse clusters by sparsity, then the dense points; a cluster keeps its name when the filter drops points of it."""
    labels = label_points(table) if labels is None else labels
    rates = table.ok.frame["sparsity_rate"]
    groups, numbers, kept = labels["group"].to_numpy(), labels["cluster"].to_numpy(), labels["kept"].to_numpy(dtype=bool)
    for group, cluster in sorted(set(zip(groups, numbers, strict=True))):
        rows = np.flatnonzero((groups == group) & (numbers == cluster))
        shown = rows if everything else rows[kept[rows]]
        if len(shown):
            yield _Cluster(table, str(group), int(cluster), shown, rates.iloc[rows])


def _plane(table: ResultTable, columns: Sequence[str], clusters: Iterator[_Cluster]) -> go.Figure:
    x, y = _two(columns)
    figure = _figure()
    for points in clusters:
        figure.add_trace(go.Scatter(**points.trace({"x": points.frame[x], "y": points.frame[y]}, size=9)))
    figure.update_layout(xaxis=_axis(table, x), yaxis=_axis(table, y))
    return figure


def _two(columns: Sequence[str]) -> tuple[str, str]:
    if len(columns) < 2:
        raise ValueError(f"a 2-D front expects two objectives, found {len(columns)}: {', '.join(columns)}")
    return columns[0], columns[1]


def _staircase(corners: pd.DataFrame, group: str) -> go.Scatter:
    x, y = corners.columns
    return go.Scatter(
        x=corners[x].tolist(),
        y=corners[y].tolist(),
        mode="lines",
        line={"shape": "hv", "width": 1.5, "color": "#000000" if group == DENSE else "#7f7f7f"},
        name="front, k0 = 0" if group == DENSE else "front, k0 > 0",
        hoverinfo="skip",
        customdata=[],
        meta={"group": group, "cluster": None},
    )


def _axis(table: ResultTable, column: str) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": axis_title(table, column)}}
    if column == SPARSITY_RATE:
        axis["tickformat"] = ".0%"
    if column == SPARSITY_COLUMN:
        axis["tickformat"] = "~g"
    return axis


def _figure() -> go.Figure:
    layout = {"template": "none", "uirevision": "keep", "margin": {"l": 60, "r": 16, "t": 16, "b": 52}, "hovermode": "closest"}
    return go.Figure(layout={**layout, "legend": {"orientation": "h", "y": -0.14, "yanchor": "top", "x": 0}, "showlegend": True})
