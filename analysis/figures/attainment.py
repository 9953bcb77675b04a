"""Attainment figures: the surfaces of each study over its seeds, and where one sweep's fronts attain more than another's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analysis.figures.base import axis_of, new_figure
from analysis.figures.style import COLOURS
from analysis.formatting import as_text
from analysis.measures.attainment import attainment_columns, attainment_surfaces
from analysis.pareto.attainment import PERCENTILES, AttainmentDifference
from analysis.results.table import ResultTable

ATTAINMENT_CAPTION = (
    "Each line bounds what at least a share of the seeds attains: 50 % (solid) is what a typical seed reaches, 25 % (dotted) what "
    "one in four reaches, 75 % (dashed) what three in four reach. With few seeds lines may coincide, as a share is rounded up to "
    "whole seeds."
)
_DASHES = ("dot", "solid", "dash", "dashdot", "longdash")
_MAX_SHOWN = 2
_DIVERGING = [[0.0, "#D55E00"], [0.5, "#f2f2f2"], [1.0, "#0072B2"]]


def attainment_figure(table: ResultTable, percentiles: Sequence[float] = PERCENTILES) -> go.Figure | None:
    """Draw the attainment surfaces of every study with at least two seeds as staircases in two objectives.

    Args:
        table: a table with at least two objectives.
        percentiles: percentiles of the seeds, in (0, 100].

    Returns:
        A figure with one line for each study and percentile; three percentiles are dotted, solid and dashed from the lowest to the highest.
        With many studies only the first two are visible, and each study's legend entry shows or hides it. None if no study has two seeds.

    Raises:
        ValueError: fewer than two objectives, or a percentile out of range.
    """
    x, y = attainment_columns(table)
    corners = attainment_surfaces(table, (x, y), percentiles)
    studies = list(dict.fromkeys(corners["study"]))
    if not studies:
        return None
    middle = sorted(percentiles)[len(percentiles) // 2]
    figure = new_figure()
    for number, study in enumerate(studies):
        for percentile, dash in zip(sorted(percentiles), _DASHES * len(percentiles), strict=False):
            line = corners[(corners["study"] == study) & (corners["percentile"] == percentile)]
            colour = COLOURS[number % len(COLOURS)]
            trace = _staircase(line[x].tolist(), line[y].tolist(), colour, dash, study if len(studies) > 1 else "")
            trace.name = as_text(study if len(studies) > 1 else f"{percentile:g} % of the seeds")
            trace.showlegend = len(studies) == 1 or percentile == middle
            trace.visible = True if number < _MAX_SHOWN else "legendonly"
            figure.add_trace(trace)
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(xaxis=axis_of(table, x), yaxis=axis_of(table, y), legend=legend, margin={"t": 40})
    return figure


def difference_figure(difference: AttainmentDifference, names: Sequence[str], axes: Sequence[dict[str, Any]]) -> go.Figure:
    """Draw where one group of fronts attains more than another: blue for the first group, orange for the second.

    Args:
        difference: the attainment difference of two groups of fronts.
        names: names of the two groups.
        axes: plotly settings of the horizontal and the vertical axis.
    """
    first, second = (as_text(name) for name in names)
    share = np.round(difference.share, 12)
    heat = go.Heatmap(
        x=difference.x.tolist(),
        y=difference.y.tolist(),
        z=share.tolist(),
        zmin=-1,
        zmax=1,
        colorscale=_DIVERGING,
        colorbar={"title": {"text": "share of seeds"}, "tickformat": "+.0%"},
        hovertemplate="%{z:+.0%}<extra></extra>",
    )
    figure = new_figure().add_trace(heat)
    title = f"Blue: more seeds of {first} attain it. Orange: more seeds of {second} do."
    figure.update_layout(xaxis=axes[0], yaxis=axes[1], title={"text": title, "font": {"size": 14}}, margin={"t": 48}, showlegend=False)
    return figure


def _staircase(x: list[float], y: list[float], colour: str, dash: str, group: str) -> go.Scatter:
    """Draw a staircase; if it has a group, its legend entry shows and hides the whole group."""
    line = {"shape": "hv", "color": colour, "dash": dash, "width": 2}
    legend = {"legendgroup": as_text(group)} if group else {}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hovertemplate="%{x:.4g}, %{y:.4g}", **legend)
