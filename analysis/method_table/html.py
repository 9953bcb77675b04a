"""The method table as a fragment of HTML, followed by the hypervolumes of test losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analysis.method_table.caption import SECOND_STUDY, caption, warnings
from analysis.method_table.cells import Cell, cells_of, leading_texts, shown_columns, trailing_text
from analysis.method_table.hypervolume import Area, areas_of
from analysis.method_table.lines import Line
from analysis.method_table.table import DatasetLines, MethodTable


@dataclass(frozen=True)
class _Row:
    label: str
    k: str
    cells: Sequence[Cell]
    seeds: str


@dataclass(frozen=True)
class _Group:
    architecture: str
    lines: Sequence[_Row]


@dataclass(frozen=True)
class _Block:
    dataset: str
    title: str
    titles: Sequence[str]
    groups: Sequence[_Group]


def as_html(table: MethodTable) -> Markup:
    """Render the first block of each dataset, the caption, warnings, and a table of hypervolumes; names are escaped.

    The fragment has no heading; its classes are those of the report's style sheet.
    """
    blocks = [_block(dataset, dataset.lines, f"Methods on {dataset.name}, test data") for dataset in table.datasets if dataset.lines]
    return _rendered(blocks, caption(table), warnings(table), areas_of(table))


def second_as_html(table: MethodTable) -> Markup:
    """Render only the lines of the second study; the first block's caption applies to them too."""
    blocks = [_block(dataset, dataset.second, f"Second study on {dataset.name}") for dataset in table.datasets if dataset.second]
    text = f"{SECOND_STUDY}. Numbers are as in the table of methods; the best ones are marked among these lines alone."
    return _rendered(blocks, text, (), ())


def _rendered(blocks: Sequence[_Block], text: str, found: Sequence[str], areas: Sequence[Area]) -> Markup:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = files("analysis.templates").joinpath("html/methods.html").read_text(encoding="utf-8")
    return Markup(environment.from_string(template).render(blocks=blocks, caption=text, warnings=found, areas=areas))


def _block(dataset: DatasetLines, lines: Sequence[Line], title: str) -> _Block:
    columns = shown_columns(dataset, lines)
    groups = []
    for _, members in groupby(lines, key=lambda line: line.study.model):
        rows, architecture = [], ""
        for line in members:
            architecture, label, k = leading_texts(line, dataset)
            rows.append(_Row(label, k, cells_of(line, columns), trailing_text(line)))
        groups.append(_Group(architecture, rows))
    return _Block(dataset.name, title, [column.title for column in columns], groups)
