"""The report: one self-contained HTML file that opens offline and connects to nothing."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.figures.base import EXACT_FRONT_NAME
from analysis.figures.style import COLOURS, SYMBOLS, axis_title, hover_texts, short_title
from analysis.measures.convergence import EXACT
from analysis.measures.costs import Costs
from analysis.measures.labels import label_points
from analysis.measures.selection import measured_metrics
from analysis.measures.study_indicators import hypervolume_caption
from analysis.measures.summary import summary
from analysis.pareto.dominance import Mode
from analysis.pareto.indicators import MAX_EXACT_OBJECTIVES
from analysis.report.about import about_section, placing_section
from analysis.report.conflict import conflict_section
from analysis.report.cost import cost_section
from analysis.report.embed import Embedded, choose_rows, embedded_curves, exact_front_columns, to_columns
from analysis.report.front import View, front_sections, front_views, trials_section
from analysis.report.health import health_section
from analysis.report.indicators import indicators_section
from analysis.report.methods import method_sections
from analysis.report.model_size import real_size_section
from analysis.report.section import rendered, spec_of
from analysis.results.columns import SPARSITY_RATE
from analysis.results.files import write_whole
from analysis.results.json_text import script_json
from analysis.results.mirror import put
from analysis.results.table import ResultTable, axis_columns, read_results

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
    mode: Mode = "range",
    sparsity_width: float = 0.02,
    costs: Costs | None = None,
) -> Path | str:
    """Write the report of a results folder, even while the sweep is running.

    Args:
        folder: a sweep's results folder, or its address in an object store as text.
        path: the file to write; default: `report.html` in the folder. An existing file is replaced atomically.
        eps: >= 0, the initial position of the tolerance slider.
        mode: what eps is relative to: `range`, `ideal` or `absolute`, as in `label_points`.
        sparsity_width: gap between sparsity rates, a fraction, at which a new cluster begins.
        costs: prices and emission factors; each one given replaces the grid file's.

    Returns:
        The path of the report, or its address in an object store.

    Raises:
        ResultsError: the folder cannot be read as results.
        WriteError: the report cannot be written.
        ValueError: eps, mode or sparsity_width is not valid.
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
    mode: Mode = "range",
    sparsity_width: float = 0.02,
    costs: Costs | None = None,
    live: int | None = None,
) -> str:
    """Render the report as HTML. The other arguments are those of `write_report`.

    Args:
        live: the current time in milliseconds since 1970, for a page from a server on this machine: it polls `/version` there and
            reloads itself when the number changes. None: a page that connects to nothing.
    """
    labels = label_points(table, eps, mode, sparsity_width)
    embedded = choose_rows(table, labels)
    views = front_views(embedded)
    facts = summary(table, eps, mode, labels)
    sections = [
        conflict_section(table, sparsity_width),
        *front_sections(table, facts, views, sparsity_width, live is not None),
        indicators_section(table, labels),
        real_size_section(embedded.points, embedded.labels),
        *method_sections(table),
        trials_section(),
        placing_section(table),
        health_section(table),
        cost_section(table, costs),
        about_section(table, facts),
    ]
    shown = [section for section in sections if section is not None]
    figures = {section.name: spec_of(section.figure) for section in shown if section.figure is not None}
    data = _data(table, embedded, views, eps) | {"figures": figures} | ({"live": live} if live else {})
    return str(
        rendered(
            "report.html",
            table=table,
            facts=facts,
            sections=shown,
            note=embedded.note,
            exact=EXACT,
            hypervolume_title=hypervolume_caption(table),
            hypervolume_format="%.5g" if len(table.objectives) <= MAX_EXACT_OBJECTIVES else "≈ %.3g",
            live=live,
            css=_as_they_are("css/report.css", *(("css/live.css",) if live else ())),
            plotly=Markup(get_plotlyjs()),
            data=Markup(script_json(data)),
            scripts=_as_they_are(*_SCRIPTS, *(("js/live.js",) if live else ())),
        )
    )


def _as_they_are(*names: str) -> Markup:
    """Return the concatenated text of template files."""
    return Markup("\n".join(files("analysis.templates").joinpath(name).read_text(encoding="utf-8") for name in names))


def _data(table: ResultTable, embedded: Embedded, views: list[View], eps: float) -> dict[str, Any]:
    """Collect the data that the page's scripts read."""
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
