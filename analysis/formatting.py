"""Values as text: numbers, preference vectors, plotly's labels, Markdown and LaTeX tables. Imports neither numpy nor pandas."""

import html
import math
import re
from collections.abc import Sequence
from typing import Any

_LEAST_KWH = 0.1


def significant(value: float) -> str:
    """Write a number with three significant digits and never as a power of ten.

    Args:
        value: finite and >= 0, in any unit.

    Returns:
        Thousands are grouped by commas; trailing zeros behind the decimal point are left out.
    """
    n_decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    text = f"{value:,.{n_decimals}f}"
    return text.rstrip("0").rstrip(".") if n_decimals else text


def energy_text(kwh: float) -> str:
    """Write an energy in kWh, or in Wh below 0.1 kWh.

    Args:
        kwh: finite and >= 0, in kilowatt-hours.
    """
    return f"{significant(kwh)} kWh" if kwh >= _LEAST_KWH else f"{significant(1000 * kwh)} Wh"


def as_text(name: object) -> str:
    """Escape a name so that plotly finds no markup in it; quotes are kept, because plotly does not know their entities."""
    return html.escape(str(name), quote=False)


_LATEX = {
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


def latex_escaped(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a pipe table; cells are escaped.

    Args:
        header: the column headings.
        rows: the cells of each row, one for each heading.
    """
    cells = [[markdown_escaped(cell) for cell in row] for row in (header, *rows)]
    ruler = [":---"] * len(header)
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], ruler, *cells[1:]))


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a tabular with booktabs rules; cells are escaped, and a comment names the packages it needs.

    Args:
        header: the column headings.
        rows: the cells of each row, one for each heading.
    """
    body = [rf"{' & '.join(latex_escaped(cell) for cell in row)} \\" for row in (header, *rows)]
    needs = r"% \usepackage{booktabs} \usepackage[T1]{fontenc}"
    start = rf"\begin{{tabular}}{{{'l' * len(header)}}}"
    return "\n".join([needs, start, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"])


def markdown_escaped(text: str) -> str:
    """Escape text for Markdown."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split())).replace("<", "&lt;").replace(">", "&gt;")


def preference_text(k: Any, has_sparsity: bool = True) -> str:
    """Write a preference vector with four significant digits, which suffice to tell vectors apart.

    Args:
        k: as stored, with k0 first, shape (1 + n_tasks,); None or NaN for a method without a preference. In a damaged row, a missing entry
            is None.
        has_sparsity: False omits k0, which is 0 in a sweep without a sparsity objective.

    Returns:
        For example `(0.001, 0.2, 0.799)`; `none` without a preference, and `?` for an entry that is missing.
    """
    if k is None or isinstance(k, float):
        return "none"
    return f"({', '.join('?' if share is None else f'{share:.4g}' for share in (k if has_sparsity else k[1:]))})"
