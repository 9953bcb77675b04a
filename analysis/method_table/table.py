"""The table of methods (Table I of the paper): datasets, their lines, and which numbers are marked as best."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.method_table.columns import Column, columns_of
from analysis.method_table.lines import Line, lines_of
from analysis.pareto.intervals import CONFIDENCE, check_confidence
from analysis.results.manifest import ResultsError, SelectionRule
from analysis.results.table import ResultTable


def with_marks(lines: Sequence[Line], columns: Sequence[Column]) -> tuple[Line, ...]:
    """Return the lines of one dataset with their best numbers marked.

    Means are compared before rounding, and ties are all marked. A best number needs a competitor: an architecture with a single
    line has no box. The values of an untouched network (SR 0, CR 1) are never marked.

    Args:
        lines: the lines of one dataset.
        columns: the columns of the table.
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
    """Indices of the lines that are best in a column; empty where fewer than two lines have a value."""
    means = {i: mean for i in members if (mean := _mean(lines[i], column)) is not None}
    if len(means) < 2 or column.higher_is_better is None:
        return []
    best = max(means.values()) if column.higher_is_better else min(means.values())
    return [] if best == column.neutral else [i for i, mean in means.items() if mean == best]


def _mean(line: Line, column: Column) -> float | None:
    value = line.values.get(column.name)
    return None if value is None else value.mean


@dataclass(frozen=True)
class DatasetLines:
    """The lines of one dataset, grouped by architecture."""

    name: str
    """The problem's name, followed by the sweep's name if two datasets share it."""
    problem: str
    """The problem's name."""
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    """The first block, the paper's Table I."""
    second: tuple[Line, ...]
    """The second study: sparse networks retrained from scratch, which are not in the paper's table; its best numbers are marked too."""
    selection: SelectionRule
    """How the shown preferences were chosen on validation data."""
    has_sparsity: bool
    """Whether the problem has a sparsity objective, so that k0 may be positive."""
    n_train: tuple[int, ...] = ()
    """The sweeps' numbers of training samples, as far as they are recorded; each distinct number once."""
    n_epochs: tuple[int, ...] = ()
    """Smallest and largest number of epochs of the lines' trials (for evolution: generations); empty if none is recorded."""


@dataclass(frozen=True)
class MethodTable:
    """Lines of all datasets."""

    datasets: tuple[DatasetLines, ...]
    confidence: float
    """Confidence level of the intervals, a fraction."""
    unreadable: tuple[str, ...] = ()
    """Files that could not be read; trials may be missing because of them."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines of both blocks."""
        return tuple(line for dataset in self.datasets for line in (*dataset.lines, *dataset.second))


def method_table(table: ResultTable | Sequence[ResultTable], confidence: float = CONFIDENCE) -> MethodTable:
    """Compare the methods of one or more sweeps, chosen on validation data and described on test data.

    Each study has a line for its trials with k0 = 0, one for k0 > 0, and one for trials without a preference. A line shows
    the preference whose mean over seeds is best on validation data (`chosen_preference`). Anchor runs and searches over settings have no
    line. Lines are grouped by dataset and architecture, in the order of the manifests.

    Args:
        table: one or more tables from `read_results`; those of the same dataset (same problem and data) are compared.
        confidence: confidence level of the intervals over seeds, between 0 and 1.

    Raises:
        ValueError: the confidence is not between 0 and 1.
        ResultsError: a folder is given twice.
    """
    check_confidence(confidence)
    tables = [table] if isinstance(table, ResultTable) else list(table)
    folders = Counter(one.place if one.mirror is not None else str(one.folder.resolve()) for one in tables)
    if twice := next((folder for folder, n in folders.items() if n > 1), None):
        raise ResultsError(f"{twice}: given twice\n  hint: name each results folder once")
    groups: dict[Any, list[ResultTable]] = {}
    for one in tables:
        groups.setdefault(_dataset_of(one), []).append(one)
    problems = Counter(problem for problem, *_ in groups)
    datasets = tuple(
        _dataset(members, problem, f"{problem} ({members[0].name})" if problems[problem] > 1 else problem, confidence)
        for (problem, *_), members in groups.items()
    )
    return MethodTable(datasets, confidence, tuple(f"{one.place}/{reason}" for one in tables for reason in one.unreadable))


def _dataset_of(table: ResultTable) -> tuple[str, str, tuple[str, ...]]:
    """Return what comparable sweeps have in common: problem, data and tasks. The problem's name comes first."""
    problem = table.manifest.get("problem")
    if isinstance(problem, dict):
        return str(problem.get("name")), str(problem.get("fingerprint")), table.tasks
    return str(problem or table.name), "", table.tasks


def _problem_of(table: ResultTable) -> dict[str, Any]:
    problem = table.manifest.get("problem")
    return problem if isinstance(problem, dict) else {}


def _dataset(tables: Sequence[ResultTable], problem: str, name: str, confidence: float) -> DatasetLines:
    columns = tuple({column.name: column for one in tables for column in columns_of(one)}.values())
    lines = [line for one in tables for line in lines_of(one, confidence)]
    first, second = (_arranged((line for line in lines if line.study.is_second == is_second), columns) for is_second in (False, True))
    has_sparsity = any(one.sparsity_objective is not None for one in tables)
    sizes = {options.get("n_train") for one in tables if isinstance(options := _problem_of(one).get("options"), dict)}
    n_train = tuple(sorted(n for n in sizes if isinstance(n, int)))
    shown = {(line.sweep, line.study.name) for line in lines}
    epochs = [
        value
        for one in tables
        for study, value in zip(one.ok.frame["study"].to_list(), one.ok.frame["n_epochs"].to_list(), strict=True)
        if (one.name, study) in shown and value == value
    ]
    n_epochs = (int(min(epochs)), int(max(epochs))) if epochs else ()
    return DatasetLines(name, problem, columns, first, second, tables[0].selection, has_sparsity, n_train, n_epochs)


def _arranged(lines: Iterable[Line], columns: Sequence[Column]) -> tuple[Line, ...]:
    """Group lines by architecture, make their labels unique and mark the best numbers."""
    ordered = list(lines)
    models = list(dict.fromkeys(line.study.model for line in ordered))
    together = sorted(ordered, key=lambda line: models.index(line.study.model))  # the sort is stable, so methods keep their order
    return with_marks(_with_own_labels(together), columns)


def _with_own_labels(lines: Sequence[Line]) -> list[Line]:
    """Make labels unique within an architecture: append the study's name, and the sweep's if they are still equal."""
    longer: tuple[Callable[[Line], str], ...] = (
        lambda line: f"{line.label} ({line.study.name})",
        lambda line: f"{line.label}, {line.sweep}",
    )
    labelled = list(lines)
    for complete in longer:
        shared = Counter((line.study.model, line.label) for line in labelled)
        labelled = [replace(line, label=complete(line)) if shared[line.study.model, line.label] > 1 else line for line in labelled]
    return labelled
