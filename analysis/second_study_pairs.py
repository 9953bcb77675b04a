"""Which sparse networks of a sweep were trained afresh, and the dense originals that they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.front import nondominated
from analysis.labels import is_sparse
from analysis.studies import WCAL, Study, architecture_label, compared_studies
from analysis.table import ResultTable


@dataclass(frozen=True)
class Pair:
    """A sparse fixed architecture and the dense original of the same model, in the plane of the first two task losses."""

    table: ResultTable
    title: str
    """The architecture, for people, with the study's name where a sweep has several of them."""
    sparse: NDArray[np.int64]
    """Rows of `table.ok.frame`: trials of the fixed architecture."""
    dense: NDArray[np.int64]
    """Rows of `table.ok.frame`: trials with k0 = 0 of the study that the architecture is compared with."""

    @property
    def columns(self) -> list[str]:
        """What the axes show: the first two task objectives."""
        return [objective["column"] for objective in self.table.task_objectives[:2]]

    def on_front(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the trials that no other one of these rows dominates in the two losses drawn."""
        return nondominated(self.table.ok.values(self.columns)[rows])

    def sparsity(self) -> tuple[float, float] | None:
        """Least and largest sparsity rate of the sparse trials, fractions; None where it is not known."""
        rates = self.table.ok.frame["sparsity_rate"].to_numpy(dtype=np.float64, na_value=np.nan)[self.sparse]
        known = rates[np.isfinite(rates)]
        return (float(known.min()), float(known.max())) if len(known) else None


def second_study_pairs(table: ResultTable) -> list[Pair]:
    """The pairs of a sweep, in the manifest's order; none where it has one task, or nothing finished on either side.

    The original of a `fixed_architecture` study is the `wcal_growl` study of the same model with k0 = 0; of several, one
    with the same scalarization comes first, then one that has nothing but k0 = 0.
    """
    if len(table.task_objectives) < 2:
        return []
    studies = compared_studies(table)
    names = table.ok.frame["study"].astype(object).where(table.ok.frame["study"].notna(), "").to_numpy()
    # k0 counts even in a sweep without a sparsity objective, where `is_sparse` says that all are alike.
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
    """Whether some sweep has a pair to draw."""
    return any(second_study_pairs(table) for table in tables)


def _alike(study: Study, other: Study) -> bool:
    return study.scalarization is None or other.scalarization is None or study.scalarization == other.scalarization
