"""The table beside the paper's Figure 2 as a figure: one line a sparsity cluster of the front, with its best model."""

import plotly.graph_objects as go

from analysis.figure_parts import new_figure
from analysis.labels import DENSE, SPARSE, cluster_table, label_points
from analysis.plotly_text import as_text
from analysis.point_style import cluster_name, marker_of, preference_text
from analysis.table import ResultTable

_GLYPHS = {"circle": "●", "diamond": "◆", "square": "■", "cross": "✚", "circle-open": "○", "diamond-open": "◇", "square-open": "□"}
_ROW, _WIDTH = 28, 820  # pixels


def cluster_figure(table: ResultTable) -> go.Figure:
    """The table alone. Models are chosen on validation data and described on test data."""
    figure = new_figure()
    figure.add_trace(cluster_trace(table))
    n_lines = len(figure.data[0].cells.values[0])
    figure.update_layout(margin={"l": 8, "r": 8, "t": 8, "b": 8}, width=_WIDTH, height=_ROW * (n_lines + 2))
    return figure


def cluster_trace(table: ResultTable, is_narrow: bool = False) -> go.Table:
    """The trace; a narrow one leaves the trials' ids out."""
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
        "Best k": [preference_text(k, has_sparsity) for k in lines["k"]],
    }
    if lines["accuracy"].notna().any():
        columns["Test accuracy"] = [f"{100 * value:.2f} %" if value == value else "–" for value in lines["accuracy"]]
    for column in (name for name in lines if str(name).startswith("metric.test.")):
        columns[as_text(str(column).removeprefix("metric.test."))] = [f"{value:.4g}" for value in lines[column]]
    if not is_narrow:
        columns["Trial"] = [as_text(trial) for trial in lines["trial_id"]]
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
