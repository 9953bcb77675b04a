"""Building blocks of the figures: axes, the points of a cluster, the exact front, an empty figure."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analysis.figures.style import axis_title, cluster_name, hover_texts, marker_of
from analysis.measures.labels import label_points
from analysis.results.columns import PARAMETERS_KEPT, ROWS_KEPT, SPARSITY_OBJECTIVE, SPARSITY_RATE
from analysis.results.table import ResultTable

EXACT_FRONT = "exact"
"""`meta["group"]` of the exact front's trace, which contains no trials."""
EXACT_FRONT_NAME = "exact front"
_EXACT_COLOUR = "#8c8c8c"


class Cluster:
    """Points that share a colour, a symbol and a legend entry."""

    def __init__(self, table: ResultTable, group: str, cluster: int, rows: NDArray[np.int64], rates: "pd.Series[float]") -> None:
        self.group = group
        self.cluster = cluster
        self.rows = rows
        self.frame = table.ok.frame.iloc[rows]
        self.name = cluster_name(table, group, cluster, rates)
        self._marker = marker_of(group, cluster, table.sparsity_objective is not None)
        self._hover = hover_texts(table, self.frame)

    def trace(self, position: dict[str, "pd.Series[float]"], size: int) -> dict[str, Any]:
        """Return the keyword arguments of a scatter trace at these coordinates.

        Args:
            position: axis (`x`, `y` or `z`) -> coordinates of the cluster's points.
            size: size of the markers, in pixels.
        """
        return {
            **{axis: values.tolist() for axis, values in position.items()},
            "mode": "markers",
            "name": self.name,
            "marker": self._marker | {"size": size, "opacity": 0.9},
            "hovertext": self._hover,
            "hoverinfo": "text",
            "customdata": self.rows.tolist(),
            "meta": {"group": self.group, "cluster": self.cluster},
        }


def clusters_of(table: ResultTable, labels: pd.DataFrame | None, everything: bool) -> Iterator[Cluster]:
    """Yield the sparse clusters in order of sparsity, then the dense points.

    A cluster keeps its name if the filter drops some of its points.

    Args:
        table: any table.
        labels: what `label_points` returned for the table; None for the exact front.
        everything: also include the points that the filter dropped.
    """
    labels = label_points(table) if labels is None else labels
    rates = table.ok.frame["sparsity_rate"]
    groups, numbers, kept = labels["group"].to_numpy(), labels["cluster"].to_numpy(), labels["kept"].to_numpy(dtype=bool)
    for group, cluster in sorted(set(zip(groups, numbers, strict=True))):
        rows = np.flatnonzero((groups == group) & (numbers == cluster))
        shown = rows if everything else rows[kept[rows]]
        if len(shown):
            yield Cluster(table, str(group), int(cluster), shown, rates.iloc[rows])


def exact_front(table: ResultTable, columns: Sequence[str]) -> dict[str, Any] | None:
    """Return the keyword arguments of the trace that draws the exact front in two or three of its objectives.

    Args:
        table: a table, with or without a `true_front`.
        columns: the columns on the axes x, y (and z).

    Returns:
        A thin line for a sweep with two objectives, small light markers for more; it has no hover text and belongs to no trial. None if
        there is no exact front, or if an axis shows something other than an objective.
    """
    names = [o["column"] for o in table.objectives]
    if table.true_front is None or not set(columns) <= set(names):
        return None
    trace: dict[str, Any] = {axis: table.true_front[:, names.index(column)].tolist() for axis, column in zip("xyz", columns, strict=False)}
    look: dict[str, Any] = {"mode": "lines", "line": {"width": 1.2, "color": _EXACT_COLOUR}}
    if len(names) > 2:
        look = {"mode": "markers", "marker": {"size": 2 if len(columns) > 2 else 3, "color": _EXACT_COLOUR, "opacity": 0.45}}
    meta = {"group": EXACT_FRONT, "cluster": None}
    return {**trace, **look, "name": EXACT_FRONT_NAME, "hoverinfo": "skip", "customdata": [], "meta": meta}


def axis_of(table: ResultTable, column: str) -> dict[str, Any]:
    """Return the title and number format of an axis."""
    axis: dict[str, Any] = {"title": {"text": axis_title(table, column)}}
    if column in (SPARSITY_RATE, ROWS_KEPT, PARAMETERS_KEPT):
        axis["tickformat"] = ".0%"
    if column == SPARSITY_OBJECTIVE:
        axis["tickformat"] = "~g"
    return axis


def new_figure() -> go.Figure:
    """Return an empty figure in the common style."""
    layout = {"template": "none", "uirevision": "keep", "margin": {"l": 60, "r": 16, "t": 16, "b": 52}, "hovermode": "closest"}
    return go.Figure(layout={**layout, "legend": {"orientation": "h", "y": -0.14, "yanchor": "top", "x": 0}, "showlegend": True})
