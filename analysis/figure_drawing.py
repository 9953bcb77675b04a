"""Draws a figure by its name, and says clearly what a results folder lacks for it."""

from importlib import import_module
from typing import Any

import plotly.graph_objects as go

from analysis.figure_catalog import FIGURES
from analysis.samples_figure import Samples
from analysis.table import ResultsError, ResultTable


def draw_figure(table: ResultTable, name: str, trial: str | None = None, samples: Samples | None = None) -> go.Figure:
    """Draw a figure of a results folder.

    Args:
        table: what `read_results` gave.
        name: one of `FIGURES`.
        trial: a trial's id or the unambiguous beginning of one, for figures that take one; None lets the figure choose.
        samples: images of the problem, for figures that take them.

    Raises:
        ResultsError: the folder has not what the figure shows; the message says what, where and what to do.
    """
    entry = FIGURES[name]
    if trial is not None and entry.takes != "trial":
        taking = ", ".join(other for other, one in FIGURES.items() if one.takes == "trial")
        raise ResultsError(f"figure {name} is of the whole sweep, found trial = {trial}\n  hint: of one trial there is {taking}")
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
