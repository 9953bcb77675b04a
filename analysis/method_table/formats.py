"""The method table as plain text, Markdown, LaTeX, CSV and JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from analysis.formatting import latex_escaped, markdown_escaped
from analysis.method_table.caption import blocks, caption, warnings
from analysis.method_table.cells import LEADING, TRAILING, Cell, cells_of, leading_texts, shown_columns, trailing_text
from analysis.method_table.lines import LOSS_BOX, Line
from analysis.method_table.table import DatasetLines, MethodTable, method_table
from analysis.pareto.intervals import Estimate
from analysis.results.table import read_results

_GAP = "  "


def as_text(table: MethodTable) -> str:
    """Write aligned columns with `[boxed]` and `*bold*` numbers: a block for each dataset, the caption last."""
    parts = []
    for dataset in table.datasets:
        for heading, lines in blocks(dataset):
            header, *rows = _rows(dataset, lines, _marked_text)
            title = f"{dataset.name}: {heading[0].lower()}{heading[1:]}" if heading else dataset.name
            parts.append("\n".join([title, *_aligned([header, *rows])]))
    legend = "[x] is boxed and *x* is bold." if any(line.boxed or line.bold for line in table.lines) else ""
    return "\n\n".join([*parts, "\n".join(text for text in (caption(table), legend, *warnings(table)) if text)])


def as_markdown(table: MethodTable) -> str:
    """Write pipe tables with `[boxed]` and `**bold**` numbers; names are escaped."""
    parts = []
    for dataset in table.datasets:
        for heading, lines in blocks(dataset):
            header, *rows = _rows(dataset, lines, _marked_markdown, markdown_escaped)
            n_text = len(LEADING)
            ruler = [":---" if i < n_text else "---:" for i in range(len(header))]
            parts.append(f"### {markdown_escaped(dataset.name)}{': ' if heading else ''}{heading}")
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *rows)))
    parts.append(markdown_escaped(caption(table)))
    if found := warnings(table):
        parts.append("\n".join(f"- {markdown_escaped(text)}" for text in found))
    return "\n\n".join(parts)


def _rows(dataset: DatasetLines, lines: Sequence[Line], show: Callable[[Cell], str], escape: Callable[[str], str] = str) -> list[list[str]]:
    """Return the header and the lines as rows of text; only the first line of an architecture names it."""
    columns = shown_columns(dataset, lines)
    rows = [[*LEADING, *(escape(column.title) for column in columns), TRAILING]]
    before = None
    for line in lines:
        architecture, *others = leading_texts(line, dataset)
        numbers = [show(cell) for cell in cells_of(line, columns)]
        first = "" if line.study.model == before else architecture
        rows.append([*(escape(" ".join(text.split())) for text in (first, *others)), *numbers, trailing_text(line)])
        before = line.study.model
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the rows' text to the left and their numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    n_text = len(LEADING)
    return [
        _GAP.join(cell.ljust(width) if i < n_text else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def _marked_text(cell: Cell) -> str:
    text = f"[{cell.text}]" if cell.is_boxed else cell.text
    text = f"*{text}*" if cell.is_bold else text
    return f"{text} ± {cell.spread}" if cell.spread else text


def _marked_markdown(cell: Cell) -> str:
    text = rf"\[{cell.text}\]" if cell.is_boxed else cell.text
    text = f"**{text}**" if cell.is_bold else text
    return f"{text} ± {cell.spread}" if cell.spread else text


_NEEDS = "% \\usepackage{booktabs} \\usepackage{graphicx} \\usepackage[T1]{fontenc}"


def as_latex(table: MethodTable) -> str:
    """Write one `table*` with a tabular for each dataset and block; a comment names the packages it needs."""
    parts = [part for dataset in table.datasets for heading, lines in blocks(dataset) for part in _block(dataset, heading, lines)]
    text = latex_escaped(" ".join([caption(table), *warnings(table)]))
    return "\n".join([_NEEDS, r"\begin{table*}", r"\centering", *parts, rf"\caption{{{text}}}", r"\end{table*}"])


def _block(dataset: DatasetLines, heading: str, lines: Sequence[Line]) -> Iterator[str]:
    columns = shown_columns(dataset, lines)
    n_columns = len(LEADING) + len(columns) + 1
    yield r"\resizebox{\textwidth}{!}{%"
    yield rf"\begin{{tabular}}{{{'l' * len(LEADING)}{'r' * (n_columns - len(LEADING))}}}"
    yield r"\toprule"
    title = f"{dataset.name}: {heading}" if heading else dataset.name
    yield rf"\multicolumn{{{n_columns}}}{{l}}{{{latex_escaped(title)}}} \\"
    yield r"\midrule"
    yield rf"{' & '.join(map(latex_escaped, (*LEADING, *(column.title for column in columns), TRAILING)))} \\"
    before = None
    for line in lines:
        architecture, *others = leading_texts(line, dataset)
        is_first = line.study.model != before
        if is_first:
            yield r"\midrule"
        texts = [latex_escaped(text) for text in (architecture if is_first else "", *others)]
        numbers = [_marked(cell) for cell in cells_of(line, columns)]
        yield rf"{' & '.join([*texts, *numbers, trailing_text(line)])} \\"
        before = line.study.model
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\par\medskip"


def _marked(cell: Cell) -> str:
    text = rf"\textbf{{{latex_escaped(cell.text)}}}" if cell.is_bold else latex_escaped(cell.text)
    text = rf"\fbox{{{text}}}" if cell.is_boxed else text
    return rf"{text} $\pm$ {cell.spread}" if cell.spread else text


HYPERVOLUME = "hypervolume.test"
TAKEN_OVER = "taken_over_s"
_IDENTITY = ("block", "dataset", "sweep", "architecture", "study", "method", "scalarization", "label", "kind", "k")
_COUNTS = ("n_seeds", "n_seeds_planned", "n_ok", "n_diverged", "n_error", "n_missing")
_MARKS = ("boxed", "bold")
_LISTS = ("k", *_MARKS)


def as_json(table: MethodTable) -> str:
    """Write a JSON object with `confidence`, `caption`, `warnings` and `lines` (`records`)."""
    found = {
        "confidence": table.confidence,
        "hypervolume_box": {"ideal": list(LOSS_BOX.ideal), "nadir": list(LOSS_BOX.nadir)},
        "caption": caption(table),
        "warnings": list(warnings(table)),
        "lines": records(table),
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def as_csv(table: MethodTable) -> str:
    """Write CSV with one row for each line: a mean under its column's name, its interval under `<name>.low` and `<name>.high`."""
    names = dict.fromkeys(column.name for dataset in table.datasets for column in dataset.columns)
    numbers = [part for name in (*names, HYPERVOLUME, TAKEN_OVER) for part in (name, f"{name}.low", f"{name}.high")]
    file = io.StringIO()
    writer = csv.DictWriter(file, [*_IDENTITY, *_COUNTS, *numbers, *_MARKS], restval="", lineterminator="\n")
    writer.writeheader()
    for record in records(table):
        values = record.pop("values")
        row = record | {name: None if record[name] is None else json.dumps(record[name]) for name in _LISTS}
        for name, found in values.items():
            row |= {name: found["mean"], f"{name}.low": found["low"], f"{name}.high": found["high"]}
        writer.writerow(row)
    return file.getvalue().rstrip("\n")


