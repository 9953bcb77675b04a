"""The hypervolumes of test losses of a table's lines, beside what the literature reports for data made alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.literature import GMOOAR, PUBLISHED_HYPERVOLUMES
from analysis.loss_hypervolume import REFERENCE
from analysis.method_line import Line
from analysis.method_table import DatasetLines, MethodTable
from analysis.studies import architecture_label

LITERATURE = "literature"
"""Stands where an architecture would."""


@dataclass(frozen=True)
class AreaRow:
    """One method's hypervolume, for people."""

    architecture: str
    method: str
    value: str
    spread: str = ""
    seeds: str = ""
    trials: str = ""
    """Finished ones of all seeds."""


@dataclass(frozen=True)
class Area:
    """The hypervolumes of one dataset."""

    title: str
    groups: Sequence[Sequence[AreaRow]]
    """Rows of one architecture together, the literature's last."""
    caption: str


def areas_of(table: MethodTable) -> list[Area]:
    """One table a dataset of two classification tasks; both blocks' lines, as their losses are comparable."""
    areas = []
    for dataset in table.datasets:
        groups: dict[str, list[AreaRow]] = {}
        for model, row in _rows((*dataset.lines, *dataset.second)):
            groups.setdefault(model, []).append(row)
        if groups:
            published = [AreaRow(LITERATURE, one.method, f"{one.value:.2f}") for one in PUBLISHED_HYPERVOLUMES.get(dataset.problem, ())]
            title = f"Hypervolume of test cross-entropy on {dataset.name}"
            areas.append(Area(title, [*groups.values(), *([published] if published else [])], " ".join(_caption(table, dataset))))
    return areas


def _rows(lines: Sequence[Line]) -> Iterator[tuple[str, AreaRow]]:
    """(model, row) of each line that has a hypervolume."""
    for line in lines:
        found = line.hypervolume
        if found is not None and found.mean is not None:
            spread = "" if found.half_width is None else f"{found.half_width:.3f}"
            architecture, n_trials = architecture_label(line.study.model), line.counts["ok"]
            yield line.study.model, AreaRow(architecture, line.label, f"{found.mean:.3f}", spread, str(found.n), str(n_trials))


def _caption(table: MethodTable, dataset: DatasetLines) -> Iterator[str]:
    corner = ", ".join(f"{value:g}" for value in REFERENCE)
    yield (
        f"The area of the union over a line's trials i of [L1(i), {REFERENCE[0]:g}] x [L2(i), {REFERENCE[1]:g}], L1 and L2 being the "
        f"test cross-entropies of the two tasks in nats: what its non-dominated test losses dominate below the reference point ({corner}); "
        "higher is better, 4 at most. It is computed for each seed; shown are the mean over seeds and half of the "
        f"{100 * table.confidence:g} % confidence interval."
    )
    if dataset.problem in PUBLISHED_HYPERVOLUMES:
        yield f"Literature: {GMOOAR}. So the data differ: the protocol is comparable, the numbers are not to the last digit."
