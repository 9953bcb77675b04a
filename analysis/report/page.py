"""One self-contained HTML file that shows a sweep: it opens offline and connects to nothing."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.figures.attainment import attainment_figure
from analysis.figures.base import EXACT_FRONT, EXACT_FRONT_NAME
from analysis.figures.conflict import conflict_panels
from analysis.figures.front import front_2d_projection, front_3d, loss_against_sparsity
from analysis.figures.many_objectives import paired_columns, parallel_objectives, scatter_matrix
from analysis.figures.model_size import real_size_figure
from analysis.figures.second_study import has_second_study, second_study_caption, second_study_figure
from analysis.figures.style import COLOURS, SYMBOLS, axis_title, hover_texts, short_title
from analysis.measures.conflict import task_conflict
from analysis.measures.convergence import EXACT
from analysis.measures.costs import Costs
from analysis.measures.labels import label_points
from analysis.measures.model_size import real_size
from analysis.measures.selection import measured_metrics
from analysis.measures.summary import summary
from analysis.method_table.html import as_html, second_as_html
from analysis.method_table.table import method_table
from analysis.pareto.dominance import Mode
from analysis.pareto.indicators import MAX_EXACT_OBJECTIVES
from analysis.report.about import about
from analysis.report.conflict import conflict_as_html
from analysis.report.cost import cost_section
from analysis.report.embed import Embedded, choose_rows, embedded_curves, exact_front_columns, to_columns
from analysis.report.health import health
from analysis.report.indicators import indicators_as_html
from analysis.report.model_size import real_size_as_html
from analysis.results.columns import SPARSITY_RATE
from analysis.results.files import write_whole
from analysis.results.json_text import script_json
from analysis.results.mirror import put
from analysis.results.table import ResultTable, axis_columns, height_column, pair_columns, read_results

_SCRIPTS = (
    "js/data.js",
    "js/colouring.js",
    "js/views/exact.js",
    "js/drawing.js",
    "js/views/views.js",
    "js/views/many.js",
    "js/views/clusters.js",
    "js/views/trials.js",
    "js/views/curves.js",
    "js/views/detail.js",
    "js/ready.js",
    "js/print.js",
    "js/views/real_size.js",
    "js/start.js",
)


def write_report(
    folder: str | Path,
    path: str | Path | None = None,
    eps: float = 0.0,
    mode: Mode = "absolute",
    sparsity_width: float = 0.02,
    costs: Costs | None = None,
) -> Path | str:
    """Write the report of a results folder, also while the sweep is running.

    Args:
        folder: a sweep's results folder, or its address in an object store as text.
        path: the file to write; default: `report.html` in the folder. A file that is there is replaced in one step.
        eps: >= 0, where the tolerance slider stands at first.
        mode: what eps is relative to: `absolute`, `ideal` or `range`, as in `eps_nondominated`.
        sparsity_width: gap of the sparsity rate, a fraction, at which a new cluster begins.
        costs: prices and factors that replace those of the grid file, one by one.

    Returns:
        The file written; its address in an object store.

    Raises:
        ResultsError: the folder cannot be read as results.
        WriteError: the report cannot be written.
        ValueError: eps, mode or width is not valid.
    """
    table = read_results(folder)
    page = render_report(table, eps, mode, sparsity_width, costs)
    if path is None and table.mirror is not None:
        return put(table.mirror.address, "report.html", page.encode("utf-8", errors="replace"))
    target = Path(path) if path is not None else Path(folder) / "report.html"
    write_whole(target, page.encode("utf-8", "replace"))
    return target


def render_report(
    table: ResultTable,
    eps: float = 0.0,
    mode: Mode = "absolute",
    sparsity_width: float = 0.02,
    costs: Costs | None = None,
    live: int | None = None,
) -> str:
    """The report's HTML; other arguments as in `write_report`.

    Args:
        live: now, in milliseconds since 1970, for a page that a server on this machine sends: it asks there for `/version`
            and loads itself anew when that is another number. None: a page that connects to nothing.
    """
    labels = label_points(table, eps, mode, sparsity_width)
    embedded = choose_rows(table, labels)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_as_they_are("html/report.html"))
    facts = summary(table, eps, mode, labels)
    views = _views(embedded)
    methods = method_table(table)
    pictures = has_second_study([table])
    conflict = task_conflict(table, sparsity_width)
    attainment = attainment_figure(table) if len(table.objectives) > 1 else None
    sizes = real_size(embedded.points)
    panels = _drawn(conflict_panels(conflict)) if conflict else None
    ready = {
        "second": second_study_figure(table) if pictures else None,
        "conflict": panels,
        "attainment": attainment,
        "real_size": real_size_figure(embedded.points, sizes, embedded.labels) if sizes else None,
    }
    data = _data(table, embedded, views, eps) | {name: _ready(figure) for name, figure in ready.items()}
    return template.render(
        table=table,
        facts=facts,
        about=about(table, facts),
        health=health(table),
        cost=cost_section(table, costs),
        note=embedded.note,
        sparsity_width=sparsity_width,
        selection_goal=table.selection.goal,
        exact=EXACT,
        hypervolume_format="%.5g" if len(table.objectives) <= MAX_EXACT_OBJECTIVES else "≈ %.3g",
        exact_name=EXACT_FRONT_NAME,
        views=views,
        conflict=conflict_as_html(conflict, has_figure=panels is not None) if conflict else None,
        indicators=indicators_as_html(table, has_figure=attainment is not None, labels=labels),
        real_size=real_size_as_html(embedded.points, sizes, embedded.labels) if sizes else None,
        methods=as_html(methods) if len(methods.lines) > 1 else None,
        second=second_as_html(methods) if any(dataset.second for dataset in methods.datasets) else None,
        second_caption=second_study_caption(table) if pictures else None,
        live=live,
        css=_as_they_are("css/report.css", *(("css/live.css",) if live else ())),
        plotly=Markup(get_plotlyjs()),
        data=Markup(script_json(data | ({"live": live} if live else {}))),
        scripts=_as_they_are(*_SCRIPTS, *(("js/live.js",) if live else ())),
    )


def _as_they_are(*names: str) -> Markup:
    """Files of the templates, one after the other."""
    return Markup("\n".join(files("analysis.templates").joinpath(name).read_text(encoding="utf-8") for name in names))


def _data(table: ResultTable, embedded: Embedded, views: list[dict[str, Any]], eps: float) -> dict[str, Any]:
    """Everything the page's scripts read."""
    points = embedded.points
    axes = axis_columns(table)
    tasks = [objective["column"] for objective in table.task_objectives]
    heights = [*axes, *([SPARSITY_RATE] if table.sparsity_objective else [])]
    return {
        "name": table.name,
        "tasks": table.tasks,
        "metrics": table.metrics,
        "measured": measured_metrics(table),
        "chosen_by": table.selection.by,
        "guess_losses": table.selection.guess_losses,
        "has_sparsity": table.sparsity_objective is not None,
        "exact": {"name": EXACT_FRONT_NAME, "columns": exact_front_columns(table), "is_curve": len(table.objectives) == 2},
        "objectives": table.objectives,
        "eps": eps,
        "n_points": len(points.frame),
        "n_rows": len(points.frame) + len(embedded.others),
        "n_finished": len(table.ok.frame),
        "n_trials": len(table.frame),
        "columns": to_columns(embedded),
        "curves": embedded_curves(table, embedded),
        "place": shlex.quote(table.place),
        "has_own_problem": isinstance(table.manifest.get("problem"), dict) and "sources" in table.manifest["problem"],
        "palette": {"colours": COLOURS, "symbols": SYMBOLS},
        "hover": hover_texts(table, points.frame),
        "views": views,
        "titles": {column: axis_title(table, column) for column in {*axes, SPARSITY_RATE}},
        "names": {column: short_title(table, column) for column in axes},
        "planar": tasks if len(tasks) > 1 else axes,
        "heights": heights,
    }


