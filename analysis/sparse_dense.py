"""The paper's Figure 3: what sparsity does to the task losses, all trials with k0 > 0 in one colour."""

import plotly.graph_objects as go

from analysis.figure_parts import axis_columns, axis_of, new_figure, two_of
from analysis.labels import DENSE, SPARSE, label_points
from analysis.point_style import COLOURS, DENSE_COLOUR, hover_texts
from analysis.table import ResultTable

_SPARSE_COLOUR = COLOURS[1]


def sparse_and_dense(table: ResultTable) -> go.Figure:
    """The projection of both fronts onto the first two task losses: k0 > 0 in vermilion, k0 = 0 in black.

    Trials with k0 > 0 are those that no other one dominates in all objectives, the others those that no other one
    dominates in the task losses.

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
