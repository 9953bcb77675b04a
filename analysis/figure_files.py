"""A figure as a file: a self-contained page, or an image that a headless Chromium draws."""

import logging
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.report_data import script_json
from analysis.table import ResultsError
from analysis.whole_file import write_whole

FORMATS = ("html", "svg", "png", "pdf")
IMAGES = FORMATS[1:]
_DEFAULT_SIZE = (960, 680)  # pixels, of figures that have none of their own
_BUTTONS = 34
"""Pixels above a page's figure for plotly's buttons."""
_SCALE = {"png": 2.0}
_EXTRA = "pip install 'pareto-sweep[images]'"


def write_figure(figure: go.Figure, path: str | Path, form: str, title: str) -> Path:
    """Write a figure; a file that is there is replaced in one step.

    Args:
        figure: what to write; `layout.meta["caption"]`, if any, is shown below it on a page.
        path: the file.
        form: one of `FORMATS`. A page holds plotly.js and connects to nothing.
        title: of the page.

    Raises:
        ResultsError: an image is asked for, and this machine lacks the extra `images` or a Chromium.
        WriteError: the file cannot be written.
        ValueError: no such format.
    """
    if form not in FORMATS:
        raise ValueError(f"write_figure expects one of {', '.join(FORMATS)}, found form = {form}")
    data = page_of(figure, title).encode("utf-8", "replace") if form == "html" else image_of(figure, form)
    target = Path(path)
    write_whole(target, data)
    return target


def page_of(figure: go.Figure, title: str) -> str:
    """HTML with a content-security policy that allows no connection."""
    spec = figure.to_plotly_json()
    layout: dict[str, Any] = {name: item for name, item in spec["layout"].items() if name not in ("template", "meta")}
    layout["margin"] = {**layout.get("margin", {}), "t": layout.get("margin", {}).get("t", 0) + _BUTTONS}
    if "height" in layout:
        layout["height"] += _BUTTONS
    size = {name: layout.get(name) for name in ("width", "height")}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("analysis.templates").joinpath("figure.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        caption=_caption(figure),
        size=size,
        plotly=Markup(get_plotlyjs()),
        data=Markup(script_json({"traces": list(spec["data"]), "layout": layout})),
    )


def image_of(figure: go.Figure, form: str) -> bytes:
    """The bytes of an image; nothing is loaded from the network. What only a click in the legend would show is left out."""
    if find_spec("kaleido") is None:
        raise ResultsError(f"{form} images need the extra `images`, which is not installed\n  hint: {_EXTRA}; or take --format html")
    import kaleido
    from choreographer.browsers.chromium import ChromeNotFoundError

    shown = go.Figure([trace for trace in figure.data if trace.visible != "legendonly"], figure.layout)
    shown.update_layout(template="none")  # a new figure has plotly's own look else
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
    """What the figure says of itself; plain text."""
    meta = figure.layout.meta
    return str(meta.get("caption") or "") if isinstance(meta, dict) else ""
