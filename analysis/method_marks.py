"""Which numbers of a table of methods are the best of their architecture (boxed) and of their dataset (bold)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from analysis.method_columns import Column
from analysis.method_line import Line


def with_marks(lines: Sequence[Line], columns: Sequence[Column]) -> tuple[Line, ...]:
    """The lines of one dataset with their best numbers marked.

    Means are compared before they are rounded, and equal ones are all marked. A best one needs another line to be better
    than: an architecture with a single line has no box. What a network has to which nothing was done (SR 0, CR 1) is no best.
    """
    boxed: list[set[str]] = [set() for _ in lines]
    bold: list[set[str]] = [set() for _ in lines]
    models = dict.fromkeys(line.study.model for line in lines)
    of_model = [[i for i, line in enumerate(lines) if line.study.model == model] for model in models]
    for column in columns:
        for i in _best(lines, range(len(lines)), column):
            bold[i].add(column.name)
        for members in of_model:
            for i in _best(lines, members, column):
                boxed[i].add(column.name)
    marks = zip(lines, boxed, bold, strict=True)
    return tuple(replace(line, boxed=frozenset(of_architecture), bold=frozenset(of_all)) for line, of_architecture, of_all in marks)


def _best(lines: Sequence[Line], members: Iterable[int], column: Column) -> list[int]:
    """Which of some lines are best in a column; none where nothing is compared."""
    means = {i: mean for i in members if (mean := _mean(lines[i], column)) is not None}
    if len(means) < 2 or column.higher_is_better is None:
        return []
    best = max(means.values()) if column.higher_is_better else min(means.values())
    return [] if best == column.neutral else [i for i, mean in means.items() if mean == best]


def _mean(line: Line, column: Column) -> float | None:
    found = line.values.get(column.name)
    return None if found is None else found.mean
