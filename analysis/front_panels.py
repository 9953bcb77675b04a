"""The paper's Figure 2 as one picture: the front in space, from above, and the table of its clusters."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.cluster_figure import cluster_trace
from analysis.figure_parts import new_figure
from analysis.figures import front_2d_projection, front_3d
from analysis.table import ResultTable

_SIZE = {"width": 1500, "height": 520}  # pixels


def front_panels(table: ResultTable) -> go.Figure:
    """Three panels that share one legend.

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
