"""The caption and the warnings of the method table: how its numbers were obtained, and what is missing from them."""

from collections.abc import Iterator

from analysis.measures.studies import architecture_label
from analysis.method_table.lines import Line
from analysis.method_table.table import DatasetLines, MethodTable

SECOND_STUDY = "Second study: sparse architectures found earlier, retrained from scratch"
"""Heading of the second block."""


def caption(table: MethodTable) -> str:
    """Explain in a few sentences how the numbers were obtained; `warnings` says what is missing."""
    lines = table.lines
    if not lines:
        return "No trial was planned or trained yet."
    parts = [
        f"Every number is measured on test data and is a mean over seeds; {_intervals(table)}.",
        _seeds(lines),
        *_schedules(table),
        *_choice(table),
        _marks(table),
        "Seconds are a trial's own share of the seconds of its pack; methods with a single phase report them under retrain.",
    ]
    return " ".join(part for part in parts if part)


def warnings(table: MethodTable) -> tuple[str, ...]:
    """List what is missing from the table, one sentence each: seeds, preferences, the time of inherited trials, files."""
    texts: list[str] = []
    for dataset in table.datasets:
        where = f"{dataset.name}, " if len(table.datasets) > 1 else ""
        empty = []
        for line in (*dataset.lines, *dataset.second):
            name = f"{where}{architecture_label(line.study.model)}, {line.label}"
            if line.counts["missing"] == sum(line.counts.values()):
                empty.append(name)
            else:
                texts += [f"{name}: {text}." for text in _missing(line)]
        if empty:
            texts.append(f"No result yet: {'; '.join(empty)}.")
    return (*texts, *(f"Could not be read: {reason}." for reason in table.unreadable))


def seeds_text(line: Line) -> str:
    """Write the number of seeds: `3`, or `2 of 3` if the preference shown has no result for some seed."""
    return str(line.n_seeds) if line.is_complete else f"{line.n_seeds} of {line.n_seeds_planned}"


def _intervals(table: MethodTable) -> str:
    has_interval = any(found.high is not None for line in table.lines for found in line.values.values())
    level = f"{100 * table.confidence:g} %"
    if not has_interval:
        return f"one seed has no interval (from two seeds on there is a {level} confidence interval, Student's t)"
    return f"± is half of the {level} confidence interval over seeds (Student's t), and one seed has none"


def _seeds(lines: tuple[Line, ...]) -> str:
    numbers = sorted({line.n_seeds_planned for line in lines})
    if len(numbers) == 1:
        return f"Every method has {_count(numbers[0], 'seed')}."
    return f"Methods have {numbers[0]} to {numbers[-1]} seeds; the column seeds says how many."


def _schedules(table: MethodTable) -> Iterator[str]:
    """Say how much data and how many epochs were used, because a short schedule on part of the data is a different experiment."""
    for dataset in table.datasets:
        samples = " or ".join(f"{n:,} training samples" for n in dataset.n_train)
        least, most = dataset.n_epochs or (0, 0)
        epochs = (f"{least} epochs a trial" if least == most else f"{least} to {most} epochs a trial") if dataset.n_epochs else ""
        if samples or epochs:
            yield f"{dataset.name}: {', '.join(part for part in (samples, epochs) if part)}."


def _choice(table: MethodTable) -> Iterator[str]:
    """Say how k was chosen, if any line has a preference."""
    lines = ((dataset, line) for dataset in table.datasets for line in (*dataset.lines, *dataset.second))
    goals = sorted({dataset.selection.goal for dataset, line in lines if line.preference is not None})
    if not goals:
        return
    goal = " (or, unless all tasks have accuracies, ".join(goals) + (")" if len(goals) > 1 else "")
    yield (
        f"k was chosen on validation data: of a method's preferences with a result for every seed, the one with {goal}, "
        "averaged over tasks and seeds; the first in the plan where several are equal."
    )


def _marks(table: MethodTable) -> str:
    if not any(line.boxed or line.bold for line in table.lines):
        return ""
    return (
        "The best number of an architecture is boxed and the best of a dataset is bold, compared before rounding; equal ones are all "
        "marked, and the values of an untouched network (SR 0, CR 1) are not."
    )


def _missing(line: Line) -> Iterator[str]:
    if not line.is_complete:
        yield f"{line.n_seeds} of {_count(line.n_seeds_planned, 'seed')}"
    names = {
        "diverged": "diverged",
        "error": "failed",
        "missing": "has no result yet" if line.counts["missing"] == 1 else "have no result yet",
    }
    lost = [f"{line.counts[state]} {text}" for state, text in names.items() if line.counts[state]]
    if lost:
        yield f"of {_count(sum(line.counts.values()), 'trial')} {', '.join(lost)}"
    if line.preference is not None and line.is_complete and line.n_incomplete:
        yield f"{_count(line.n_incomplete, 'preference')} without a result for every seed could not be chosen"
    if line.preference is not None and not line.is_complete and line.n_seeds:
        yield "no preference has a result for every seed, so k was chosen among those with the most"
    if line.taken_over_s is not None:
        seconds = "" if line.taken_over_s.mean is None else f", {line.taken_over_s.mean:.3g} s"
        yield f"its time excludes the trials that it started from ({', '.join(line.taken_from)}{seconds})"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def blocks(dataset: DatasetLines) -> Iterator[tuple[str, tuple[Line, ...]]]:
    """Yield the non-empty blocks of a dataset as (heading, lines); the first block has an empty heading."""
    for heading, lines in (("", dataset.lines), (SECOND_STUDY, dataset.second)):
        if lines:
            yield heading, lines
