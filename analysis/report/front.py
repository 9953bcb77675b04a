"""The report's sections on the front: its views, the best trials of each sparsity cluster, and the table of trials."""

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go

from analysis.figures.base import EXACT_FRONT, EXACT_FRONT_NAME
from analysis.figures.front import front_2d_projection, front_3d, loss_against_sparsity
from analysis.figures.many_objectives import paired_columns, parallel_objectives, scatter_matrix
from analysis.measures.labels import MODE_TEXT
from analysis.report.embed import Embedded
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable, axis_columns, height_column, pair_columns

View = dict[str, Any]
"""A figure of the front as the page's scripts draw it; its points come from the embedded columns."""


def front_sections(
    table: ResultTable, facts: dict[str, Any], views: list[View], sparsity_width: float, is_live: bool = False
) -> Iterator[Section]:
    """Yield the sections on the front and its clusters, or the section that is shown before there is a front.

    Args:
        table: what `read_results` gave.
        facts: what `summary` returned for it.
        views: what `front_views` returned for it.
        sparsity_width: gap of the sparsity rate, a fraction, at which a new cluster begins.
        is_live: whether a server shows the page while the sweep runs.
    """
    if views:
        html = rendered("front.html", table=table, facts=facts, views=views, eps_unit=MODE_TEXT[facts["mode"]], exact_name=EXACT_FRONT_NAME)
        yield Section("front", "Pareto front", html, count="shown")
        has_sparsity = table.sparsity_objective is not None
        if has_sparsity or not facts["n_optimum"]:
            title = f"{'Sparsity clusters' if has_sparsity else 'The best'} of the points shown"
            goal = table.selection.goal
            yield Section("clusters", title, rendered("clusters.html", table=table, sparsity_width=sparsity_width, selection_goal=goal))
    elif table.ok.frame.empty:
        yield Section("front", "No front yet", rendered("empty.html", facts=facts, live=is_live))


def trials_section() -> Section:
    """Return the section with the table of all trials, which the page's scripts fill."""
    return Section("trials", "Trials", rendered("trials.html"), count="listed")


def front_views(embedded: Embedded) -> list[View]:
    """Return the views that suit the number of objectives; they hold every embedded point, and the page filters them."""
    points, labels = embedded.points, embedded.labels
    columns = axis_columns(points)
    if len(columns) < 2 or points.frame.empty:
        return []
    if len(columns) == 2:
        axes = dict(zip("xy", pair_columns(points), strict=True))
        return [_view("plane", "The front", loss_against_sparsity(points, labels, everything=True), axes, columns)]
    plane = {"x": columns[0], "y": columns[1]}
    space = front_3d(points, labels, everything=True)
    views = [
        _view("space", "The front in three objectives", space, plane | {"z": height_column(points)}, columns),
        _view("plane", "Seen from above", front_2d_projection(points, labels, everything=True), plane, columns),
    ]
    if len(columns) > 3:
        views.append(_view("parallel", "All objectives", parallel_objectives(points, labels, everything=True), {}, columns))
        paired = paired_columns(points)
        which = f", the first {len(paired)} of {len(columns)}" if len(paired) < len(columns) else ""
        matrix = scatter_matrix(points, labels, everything=True)
        views.append(_view("matrix", f"Objectives two at a time{which}", matrix, {}, paired))
    return views


def _view(kind: str, title: str, figure: go.Figure, axes: dict[str, str], columns: list[str]) -> View:
    """Return a figure without its points, which the page fills in; each cluster appears once, with the rows it may show."""
    spec = figure.to_plotly_json()
    traces: dict[tuple[str, int | None], dict[str, Any]] = {}
    for trace in spec["data"]:
        meta = trace["meta"]
        if meta["group"] != EXACT_FRONT:
            kept = {name: item for name, item in trace.items() if name not in ("x", "y", "z", "hovertext", "customdata")}
            traces.setdefault((meta["group"], meta["cluster"]), kept | {"rows": list(dict.fromkeys(trace["customdata"]))})
    layout = {name: item for name, item in spec["layout"].items() if name not in ("template", "annotations")}
    return {"kind": kind, "title": title, "axes": axes, "columns": columns, "traces": list(traces.values()), "layout": layout}
