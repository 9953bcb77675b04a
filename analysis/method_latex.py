r"""The table of methods as LaTeX, for a paper: booktabs, \fbox and \textbf, names escaped."""

from collections.abc import Iterator, Sequence

from analysis.method_caption import blocks, caption, warnings
from analysis.method_cells import LEADING, TRAILING, Cell, cells_of, leading_texts, shown_columns, trailing_text
from analysis.method_line import Line
from analysis.method_table import DatasetLines, MethodTable

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_"},
}
_NEEDS = "% \\usepackage{booktabs} \\usepackage{graphicx} \\usepackage[T1]{fontenc}"


def as_latex(table: MethodTable) -> str:
    """One `table*` with a tabular for each dataset and block; a comment says which packages it needs."""
    parts = [part for dataset in table.datasets for heading, lines in blocks(dataset) for part in _block(dataset, heading, lines)]
    text = escaped(" ".join([caption(table), *warnings(table)]))
    return "\n".join([_NEEDS, r"\begin{table*}", r"\centering", *parts, rf"\caption{{{text}}}", r"\end{table*}"])


def escaped(text: str) -> str:
    """Text in which LaTeX sees nothing but text."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _block(dataset: DatasetLines, heading: str, lines: Sequence[Line]) -> Iterator[str]:
    columns = shown_columns(dataset, lines)
    n_columns = len(LEADING) + len(columns) + 1
    yield r"\resizebox{\textwidth}{!}{%"
    yield rf"\begin{{tabular}}{{{'l' * len(LEADING)}{'r' * (n_columns - len(LEADING))}}}"
    yield r"\toprule"
    title = f"{dataset.name}: {heading}" if heading else dataset.name
    yield rf"\multicolumn{{{n_columns}}}{{l}}{{{escaped(title)}}} \\"
    yield r"\midrule"
    yield rf"{' & '.join(map(escaped, (*LEADING, *(column.title for column in columns), TRAILING)))} \\"
    before = None
    for line in lines:
        architecture, *others = leading_texts(line, dataset)
        is_first = line.study.model != before
        if is_first:
            yield r"\midrule"
        texts = [escaped(text) for text in (architecture if is_first else "", *others)]
        numbers = [_marked(cell) for cell in cells_of(line, columns)]
        yield rf"{' & '.join([*texts, *numbers, trailing_text(line)])} \\"
        before = line.study.model
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\par\medskip"


def _marked(cell: Cell) -> str:
    text = rf"\textbf{{{escaped(cell.text)}}}" if cell.is_bold else escaped(cell.text)
    text = rf"\fbox{{{text}}}" if cell.is_boxed else text
    return rf"{text} $\pm$ {cell.spread}" if cell.spread else text
