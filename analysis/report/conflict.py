"""The report's section on task conflict: the answer, its figure, a row for each cluster, and the rule."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from analysis.figures.conflict import conflict_panels
from analysis.measures.conflict import (
    ClusterConflict,
    Conflict,
    StudyConflict,
    conflict_caption,
    conflict_sentences,
    sparsity_text,
    task_conflict,
    verdict_text,
)
from analysis.measures.labels import DENSE
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable


@dataclass(frozen=True)
class _Cell:
    text: str
    spread: str = ""


@dataclass(frozen=True)
class _Row:
    study: str
    sparsity: str
    n_trials: int
    n_front: int
    cells: tuple[_Cell, ...]
    verdict: str


def conflict_section(table: ResultTable, sparsity_width: float) -> Section | None:
    """Show at what sparsity the tasks begin to conflict; None if `task_conflict` has no answer.

    Args:
        table: what `read_results` gave.
        sparsity_width: gap between sparsity rates, a fraction, at which a new cluster begins.
    """
    conflict = task_conflict(table, sparsity_width)
    if conflict is None:
        return None
    panels = conflict_panels(conflict)
    figure = panels if len(panels.data) else None
    title = "At what sparsity do the tasks begin to conflict?"
    return Section("conflict", title, conflict_as_html(conflict, has_figure=figure is not None), figure)


def conflict_as_html(conflict: Conflict, has_figure: bool = True) -> Markup:
    """Render the section without its heading, with a place for its figure if it has one; names are escaped."""
    return rendered(
        "conflict.html",
        sentences=conflict_sentences(conflict),
        has_figure=has_figure,
        caption=conflict_caption(conflict),
        has_studies=len(conflict.studies) > 1,
        titles=list(_titles(conflict)),
        rows=[_row(conflict, study, cluster) for study in conflict.studies for cluster in study.clusters],
    )


def _titles(conflict: Conflict) -> Iterator[str]:
    for task, unit in zip(conflict.tasks, conflict.units, strict=True):
        yield f"Extent of {task}" + (f" ({unit})" if unit else "")
    if conflict.box is not None:
        yield "Hypervolume"
    yield "Mean cosine"


def _row(conflict: Conflict, study: StudyConflict, cluster: ClusterConflict) -> _Row:
    cells = [_Cell(f"{extent:.3g}") for extent in cluster.extents]
    if conflict.box is not None:
        cells.append(_Cell(f"{cluster.hypervolume:.4g}"))
    cosine = cluster.cosine
    if cosine.mean is None:
        cells.append(_Cell("–"))
    else:
        pair = f" ({', '.join(cluster.pair)})" if len(conflict.tasks) > 2 else ""
        cells.append(_Cell(f"{cosine.mean:.2f}{pair}", "" if cosine.half_width is None else f"{cosine.half_width:.2f}"))
    sparsity = f"{sparsity_text(cluster)}, k0 = 0" if cluster.group == DENSE else sparsity_text(cluster)
    return _Row(study.study, sparsity, cluster.n_trials, cluster.n_front, tuple(cells), verdict_text(cluster))