def records(table: MethodTable) -> list[dict[str, Any]]:
    """Convert each line to a dictionary of plain values: its identity, counts, `values` (name -> mean, low, high, n), `boxed` and `bold`.

    `block` is `methods` or `second study`; `kind` is `none`, `dense` (k0 = 0) or `sparse` (k0 > 0); `k` has k0 first.
    """
    return [
        _record(dataset, block, line)
        for dataset in table.datasets
        for block, lines in (("methods", dataset.lines), ("second study", dataset.second))
        for line in lines
    ]


def _record(dataset: DatasetLines, block: str, line: Line) -> dict[str, Any]:
    study = line.study
    texts = (block, dataset.name, line.sweep, study.model, study.name, study.method, study.scalarization, line.label, line.kind)
    k = None if line.preference is None else list(line.preference)
    record: dict[str, Any] = dict(zip(_IDENTITY, (*texts, k), strict=True))
    record |= {"n_seeds": line.n_seeds, "n_seeds_planned": line.n_seeds_planned}
    record |= {f"n_{state}": n for state, n in line.counts.items()}
    values = {column.name: line.values[column.name] for column in dataset.columns if column.name in line.values}
    others = {HYPERVOLUME: line.hypervolume, TAKEN_OVER: line.taken_over_s}
    record["values"] = {name: _plain(found) for name, found in {**values, **others}.items() if found is not None}
    return record | {"boxed": sorted(line.boxed), "bold": sorted(line.bold)}


def _plain(found: Estimate) -> dict[str, float | int | None]:
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


Form = Literal["text", "csv", "json", "markdown", "latex"]
_WRITERS: dict[str, Callable[[MethodTable], str]] = {
    "text": as_text,
    "csv": as_csv,
    "json": as_json,
    "markdown": as_markdown,
    "latex": as_latex,
}


def method_text(table: MethodTable, form: Form | str = "text") -> str:
    """Write a method table as text, without a newline at its end.

    Args:
        table: what `method_table` gave.
        form: `text` and `markdown` for readers, `latex` for a paper, `csv` and `json` for programs.

    Raises:
        ValueError: the form is unknown.
    """
    if form not in _WRITERS:
        raise ValueError(f"method_text expects form one of {', '.join(_WRITERS)}, found form = {form!r}")
    return _WRITERS[form](table)


def folders_text(folders: Sequence[str | Path], form: Form | str = "text") -> tuple[str, tuple[str, ...]]:
    """Write the method table of results folders; return it with the files that could not be read.

    Args:
        folders: the results folders, or addresses in an object store.
        form: as for `method_text`.

    Returns:
        The text, and `path: reason` for each file that could not be read.

    Raises:
        ResultsError: a folder has no readable results, or is given twice.
    """
    table = method_table([read_results(folder) for folder in folders])
    return method_text(table, form), table.unreadable
