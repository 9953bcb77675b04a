"""The hypervolume of each method's losses, beside the values that were published."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analysis.measures.studies import architecture_label
from analysis.method_table.lines import REFERENCE, Line
from analysis.method_table.table import DatasetLines, MethodTable


@dataclass(frozen=True)
class PublishedHypervolume:
    """A method's hypervolume on a two-task data set, as published."""

    method: str
    value: float
    """Of test cross-entropy below (2, 2), in nats squared."""


GMOOAR = (
    "Chen and Kwok, Multi-Objective Deep Learning with Adaptive Reference Vectors, NeurIPS 2022 (LeNet, mean of 10 seeds); "
    "their data, those of Lin et al., Pareto Multi-Task Learning, NeurIPS 2019, were never released as a script"
)
"""Where all of `PUBLISHED_HYPERVOLUMES` is from."""
PUBLISHED_HYPERVOLUMES: dict[str, tuple[PublishedHypervolume, ...]] = {
    "multifashion": (
        PublishedHypervolume("single task", 2.22),
        PublishedHypervolume("EPO", 2.31),
        PublishedHypervolume("PHN-EPO", 2.16),
        PublishedHypervolume("COSMOS", 2.31),
        PublishedHypervolume("GMOOAR", 2.33),
    ),
    "multimnist": (
        PublishedHypervolume("EPO", 2.95),
        PublishedHypervolume("COSMOS", 2.95),
        PublishedHypervolume("GMOOAR", 3.02),
    ),
}
"""Problem's name -> what was published for data made by the same protocol."""


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
