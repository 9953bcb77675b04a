"""Sparse networks that were retrained in a second study, beside their originals (Figure 4 of the paper)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from analysis.figures.base import new_figure
from analysis.figures.style import COLOURS, axis_title, hover_texts
from analysis.formatting import as_text
from analysis.measures.labels import is_sparse
from analysis.measures.studies import WCAL, Study, architecture_label, compared_studies
from analysis.pareto.dominance import nondominated
from analysis.results.table import ResultTable


@dataclass(frozen=True)
class Pair:
    """A fixed sparse architecture and the dense original of the same model, in the plane of the first two task losses."""

    table: ResultTable
    title: str
    """The architecture's display name, with the study's name if a sweep has several studies of it."""
    sparse: NDArray[np.int64]
    """Trials of the fixed architecture, as rows of `table.ok.frame`."""
    dense: NDArray[np.int64]
    """Trials with k0 = 0 in the study that it is compared with, as rows of `table.ok.frame`."""

    @property
    def columns(self) -> list[str]:
        """The columns on the axes: the first two task objectives."""
        return [objective["column"] for objective in self.table.task_objectives[:2]]

    def on_front(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the trials that no other trial of these rows dominates in the two losses drawn."""
        return nondominated(self.table.ok.values(self.columns)[rows])

    def sparsity(self) -> tuple[float, float] | None:
        """Return the smallest and largest sparsity rate of the sparse trials, fractions; None if no rate is known."""
        rates = self.table.ok.frame["sparsity_rate"].to_numpy(dtype=np.float64, na_value=np.nan)[self.sparse]
        known = rates[np.isfinite(rates)]
        return (float(known.min()), float(known.max())) if len(known) else None


def second_study_pairs(table: ResultTable) -> list[Pair]:
    """List the pairs of a sweep in the manifest's order.

    The list is empty if the sweep has only one task, or if one side has no finished trial.

    The original of a `fixed_architecture` study is the `wcal_growl` study of the same model with k0 = 0. If there are several, a study with
    the same scalarization is preferred, then a study that has only k0 = 0.
    """
    if len(table.task_objectives) < 2:
        return []
    studies = compared_studies(table)
    names = table.ok.frame["study"].astype(object).where(table.ok.frame["study"].notna(), "").to_numpy()
    # Without a sparsity objective nothing is pruned, although `is_sparse` marks all trials there.
    pruned = is_sparse(table.ok) if table.sparsity_objective is not None else np.zeros(len(names), dtype=bool)
    rows = {study.name: np.flatnonzero((names == study.name) & ~pruned) for study in studies}
    has_pruned = {study.name: bool((pruned & (names == study.name)).any()) for study in studies}
    fixed = [study for study in studies if study.is_second]
    titles = [study.model for study in fixed]
    pairs = []
    for study in fixed:
        originals = [other for other in studies if other.method == WCAL and other.model == study.model and len(rows[other.name])]
        if not originals or not len(rows[study.name]):
            continue
        original = min(originals, key=lambda other: (not _alike(study, other), has_pruned[other.name]))
        name = architecture_label(study.model)
        title = f"{name} ({study.name})" if titles.count(study.model) > 1 else name
        pairs.append(Pair(table, title, rows[study.name], rows[original.name]))
    return pairs


def has_second_study(tables: Sequence[ResultTable]) -> bool:
    """Return whether some sweep has a pair to draw."""
    return any(second_study_pairs(table) for table in tables)


def _alike(study: Study, other: Study) -> bool:
    return study.scalarization is None or other.scalarization is None or study.scalarization == other.scalarization


_FILLED = ("circle", "diamond", "square", "cross")
"""Symbols of sparse networks; the originals have the open versions."""
_PANEL = (400, 380)
"""Width and height of a panel, in pixels."""
_FAINT = 0.3


def second_study_figure(tables: ResultTable | Sequence[ResultTable]) -> go.Figure:
    """Draw fixed sparse architectures beside their dense originals.

    Each problem is a row with one panel for each architecture and one with all fronts. A front is a staircase over all seeds together,
    non-dominated in the two losses drawn; dominated trials are faint. An architecture keeps its colour and symbol in every panel;
    sparse networks have filled symbols and solid lines, originals open symbols and dashed lines.

    Args:
        tables: one or more sweeps with a `fixed_architecture` study and the `wcal_growl` study (k0 = 0) of the same model;
            other sweeps are left out.

    Returns:
        A figure; a trace's `customdata` holds trial ids, its `meta` whether it is `sparse` or `dense`.

    Raises:
        ValueError: no sweep has both studies of a model with at least one finished trial each.

    Source: Hotegni, Berkemeier and Peitz, IJCNN 2024, Figure 4 and appendix B.
    """
    problems = [pairs for table in _as_list(tables) if (pairs := second_study_pairs(table))]
    if not problems:
        raise ValueError(
            "second_study_figure expects a fixed_architecture study and a wcal_growl study with k0 = 0 of its model, found none"
        )
    n_columns = max(map(len, problems)) + 1
    titles = {
        (i, j): title for i, pairs in enumerate(problems) for j, title in enumerate(_titles(pairs, len(problems) > 1, n_columns)) if title
    }
    grid: list[list[dict[str, Any] | None]] = [[{} if (i, j) in titles else None for j in range(n_columns)] for i in range(len(problems))]
    figure = make_subplots(
        rows=len(problems),
        cols=n_columns,
        specs=grid,
        subplot_titles=list(titles.values()),
        horizontal_spacing=0.22 / n_columns,
        vertical_spacing=0.3 / len(problems),
    )
    looks = {title: i for i, title in enumerate(dict.fromkeys(pair.title for pairs in problems for pair in pairs))}
    named: set[str] = set()
    for row, pairs in enumerate(problems, start=1):
        for number, pair in enumerate(pairs, start=1):
            for column, is_comparison in ((number, False), (n_columns, True)):
                for trace in _traces(pair, looks[pair.title], is_comparison):
                    trace.showlegend = trace.showlegend is not False and trace.legendgroup not in named
                    named |= {trace.legendgroup} if trace.showlegend else set()
                    figure.add_trace(trace, row=row, col=column)
                _name_axes(figure, pair, row, column)
    figure.update_layout(new_figure().layout)
    size = {"width": _PANEL[0] * n_columns, "height": _PANEL[1] * len(problems) + 60}
    figure.update_layout(**size, margin={"t": 40, "b": 90}, legend={"y": -0.22 / len(problems)})
    figure.update_layout(meta={"caption": second_study_caption(tables)})
    return figure