def _views(embedded: Embedded) -> list[dict[str, Any]]:
    """The pictures a sweep of this shape has; figures hold every embedded point, the page filters them."""
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


def _drawn(figure: go.Figure) -> go.Figure | None:
    """None where nothing is in it."""
    return figure if len(figure.data) else None


def _ready(figure: go.Figure | None) -> dict[str, Any] | None:
    """A figure that is drawn as it is; the page gives it its own size and colours of text."""
    if figure is None:
        return None
    spec = figure.to_plotly_json()
    layout = {name: item for name, item in spec["layout"].items() if name not in ("template", "width", "height", "meta")}
    return {"traces": list(spec["data"]), "layout": layout, "n_panels": sum(name.startswith("xaxis") for name in layout)}


def _view(kind: str, title: str, figure: go.Figure, axes: dict[str, str], columns: list[str]) -> dict[str, Any]:
    """A figure without its points, which the page fills in from the columns; each cluster once, with the rows it may show."""
    spec = figure.to_plotly_json()
    traces: dict[tuple[str, int | None], dict[str, Any]] = {}
    for trace in spec["data"]:
        meta = trace["meta"]
        if meta["group"] != EXACT_FRONT:
            kept = {name: item for name, item in trace.items() if name not in ("x", "y", "z", "hovertext", "customdata")}
            traces.setdefault((meta["group"], meta["cluster"]), kept | {"rows": list(dict.fromkeys(trace["customdata"]))})
    layout = {name: item for name, item in spec["layout"].items() if name not in ("template", "annotations")}
    return {"kind": kind, "title": title, "axes": axes, "columns": columns, "traces": list(traces.values()), "layout": layout}
