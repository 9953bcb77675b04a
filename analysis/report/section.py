"""The sections that make up the report, and how they are rendered."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    name: str
    """The section's id; the id of its heading is `<name>-title`."""
    title: str
    """The heading, plain text."""
    html: Markup
    """The content below the heading."""
    figure: go.Figure | None = None
    """A finished figure, which the page draws in the element `<name>-figure` of `html` in its own size and colours."""
    count: str | None = None
    """Id of the element beside the heading whose text the page's scripts write."""


def rendered(template: str, **values: Any) -> Markup:
    """Render a template of `analysis/templates/html`; every value that is not Markup is escaped.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("analysis.templates").joinpath(f"html/{template}").read_text(encoding="utf-8")
    return Markup(environment.from_string(text).render(**values))


def spec_of(figure: go.Figure) -> dict[str, Any]:
    """Convert a section's figure for the page's scripts: `traces`, `layout` and `n_panels`."""
    spec = figure.to_plotly_json()
    layout = {name: item for name, item in spec["layout"].items() if name not in ("template", "width", "height", "meta")}
    return {"traces": list(spec["data"]), "layout": layout, "n_panels": sum(name.startswith("xaxis") for name in layout)}
