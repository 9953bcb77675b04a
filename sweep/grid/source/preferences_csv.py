"""Reads preference vectors from a CSV file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.grid.source.mistakes import ConfigError, Mistake, Position, shown
from sweep.grid.source.mistakes import Path as Keys
from sweep.grid.source.text import read_text
from trainer.problems.facts import SPARSITY

MAX_BYTES = 20_000_000
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One line of the file."""

    position: Position
    numbers: tuple[float, ...]


def read_vectors(path: Path, objectives: Sequence[str], keys: Keys) -> tuple[list[Row], list[Mistake]]:
    """Read the rows of a CSV file with commas. `#` starts a comment, and empty lines are skipped.

    A first line of words is a header. It must name the objectives in order (`sparsity,left,right` or `k_0,k_1,k_2`; `k_0` is
    sparsity, so a problem without it begins with `k_1`), so that no column is assigned to the wrong objective.

    Args:
        path: the file.
        objectives: names of the columns, in order.
        keys: the path of the file's key in the grid file, for mistakes.

    Returns:
        The rows, not yet checked to be preference vectors, and the mistakes found while reading.
    """
    try:
        text = read_text(path, max_bytes=MAX_BYTES)
    except ConfigError as error:
        # Reported at the key of the grid file; if the file is not text, its own line is reported.
        return [], [
            Mistake(keys, mistake.rule, mistake.found or shown(str(path)), mistake.hint, mistake.position) for mistake in error.mistakes
        ]
    rows: list[Row] = []
    mistakes: list[Mistake] = []
    header_allowed = True
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        position = Position(str(path), number, 1)
        cells = [cell.strip() for cell in content.split(",")]
        if header_allowed and all(_number(cell) is None for cell in cells):
            mistakes += _wrong_header(cells, objectives, position, keys)
        else:
            numbers = [_number(cell) for cell in cells]
            if None in numbers:
                wrong = shown(cells[numbers.index(None)])
                mistakes.append(Mistake(keys, "numbers separated by commas expected", wrong, f"write {_format(objectives)}", position))
            else:
                rows.append(Row(position, tuple(number for number in numbers if number is not None)))
        header_allowed = False
    if not rows and not mistakes:
        mistakes.append(Mistake(keys, "at least 1 vector expected", shown(str(path)), f"write one vector per line: {_format(objectives)}"))
    return rows, mistakes


def _number(cell: str) -> float | None:
    """Return the number in a cell, which may be infinite or NaN; None if it is not a number."""
    if _NUMBER.fullmatch(cell):
        return float(cell)
    match = _NOT_FINITE.fullmatch(cell)
    return float(cell.replace(".", "")) if match else None


def _format(objectives: Sequence[str]) -> str:
    return ",".join(objectives)


def _wrong_header(cells: Sequence[str], objectives: Sequence[str], position: Position, keys: Keys) -> list[Mistake]:
    numbered = [f"k_{index}" for index, _ in enumerate(objectives, start=0 if SPARSITY in objectives else 1)]
    words = [cell.strip("\"'") for cell in cells]
    if words in (list(objectives), numbered):
        return []
    rule = f"the header `{_format(objectives)}` or `{_format(numbered)}` expected"
    return [Mistake(keys, rule, shown(",".join(words)), "name the columns in this order, or leave the header out", position)]
