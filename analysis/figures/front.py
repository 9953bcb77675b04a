"""Figures of the front: in 3-D, seen from above, by sparsity cluster, and sparse against dense (Figures 2 and 3 of the paper)."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.figures.base import Cluster, axis_of, clusters_of, exact_front, new_figure
from analysis.figures.style import COLOURS, DENSE_COLOUR, cluster_name, hover_texts, marker_of
from analysis.formatting import as_text, preference_text
from analysis.measures.labels import DENSE, SPARSE, cluster_table, label_points
from analysis.pareto.dominance import nondominated
from analysis.results.columns import is_of, task_of
from analysis.results.table import ResultTable, axis_columns, height_column, pair_columns, two_of

_ORTHOGRAPHIC = {"projection": {"type": "orthographic"}, "eye": {"x": 1.3, "y": 1.3, "z": 0.7}, "center": {"x": 0, "y": 0, "z": -0.06}}
_CUBE = {"x": 1.25, "y": 1.25, "z": 1.0}


def front_3d(table: ResultTable, labels: pd.DataFrame | None = None, z: str | None = None, everything: bool = False) -> go.Figure:
    """Draw the front in three objectives: the first two task losses and sparsity.

    Args:
        table: a table with at least three objectives.
        labels: what `label_points` returned for the table; default: the exact front.
        z: column of the third axis, `objective.sparsity` or `sparsity_rate`; default: the sparsity objective, and the
            third objective where there is none.
        everything: also draw the points that the filter dropped.

    Returns:
        An orthographic figure with one trace for each sparsity cluster and one for the k0 = 0 front, which is hidden until its
        legend entry is clicked if there are sparse points, because it would stretch the axis.

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
    """Draw the 3-D front seen from above: the first two task losses, with the k0 = 0 front in black.

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
    """Draw the non-dominated front of only the first two task losses, as the staircase that bounds the dominated region.

    Trials with k0 > 0 and all others have one staircase each; the staircase of the others is black. Without a sparsity objective there is
    only one staircase.

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
    """Draw a sweep with one task as loss against sparsity; without a sparsity objective, draw the second objective against the first.

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


_GLYPHS = {"circle": "●", "diamond": "◆", "square": "■", "cross": "✚", "circle-open": "○", "diamond-open": "◇", "square-open": "□"}
_ROW, _WIDTH = 28, 820  # pixels


def cluster_figure(table: ResultTable) -> go.Figure:
    """Draw the table of sparsity clusters. Models are chosen on validation data and described on test data."""
    figure = new_figure()
    figure.add_trace(cluster_trace(table))
    n_lines = len(figure.data[0].cells.values[0])
    figure.update_layout(margin={"l": 8, "r": 8, "t": 8, "b": 8}, width=_WIDTH, height=_ROW * (n_lines + 2))
    return figure


def cluster_trace(table: ResultTable, is_narrow: bool = False) -> go.Table:
    """Return the table as a trace; a narrow one omits the trial ids."""
    labels = label_points(table)
    lines = cluster_table(table, labels)
    groups = [DENSE if cluster < 0 and table.sparsity_objective is not None else SPARSE for cluster in lines["cluster"]]
    markers = [
        marker_of(group, int(cluster), table.sparsity_objective is not None)
        for group, cluster in zip(groups, lines["cluster"], strict=True)
    ]
    names = []
    for group, cluster in zip(groups, lines["cluster"], strict=True):
        rates = table.ok.frame["sparsity_rate"][((labels["cluster"] == cluster) & (labels["group"] == group)).to_numpy()]
        names.append(cluster_name(table, group, int(cluster), rates))
    has_sparsity = table.sparsity_objective is not None
    columns = {
        "": [_GLYPHS.get(str(marker["symbol"]), "●") for marker in markers],
        "Cluster": names,
        "Points": [str(n) for n in lines["n_points"]],
        "Best k": [
            "–" if trial is None else preference_text(k, has_sparsity) for trial, k in zip(lines["trial_id"], lines["k"], strict=True)
        ],
    }
    if lines["accuracy"].notna().any():
        columns["Test accuracy"] = [f"{100 * value:.2f} %" if value == value else "–" for value in lines["accuracy"]]
    for column in (name for name in lines if is_of("metric", str(name), "test")):
        columns[as_text(task_of(str(column)))] = [f"{value:.4g}" for value in lines[column]]
    if not is_narrow:
        columns["Trial"] = ["–" if trial is None else as_text(trial) for trial in lines["trial_id"]]
    colours = [[str(marker["color"]) for marker in markers], *[["#15181c"] * len(lines)] * (len(columns) - 1)]
    widths = {"": 0.25, "Cluster": 1.2, "Points": 0.55, "Best k": 1.5, "Trial": 1.3}
    return go.Table(
        header={
            "values": [f"<b>{title}</b>" for title in columns],
            "fill": {"color": "#eef1f4"},
            "line": {"color": "#dfe3e8"},
            "align": "left",
            "height": _ROW,
        },
        cells={
            "values": list(columns.values()),
            "font": {"color": colours},
            "fill": {"color": "#ffffff"},
            "line": {"color": "#dfe3e8"},
            "align": "left",
            "height": _ROW,
        },
        columnwidth=[widths.get(title, 1.0) for title in columns],
    )


_SIZE = {"width": 1500, "height": 520}  # pixels


def front_panels(table: ResultTable) -> go.Figure:
    """Draw the 3-D front, its projection and the table of clusters side by side with one legend.

    Raises:
        ValueError: fewer than three objectives.

    Source: Hotegni, Berkemeier, Peitz, IJCNN 2024, Figure 2.
    """
    space, plane = front_3d(table), front_2d_projection(table)
    kinds = [{"type": "scene"}, {"type": "xy"}, {"type": "table"}]
    figure = make_subplots(rows=1, cols=3, specs=[kinds], column_widths=[0.36, 0.30, 0.34], horizontal_spacing=0.04)
    drawn = {trace.name for trace in plane.data}
    for trace in space.data:
        if trace.visible != "legendonly":
            figure.add_trace(trace.update(showlegend=trace.name not in drawn, legendgroup=trace.name), row=1, col=1)
    for trace in plane.data:
        figure.add_trace(trace.update(legendgroup=trace.name), row=1, col=2)
    figure.add_trace(cluster_trace(table, is_narrow=True), row=1, col=3)
    figure.update_layout(new_figure().layout)
    figure.update_scenes(**{name: space.layout.scene[name] for name in ("xaxis", "yaxis", "zaxis", "camera", "aspectmode", "aspectratio")})
    figure.update_xaxes(plane.layout.xaxis)
    figure.update_yaxes(plane.layout.yaxis)
    figure.update_layout(**_SIZE, margin={"l": 8, "r": 12, "t": 16, "b": 60})
    return figure


_SPARSE_COLOUR = COLOURS[1]


def sparse_and_dense(table: ResultTable) -> go.Figure:
    """Draw both fronts projected onto the first two task losses: k0 > 0 in vermilion, k0 = 0 in black.

    The trials with k0 > 0 are non-dominated in all objectives, the others in the task losses.

    Raises:
        ValueError: fewer than two objectives, or no sparsity objective.

    Source: Hotegni, Berkemeier, Peitz, IJCNN 2024, Figure 3.
    """
    if table.sparsity_objective is None:
        raise ValueError("sparse_and_dense expects a sparsity objective, found none")
    x, y = two_of([*(o["column"] for o in table.task_objectives[:2]), *axis_columns(table)[-1:]])
    labels = label_points(table)
    figure = new_figure()
    for group, colour, symbol, name in ((SPARSE, _SPARSE_COLOUR, "diamond", "k0 > 0"), (DENSE, DENSE_COLOUR, "circle", "k0 = 0")):
        frame = table.ok.frame[(labels["kept"] & (labels["group"] == group)).to_numpy()]
        figure.add_trace(
            go.Scatter(
                x=frame[x].tolist(),
                y=frame[y].tolist(),
                mode="markers",
                name=f"{name}, {len(frame)} points",
                marker={"color": colour, "symbol": symbol, "size": 9, "opacity": 0.85},
                hovertext=hover_texts(table, frame),
                hoverinfo="text",
                customdata=frame.index.tolist(),
                meta={"group": group},
            )
        )
    figure.update_layout(xaxis=axis_of(table, x), yaxis=axis_of(table, y))
    return figure
