"""Headings and rounded cells of the method table, for every output format."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.formatting import preference_text
from analysis.measures.studies import architecture_label
from analysis.method_table.caption import seeds_text
from analysis.method_table.columns import Column, Look
from analysis.method_table.lines import Line
from analysis.method_table.table import DatasetLines
from analysis.pareto.intervals import Estimate

NOTHING = "–"
"""Placeholder for a value that was not measured and for the k of a method without preferences."""
LEADING = ("architecture", "method", "k")
"""Headings of the text columns before the numbers."""
TRAILING = "seeds"
_FACTORS: dict[Look, float] = {"percent": 100.0, "ratio": 1.0, "number": 1.0, "seconds": 1.0}


@dataclass(frozen=True)
class Cell:
    """One number, rounded."""

    text: str
    spread: str = ""
    """Half the width of the confidence interval; empty if there is none."""
    is_boxed: bool = False
    is_bold: bool = False


def shown_columns(dataset: DatasetLines, lines: Sequence[Line]) -> list[Column]:
    """List the columns in which some line has a number."""
    return [column for column in dataset.columns if any(_estimate(line, column).mean is not None for line in lines)]


def cells_of(line: Line, columns: Sequence[Column]) -> list[Cell]:
    """Format a line's numbers."""
    return [_cell(line, column) for column in columns]


def leading_texts(line: Line, dataset: DatasetLines) -> tuple[str, str, str]:
    """Format a line's architecture, method and k."""
    k = NOTHING if line.preference is None else preference_text(line.preference, dataset.has_sparsity)
    return architecture_label(line.study.model), line.label, k


def trailing_text(line: Line) -> str:
    """Format a line's number of seeds."""
    return seeds_text(line)


def _estimate(line: Line, column: Column) -> Estimate:
    return line.values.get(column.name) or Estimate(None, None, None, 0)


def _cell(line: Line, column: Column) -> Cell:
    found = _estimate(line, column)
    if found.mean is None:
        return Cell(NOTHING)
    factor = _FACTORS[column.look]
    mean_format, spread_format = _formats(column.look, found.mean)
    spread = "" if found.half_width is None else format(found.half_width * factor, spread_format)
    return Cell(format(found.mean * factor, mean_format), spread, column.name in line.boxed, column.name in line.bold)


def _formats(look: Look, mean: float) -> tuple[str, str]:
    """Return the formats of a mean and its interval; seconds above a hundred need no decimals."""
    if look == "number":
        return ".4g", ".2g"
    digits = ".0f" if look == "seconds" and mean >= 100 else ".2f"
    return digits, digits
