"""The report's section on indicators and trade-offs."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from analysis.figures.attainment import ATTAINMENT_CAPTION, attainment_figure
from analysis.measures.convergence import RULE
from analysis.measures.decision_front import DecisionFront, Step, measure_name, steps_from
from analysis.measures.study_indicators import StudyIndicators, hypervolume_caption, study_indicators
from analysis.pareto.intervals import CONFIDENCE, Estimate
from analysis.pareto.knee import COMPROMISE_RULE, KNEE_RULE
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable

MAX_STEPS = 60
"""Largest number of trade-offs in a report; `trade_offs` returns all of them."""


@dataclass(frozen=True)
class _Row:
    study: str
    n_trials: int
    seeds: str
    hypervolume: str
    igd_plus: str
    spread: str
    n_unconverged: int
    knee: str
    compromise: str


def indicators_section(table: ResultTable, labels: pd.DataFrame) -> Section | None:
    """Show each study's indicators and trade-offs, with attainment surfaces if there are seeds to compare; None without a finished trial.

    Args:
        table: what `read_results` gave.
        labels: what `label_points` returned for it.
    """
    figure = attainment_figure(table) if len(table.objectives) > 1 else None
    html = indicators_as_html(table, has_figure=figure is not None, labels=labels)
    return None if html is None else Section("indicators", "Indicators and trade-offs", html, figure)


def indicators_as_html(table: ResultTable, has_figure: bool, labels: pd.DataFrame | None = None) -> Markup | None:
    """Render a table of each study's indicators, the steps from knee and compromise to their neighbours, and the rules.

    Args:
        table: any table.
        has_figure: whether the page draws attainment surfaces here (`attainment_figure`).
        labels: what `label_points` returned for the table, if already known.

    Returns:
        The section without its heading, with escaped names; None if no trial has finished.

    Raises:
        ResultsError: trials of one study have different scalings.
    """
    found = study_indicators(table, labels=labels)
    if not found:
        return None
    rows = [_row(one) for one in found]
    steps = [(label, step) for one in found for label, step in _steps(one)]
    return rendered(
        "indicators.html",
        rows=rows,
        steps=[(label, step.study, step.start, str(step), step.end) for label, step in steps[:MAX_STEPS]],
        n_left_out=max(0, len(steps) - MAX_STEPS),
        has_igd=any(one.igd_plus is not None for one in found),
        has_unconverged=any(one.n_unconverged for one in found),
        has_figure=has_figure,
        attainment_caption=ATTAINMENT_CAPTION,
        caption=_caption(table, found),
    )


def _row(one: StudyIndicators) -> _Row:
    return _Row(
        study=one.study or "(none)",
        n_trials=one.n_trials,
        seeds=", ".join(map(str, one.seeds)) or "none",
        hypervolume=_text(one.hypervolume, 5),
        igd_plus=_text(one.igd_plus, 3),
        spread=_text(one.spread, 2),
        n_unconverged=one.n_unconverged,
        knee=_point(one.front, one.knee),
        compromise=_point(one.front, one.compromise),
    )


def _text(found: Estimate | None, digits: int) -> str:
    if found is None or found.mean is None:
        return "–"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.{digits}g}, {found.high:.{digits}g}]"
    return f"{found.mean:.{digits}g}{interval}"


def _point(front: DecisionFront, row: int | None) -> str:
    """Describe a trial by the quantities that people decide by."""
    if row is None:
        return "none"
    trial = front.frame.iloc[row]
    numbers = []
    for quantity in front.quantities:
        value = float(trial[quantity.column])
        numbers.append(f"{measure_name(quantity)} {100 * value:.1f} %" if quantity.unit == "points" else f"{quantity.name} {value:.3g}")
    return f"{trial['trial_id']}: {', '.join(numbers)}"


def _steps(one: StudyIndicators) -> list[tuple[str, Step]]:
    """Return the steps from the knee and from the compromise, each named once."""
    starts = {one.knee_trial: "knee"}
    if one.compromise_trial is not None:
        starts[one.compromise_trial] = "knee and compromise" if one.compromise_trial == one.knee_trial else "compromise"
    return [(label, step) for trial, label in starts.items() if trial is not None for step in steps_from(one.front, trial)]


def _caption(table: ResultTable, found: Sequence[StudyIndicators]) -> list[str]:
    measured = ", ".join(measure_name(quantity) for quantity in found[0].front.quantities)
    texts = [hypervolume_caption(table)]
    if any(one.igd_plus is not None for one in found):
        texts.append(
            "IGD+ is the mean distance of the exact front from what the trials dominate, with each objective divided by its range."
        )
    texts.append(
        f"Brackets: {100 * CONFIDENCE:g} % bootstrap interval of the mean over seeds; with fewer than two seeds there is none. "
        "Spread is 0 on an evenly filled front; lower is better."
    )
    texts.append(f"Knee, compromise and trade-offs compare the points of the front of all seeds by {measured}, on validation data.")
    return [*texts, KNEE_RULE, COMPROMISE_RULE, RULE]
