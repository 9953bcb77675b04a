"""Drawing a figure by its name and writing it as a page or as an image."""

import logging
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.figures.catalog import FIGURES
from analysis.figures.samples import Samples
from analysis.results.files import write_whole
from analysis.results.json_text import script_json
from analysis.results.table import ResultsError, ResultTable


def draw_figure(table: ResultTable, name: str, trial: str | None = None, samples: Samples | None = None) -> go.Figure:
    """Draw a figure of a results folder.

    Args:
        table: what `read_results` gave.
        name: one of `FIGURES`.
        trial: a trial's id or an unambiguous prefix of one, for figures that show a single trial; None lets the figure choose.
        samples: images of the problem, for figures that show them.

    Raises:
        ResultsError: the folder lacks what the figure shows; the message says what is missing, where, and what to do.
    """
    entry = FIGURES[name]
    if trial is not None and entry.takes != "trial":
        taking = ", ".join(other for other, one in FIGURES.items() if one.takes == "trial")
        raise ResultsError(f"figure {name} shows the whole sweep, found trial = {trial}\n  hint: {taking} shows one trial")
    if entry.takes != "samples" and table.ok.frame.empty:
        raise ResultsError(f"{table.place}: no trial has a usable result yet, so there is nothing to draw\n  hint: `sweep status` says why")
    module, _, function = entry.path.partition(":")
    draw: Any = getattr(import_module(module), function)
    arguments = {"trial": (trial,), "samples": (samples,), None: ()}[entry.takes]
    try:
        figure: go.Figure | None = draw(table, *arguments)
    except ResultsError:
        raise
    except ValueError as error:
        raise ResultsError(
            f"{table.place}: figure {name} cannot be drawn: {error}\n  hint: `sweep figure --list` names the others"
        ) from error
    if figure is None:
        raise ResultsError(
            f"{table.place}: figure {name} needs a study with at least two seeds\n  hint: `seeds: [0, 1, 2]` in the grid file"
        )
    return figure


FORMATS = ("html", "svg", "png", "pdf")
IMAGES = FORMATS[1:]
_DEFAULT_SIZE = (960, 680)  # pixels, for figures that set no size
_BUTTONS = 34
"""Space above the figure on a page, for plotly's buttons, in pixels."""
_SCALE = {"png": 2.0}
_EXTRA = "pip install 'pareto-sweep[images]'"


def write_figure(figure: go.Figure, path: str | Path, form: str, title: str) -> Path:
    """Write a figure; an existing file is replaced atomically.

    Args:
        figure: the figure; `layout.meta["caption"]`, if any, is shown below it on a page.
        path: the file to write.
        form: one of `FORMATS`. A page contains plotly.js and connects to nothing.
        title: the title of the page.

    Raises:
        ResultsError: an image is requested, and this machine lacks the extra `images` or a Chromium.
        WriteError: the file cannot be written.
        ValueError: the format is unknown.
    """
    if form not in FORMATS:
        raise ValueError(f"write_figure expects one of {', '.join(FORMATS)}, found form = {form}")
    data = page_of(figure, title).encode("utf-8", "replace") if form == "html" else image_of(figure, form)
    target = Path(path)
    write_whole(target, data)
    return target


def page_of(figure: go.Figure, title: str) -> str:
    """Render a figure as an HTML page whose content-security policy allows no connection.

    Args:
        figure: the figure; `layout.meta["caption"]`, if any, is shown below it.
        title: the title of the page.
    """
    spec = figure.to_plotly_json()
    layout: dict[str, Any] = {name: item for name, item in spec["layout"].items() if name not in ("template", "meta")}
    layout["margin"] = {**layout.get("margin", {}), "t": layout.get("margin", {}).get("t", 0) + _BUTTONS}
    if "height" in layout:
        layout["height"] += _BUTTONS
    size = {name: layout.get(name) for name in ("width", "height")}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("analysis.templates").joinpath("html/figure.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        caption=_caption(figure),
        size=size,
        plotly=Markup(get_plotlyjs()),
        data=Markup(script_json({"traces": list(spec["data"]), "layout": layout})),
    )


def image_of(figure: go.Figure, form: str) -> bytes:
    """Render a figure as an image without network access; traces that are hidden until their legend entry is clicked are left out.

    Args:
        figure: the figure; it is not modified.
        form: one of `IMAGES`.

    Raises:
        ResultsError: this machine lacks the extra `images` or a Chromium.
    """
    if find_spec("kaleido") is None:
        raise ResultsError(f"{form} images need the extra `images`, which is not installed\n  hint: {_EXTRA}; or take --format html")
    import kaleido
    from choreographer.browsers.chromium import ChromeNotFoundError

    shown = go.Figure([trace for trace in figure.data if trace.visible != "legendonly"], figure.layout)
    shown.update_layout(template="none")  # a new figure would otherwise have plotly's default style
    width, height = shown.layout.width or _DEFAULT_SIZE[0], shown.layout.height or _DEFAULT_SIZE[1]
    logging.getLogger("kaleido").setLevel(logging.ERROR)
    logging.getLogger("choreographer").setLevel(logging.ERROR)
    try:
        data: bytes = kaleido.calc_fig_sync(
            shown, opts={"format": form, "width": width, "height": height, "scale": _SCALE.get(form, 1.0)}, kopts={"mathjax": False}
        )
    except ChromeNotFoundError as error:
        raise ResultsError(
            f"{form} images need a Chromium or Chrome, and none was found\n  hint: install one (Debian: apt install chromium) or "
            "name it in BROWSER_PATH; or take --format html"
        ) from error
    except Exception as error:
        raise ResultsError(
            f"the browser that draws {form} images failed ({type(error).__name__}: {error})\n  hint: try again, or take --format html"
        ) from error
    return data


def _caption(figure: go.Figure) -> str:
    """The figure's caption as plain text; empty without one."""
    meta = figure.layout.meta
    return str(meta.get("caption") or "") if isinstance(meta, dict) else ""


_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'none'"


def write_html(figure: go.Figure, path: Path) -> None:
    """Write a figure with plotly's script and a policy that forbids connections; an existing file is replaced atomically.

    Raises:
        WriteError: the file cannot be written.
    """
    config = {"showSendToCloud": False, "displaylogo": False, "responsive": True}
    page = figure.to_html(include_plotlyjs=True, full_html=True, config=config)
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    write_whole(path, page.replace("<head>", head, 1).encode("utf-8", "replace"))
