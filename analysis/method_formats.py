"""The table of methods of results folders, in the form that is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from analysis.method_latex import as_latex
from analysis.method_plain_text import as_markdown, as_text
from analysis.method_records import as_csv, as_json
from analysis.method_table import MethodTable, method_table
from analysis.table import read_results

Form = Literal["text", "csv", "json", "markdown", "latex"]
_WRITERS: dict[str, Callable[[MethodTable], str]] = {
    "text": as_text,
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "latex": as_latex,
}


def method_text(table: MethodTable, form: Form | str = "text") -> str:
    """A table of methods as text, without a newline at its end.

    Args:
        table: what `method_table` gave.
        form: `text` and `markdown` for people, `latex` for a paper, `csv` and `json` for programs.

    Raises:
        ValueError: another form.
    """
    if form not in _WRITERS:
        raise ValueError(f"method_text expects form one of {', '.join(_WRITERS)}, found form = {form!r}")
    return _WRITERS[form](table)


def folders_text(folders: Sequence[str | Path], form: Form | str = "text") -> tuple[str, tuple[str, ...]]:
    """The table of methods of results folders as text, and the files that could not be read.

    Raises:
        ResultsError: a folder has no readable results, or is given twice.
    """
    table = method_table([read_results(folder) for folder in folders])
    return method_text(table, form), table.unreadable
