"""The conflict of the tasks as a fragment of the report: the answer, the place of its picture, every cluster, the rule."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analysis.measures.conflict import (
    ClusterConflict,
    Conflict,
    StudyConflict,
    conflict_caption,
    conflict_sentences,
    sparsity_text,
    verdict_text,
)
from analysis.measures.labels import DENSE


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


def conflict_as_html(conflict: Conflict, has_figure: bool = True) -> Markup:
    """The section without its heading, with a place for its picture if it has one; names are escaped, classes are the style sheet's."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = files("analysis.templates").joinpath("html/conflict.html").read_text(encoding="utf-8")
    return Markup(
        environment.from_string(template).render(
            sentences=conflict_sentences(conflict),
            has_figure=has_figure,
            caption=conflict_caption(conflict),
            has_studies=len(conflict.studies) > 1,
            titles=list(_titles(conflict)),
            rows=[_row(conflict, study, cluster) for study in conflict.studies for cluster in study.clusters],
        )
    )


def _titles(conflict: Conflict) -> Iterator[str]:
    for task, unit in zip(conflict.tasks, conflict.units, strict=True):
        yield f"Extent of {task}" + (f" ({unit})" if unit else "")
    if conflict.reference is not None:
        yield "Hypervolume"
    yield "Mean cosine"


def _row(conflict: Conflict, study: StudyConflict, cluster: ClusterConflict) -> _Row:
    cells = [_Cell(f"{extent:.3g}") for extent in cluster.extents]
    if conflict.reference is not None:
        cells.append(_Cell(f"{cluster.hypervolume:.4g}"))
    cosine = cluster.cosine
    if cosine.mean is None:
        cells.append(_Cell("–"))
    else:
        pair = f" ({', '.join(cluster.pair)})" if len(conflict.tasks) > 2 else ""
        cells.append(_Cell(f"{cosine.mean:.2f}{pair}", "" if cosine.half_width is None else f"{cosine.half_width:.2f}"))
    sparsity = f"{sparsity_text(cluster)}, k0 = 0" if cluster.group == DENSE else sparsity_text(cluster)
    return _Row(study.study, sparsity, cluster.n_trials, cluster.n_front, tuple(cells), verdict_text(cluster))
