"""The report's sections on the methods: the paper's Table I, and its second study."""

from collections.abc import Iterator

from analysis.figures.second_study import has_second_study, second_study_caption, second_study_figure
from analysis.method_table.html import as_html, second_as_html
from analysis.method_table.table import method_table
from analysis.report.section import Section, rendered
from analysis.results.table import ResultTable


def method_sections(table: ResultTable) -> Iterator[Section]:
    """Yield the method table if there is more than one line to compare, and the second study if there is one."""
    methods = method_table(table)
    if len(methods.lines) > 1:
        yield Section("methods", "Methods", as_html(methods))
    if any(dataset.second for dataset in methods.datasets):
        has_figure = has_second_study([table])
        caption = second_study_caption(table) if has_figure else None
        html = rendered("second.html", table=second_as_html(methods), caption=caption)
        yield Section("second", "Second study", html, second_study_figure(table) if has_figure else None)
