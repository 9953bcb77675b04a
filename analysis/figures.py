"""The pictures of a front in two or three objectives: in space, from above, as a staircase, loss against sparsity.

Every figure takes a table and what `label_points` said about it. Each trace's `customdata` holds rows of
`table.ok.frame` and its `meta` the group and cluster, so that the report can filter the same figures in a browser. Where
the exact front is known it is drawn first, behind the points; its trace holds no row.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figure_parts import Cluster, axis_columns, axis_of, clusters_of, exact_front, height_column, new_figure, pair_columns, two_of
from analysis.front import nondominated
from analysis.labels import DENSE, SPARSE, label_points
from analysis.table import ResultTable

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
    figure = new_figure()
    if exact := exact_front(table, (x, y, third)):
        figure.add_trace(go.Scatter3d(**exact))
    for points in clusters_of(table, labels, everything):
        position = {axis: points.frame[column] for axis, column in zip("xyz", (x, y, third), strict=True)}
        figure.add_trace(go.Scatter3d(**points.trace(position, size=5)))
    has_sparse = any(trace.meta["group"] == SPARSE and len(trace.customdata) for trace in figure.data)
    for trace in figure.data:
        if trace.meta["group"] == DENSE and has_sparse:
            trace.visible = "legendonly"
    axes = {f"{axis}axis": axis_of(table, column) for axis, column in zip("xyz", (x, y, third), strict=True)}
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
    return _plane(table, axis_columns(table)[:2], clusters_of(table, labels, everything))


def front_2d_staircase(table: ResultTable) -> go.Figure:
    """The non-dominated front of the first two task losses alone, as the staircase that bounds what it dominates.

    Trials with k0 > 0 and the others have one staircase each; the others' is black. Without a sparsity objective there is
    one.

    Args:
        table: at least two task objectives.

    Raises:
        ValueError: fewer than two objectives.
    """
    x, y = two_of(axis_columns(table)[:2])
    labels = label_points(table).assign(kept=False)
    stairs = []
    for group in (SPARSE, DENSE) if table.sparsity_objective else (SPARSE,):
        rows = np.flatnonzero(labels["group"] == group)
        front = rows[nondominated(table.ok.values([x, y])[rows])]
        labels.loc[front, "kept"] = True
        corners = table.ok.frame.loc[front, [x, y]].sort_values([x, y])
        name = f"front, k0 {'= 0' if group == DENSE else '> 0'}" if table.sparsity_objective else "front"
        stairs.append(_staircase(corners, group, name))
    figure = _plane(table, [x, y], clusters_of(table, labels, everything=False))
    figure.add_traces(stairs)
    return figure


def loss_against_sparsity(table: ResultTable, labels: pd.DataFrame | None = None, everything: bool = False) -> go.Figure:
    """The whole picture of a sweep with one task: its loss against sparsity; without sparsity the second objective against the first.

    Args:
        table: at least two objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        everything: also draw the points that the filter dropped.

    Raises:
        ValueError: fewer than two objectives.
    """
    return _plane(table, pair_columns(table), clusters_of(table, labels, everything))


def _plane(table: ResultTable, columns: Sequence[str], clusters: Iterator[Cluster]) -> go.Figure:
    x, y = two_of(columns)
    figure = new_figure()
    if exact := exact_front(table, (x, y)):
        figure.add_trace(go.Scatter(**exact))
    for points in clusters:
        figure.add_trace(go.Scatter(**points.trace({"x": points.frame[x], "y": points.frame[y]}, size=9)))
    figure.update_layout(xaxis=axis_of(table, x), yaxis=axis_of(table, y))
    return figure


def _staircase(corners: pd.DataFrame, group: str, name: str) -> go.Scatter:
    x, y = corners.columns
    return go.Scatter(
        x=corners[x].tolist(),
        y=corners[y].tolist(),
        mode="lines",
        line={"shape": "hv", "width": 1.5, "color": "#000000" if group == DENSE else "#7f7f7f"},
        name=name,
        hoverinfo="skip",
        customdata=[],
        meta={"group": group, "cluster": None},
    )
