"""What the report is made of: sections in the order of the page."""

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
    """Its id; the heading's is `<name>-title`."""
    title: str
    """The heading, plain text."""
    html: Markup
    """What stands below the heading."""
    figure: go.Figure | None = None
    """A finished figure, which the page draws in the element `<name>-figure` of `html` in its own size and colours."""
    count: str | None = None
    """Id of a text beside the heading, which the page's scripts write."""


def rendered(template: str, **values: Any) -> Markup:
    """Render a template of `analysis/templates/html`; every value that is not Markup is escaped.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("analysis.templates").joinpath(f"html/{template}").read_text(encoding="utf-8")
    return Markup(environment.from_string(text).render(**values))


def spec_of(figure: go.Figure) -> dict[str, Any]:
    """A section's figure as the page's scripts draw it: `traces`, `layout` and `n_panels`."""
    spec = figure.to_plotly_json()
    layout = {name: item for name, item in spec["layout"].items() if name not in ("template", "width", "height", "meta")}
    return {"traces": list(spec["data"]), "layout": layout, "n_panels": sum(name.startswith("xaxis") for name in layout)}
