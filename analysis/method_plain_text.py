"""The table of methods as plain text for terminals, and as Markdown."""

from collections.abc import Callable, Sequence

from analysis.method_caption import blocks, caption, warnings
from analysis.method_cells import LEADING, TRAILING, Cell, cells_of, leading_texts, shown_columns, trailing_text
from analysis.method_line import Line
from analysis.method_table import DatasetLines, MethodTable
from analysis.text_tables import markdown_escaped

_GAP = "  "


def as_text(table: MethodTable) -> str:
    """Aligned columns, `[boxed]` and `*bold*`; a block each dataset, the caption last."""
    parts = []
    for dataset in table.datasets:
        for heading, lines in blocks(dataset):
            header, *rows = _rows(dataset, lines, _marked_text)
            title = f"{dataset.name}: {heading[0].lower()}{heading[1:]}" if heading else dataset.name
            parts.append("\n".join([title, *_aligned([header, *rows])]))
    legend = "[x] is boxed and *x* is bold." if any(line.boxed or line.bold for line in table.lines) else ""
    return "\n\n".join([*parts, "\n".join(text for text in (caption(table), legend, *warnings(table)) if text)])


def as_markdown(table: MethodTable) -> str:
    """Pipe tables, `[boxed]` and `**bold**`; names are escaped."""
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
    """Header and lines; an architecture is named in the first of its lines only."""
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
    """Text to the left, numbers to the right."""
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
