"""Rows of texts as a table: aligned, Markdown or LaTeX."""

import re
from collections.abc import Sequence

from analysis.method_latex import escaped as latex_escaped


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; cells are escaped."""
    cells = [[markdown_escaped(cell) for cell in row] for row in (header, *rows)]
    ruler = [":---"] * len(header)
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], ruler, *cells[1:]))


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A tabular of booktabs' rules; cells are escaped. The first line says which packages it needs."""
    body = [rf"{' & '.join(latex_escaped(cell) for cell in row)} \\" for row in (header, *rows)]
    needs = r"% \usepackage{booktabs} \usepackage[T1]{fontenc}"
    start = rf"\begin{{tabular}}{{{'l' * len(header)}}}"
    return "\n".join([needs, start, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"])


def markdown_escaped(text: str) -> str:
    """Text in which Markdown sees nothing but text."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split())).replace("<", "&lt;").replace(">", "&gt;")