def second_study_caption(tables: ResultTable | Sequence[ResultTable]) -> str:
    """Explain in a few sentences what the figure shows."""
    pairs = [pair for table in _as_list(tables) for pair in second_study_pairs(table)]
    rates = [f"{pair.title} {_percents(*rates)}" for pair in pairs if (rates := pair.sparsity())]
    sparse = f" Zero rows of the sparse networks: {'; '.join(dict.fromkeys(rates))}." if rates else ""
    more = any(len(pair.table.task_objectives) > 2 for pair in pairs)
    return (
        "Fronts of the task losses that remain when a sparse network is retrained from scratch (filled symbols, solid lines), beside those "
        "of the original network without sparsity (open symbols, dashed lines). A staircase joins the trials that no other trial of its "
        f"line dominates in the two losses drawn{', the first two of the sweep' if more else ''}; dominated ones are faint; all seeds "
        f"are drawn together.{sparse}"
    )


def _as_list(tables: ResultTable | Sequence[ResultTable]) -> list[ResultTable]:
    return [tables] if isinstance(tables, ResultTable) else list(tables)


def _titles(pairs: Sequence[Pair], names_problem: bool, n_columns: int) -> list[str]:
    """The titles of a row's panels, empty where there is no panel; the comparison comes last."""
    problem = pairs[0].table.manifest.get("problem")
    name = str(problem.get("name") if isinstance(problem, dict) else problem)
    suffix = f" on {as_text(name)}" if names_problem else ""
    gaps = [""] * (n_columns - 1 - len(pairs))
    return [*(f"{as_text(pair.title)}{suffix}" for pair in pairs), *gaps, f"All fronts{suffix}"]


def _traces(pair: Pair, look: int, is_comparison: bool) -> Iterator[go.Scatter]:
    """Yield the traces of a panel's sparse and dense trials; the comparison shows only the fronts."""
    for kind, rows in (("dense", pair.dense), ("sparse", pair.sparse)):
        front = pair.on_front(rows)
        name = f"{as_text(pair.title)}, {'sparse' if kind == 'sparse' else 'original'}"
        symbol = _FILLED[look % len(_FILLED)] + ("" if kind == "sparse" else "-open")
        style = {"marker": {"color": COLOURS[look % len(COLOURS)], "symbol": symbol, "size": 9}, "meta": {"group": kind}}
        common: dict[str, Any] = {"name": name, "legendgroup": name, **style}
        if not is_comparison and not front.all():
            yield go.Scatter(**_points(pair, rows[~front]), **common, mode="markers", opacity=_FAINT, showlegend=False)
        line = {"shape": "hv", "width": 1.8, "color": COLOURS[look % len(COLOURS)], "dash": "solid" if kind == "sparse" else "dash"}
        yield go.Scatter(**_points(pair, rows[front]), **common, mode="lines+markers", line=line)


def _points(pair: Pair, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Coordinates and hover texts of trials, sorted along the front."""
    x, y = pair.columns
    frame = pair.table.ok.frame.iloc[rows].sort_values([x, y])
    hover = {"hovertext": hover_texts(pair.table, frame), "hoverinfo": "text"}
    return {"x": frame[x].tolist(), "y": frame[y].tolist(), "customdata": frame["trial_id"].tolist(), **hover}


def _name_axes(figure: go.Figure, pair: Pair, row: int, column: int) -> None:
    x, y = pair.columns
    figure.update_xaxes(title={"text": axis_title(pair.table, x), "standoff": 8}, row=row, col=column)
    figure.update_yaxes(title={"text": axis_title(pair.table, y), "standoff": 8}, row=row, col=column)


def _percents(low: float, high: float) -> str:
    texts = list(dict.fromkeys(f"{100 * rate:.1f}" for rate in (low, high)))
    return f"{' to '.join(texts)} %"
