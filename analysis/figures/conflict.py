"""The figure that shows task conflict against sparsity: extents and hypervolume of the task front, and the cosine of the gradients."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.figures.base import new_figure
from analysis.figures.style import COLOURS, SYMBOLS
from analysis.formatting import as_text
from analysis.measures.conflict import (
    MIN_TRIALS,
    Conflict,
    StudyConflict,
    conflict_caption,
    conflict_sentences,
    sparsity_text,
    task_conflict,
)
from analysis.results.table import ResultTable

_PANEL = (400, 340)
"""Width and height of a panel, in pixels."""
_LINE = "#7f7f7f"
_N_FILLED = 4
"""Number of filled symbols in `SYMBOLS`."""


def conflict_figure(table: ResultTable) -> go.Figure:
    """Draw the conflict between a table's tasks (`conflict_panels`), with the answer as the caption.

    Raises:
        ValueError: the sweep has no sparsity objective, one task, or no finished trial with k0 > 0.
    """
    conflict = task_conflict(table)
    if conflict is None:
        raise ValueError("conflict_figure expects two tasks, a sparsity objective and a finished trial with k0 > 0")
    figure = conflict_panels(conflict)
    caption = " ".join([*conflict_sentences(conflict), conflict_caption(conflict)])
    figure.update_layout(meta={"caption": caption})
    return figure


def conflict_panels(conflict: Conflict) -> go.Figure:
    """Draw panels against the mean sparsity rate of each cluster; panels without any value are left out.

    They show the extents of the task front relative to the noise limit (the line at 1), the hypervolume of the task losses, and the
    mean cosine, with its 95 % interval where there are enough trials. Clusters with too few trials to judge have open symbols.
    Colours stand for studies, or for tasks if there is only one study.
    """
    panels = [("Extent / noise limit", _extents)] if any((study.tolerances > 0).any() for study in conflict.studies) else []
    if conflict.box is not None:
        panels.append(("Hypervolume", _hypervolumes))
    if any(cluster.cosine.mean is not None for study in conflict.studies for cluster in study.clusters):
        panels.append(("Cosine of gradients", _cosines))
    panels = panels or [("Extent / noise limit", _extents)]
    figure = make_subplots(rows=1, cols=len(panels), subplot_titles=[title for title, _ in panels], horizontal_spacing=0.22 / len(panels))
    named: set[str] = set()
    for column, (_, draw) in enumerate(panels, start=1):
        for number, study in enumerate(conflict.studies):
            for trace in draw(conflict, study, number):
                figure.add_trace(go.Scatter({"showlegend": trace["name"] not in named, **trace}), row=1, col=column)
                named.add(trace["name"])
        figure.update_xaxes(title={"text": "sparsity rate", "standoff": 8}, tickformat=".0%", row=1, col=column)
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    if panels[0][1] is _extents:
        figure.update_yaxes(rangemode="tozero", row=1, col=1)
        figure.add_hline(y=1, line={"dash": "dot", "color": _LINE, "width": 1}, row=1, col=1)
    if panels[-1][1] is _cosines:
        figure.add_hline(y=0, line={"dash": "dot", "color": _LINE, "width": 1}, row=1, col=len(panels))
    figure.update_layout(new_figure().layout)
    size = {"width": _PANEL[0] * len(panels), "height": _PANEL[1] + 60}
    figure.update_annotations(font={"size": 14})
    figure.update_layout(**size, margin={"t": 40, "b": 90}, legend={"y": -0.24})
    return figure


def _extents(conflict: Conflict, study: StudyConflict, number: int) -> Iterator[dict[str, Any]]:
    is_single = len(conflict.studies) == 1
    tolerances = study.tolerances
    for t, task in enumerate(conflict.tasks):
        if not tolerances[t] > 0:  # unknown, or no noise at all
            continue
        name = task if is_single else f"{study.study}, {task}"
        y = [cluster.extents[t] / tolerances[t] for cluster in study.clusters]
        texts = [f"extent {cluster.extents[t]:.4g} {conflict.units[t]}, limit {tolerances[t]:.3g}" for cluster in study.clusters]
        yield _line(study, y, name, t if is_single else number, t, texts)


def _hypervolumes(conflict: Conflict, study: StudyConflict, number: int) -> Iterator[dict[str, Any]]:
    values = [cluster.hypervolume for cluster in study.clusters]
    trace = _line(study, values, study.study or "all trials", number, 0, [f"hypervolume {value:.5g}" for value in values])
    yield trace | _grey_if_single(conflict, study)


def _cosines(conflict: Conflict, study: StudyConflict, number: int) -> Iterator[dict[str, Any]]:
    means = [cluster.cosine.mean for cluster in study.clusters]
    texts = [
        "not recorded" if cluster.cosine.mean is None else f"mean cosine {cluster.cosine.mean:.3f} of {' and '.join(cluster.pair)}"
        for cluster in study.clusters
    ]
    widths = [(cluster.cosine.half_width or 0.0) if cluster.n_trials >= MIN_TRIALS else 0.0 for cluster in study.clusters]
    bars = {"type": "data", "array": widths, "thickness": 1, "width": 3}
    yield _line(study, means, study.study or "all trials", number, 0, texts) | {"error_y": bars} | _grey_if_single(conflict, study)


def _grey_if_single(conflict: Conflict, study: StudyConflict) -> dict[str, Any]:
    """The colour of a line that covers all tasks: grey if there is only one study, because the other colours then stand for tasks."""
    if len(conflict.studies) > 1:
        return {}
    marker = {"color": _LINE, "symbol": _symbols(study, "square"), "size": 8}
    return {"marker": marker, "line": {"color": _LINE, "width": 1.5}, "showlegend": False}


def _symbols(study: StudyConflict, symbol: str) -> list[str]:
    """The symbols of the clusters; clusters with too few trials to judge have open symbols."""
    return [symbol if cluster.conflicts is not None else f"{symbol}-open" for cluster in study.clusters]


def _line(study: StudyConflict, y: list[Any], name: str, colour: int, symbol: int, texts: list[str]) -> dict[str, Any]:
    clusters = study.clusters
    marker = {"color": COLOURS[colour % len(COLOURS)], "symbol": _symbols(study, SYMBOLS[symbol % _N_FILLED]), "size": 8}
    hover = [
        f"<b>{as_text(study.study)}</b><br>SR {sparsity_text(cluster)}, {cluster.n_trials} trials<br>{as_text(text)}"
        for cluster, text in zip(clusters, texts, strict=True)
    ]
    return {
        "x": [float(np.mean([cluster.sparsity_min, cluster.sparsity_max])) for cluster in clusters],
        "y": y,
        "mode": "lines+markers",
        "name": as_text(name),
        "legendgroup": as_text(name),
        "marker": marker,
        "line": {"color": marker["color"], "width": 1.5},
        "hovertext": hover,
        "hoverinfo": "text",
    }
