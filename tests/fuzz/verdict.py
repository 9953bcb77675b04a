"""Judges what a command did by its exit code, its output and the files that it opened."""

import re
import unicodedata
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

EXIT_CODES = (0, 2, 3)
_ERROR = re.compile(r"(Error: |Usage: )")


@dataclass
class Printed:
    """The end of one command."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    exception: BaseException | None = None


def complaints_about(printed: Printed) -> list[str]:
    """Return what is wrong with the end of a command."""
    command = " ".join(printed.arguments[:3])
    if printed.exception is not None and not isinstance(printed.exception, SystemExit):
        return [f"{command}: {type(printed.exception).__name__}: {str(printed.exception)[:200]} @ {_where(printed.exception)}"]
    found = []
    if printed.code not in EXIT_CODES:
        found.append(f"{command}: exit code {printed.code}")
    if printed.code == 2 and not _ERROR.match(printed.stderr):
        found.append(f"{command}: exit code 2 with {printed.stderr[:80]!r}")
    if "Traceback" in printed.stderr:
        found.append(f"{command}: a traceback was printed")
    for name, text in (("stdout", printed.stdout), ("stderr", printed.stderr)):
        if obeyed := sorted({letter for letter in text if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cf", "Cs")}):
            found.append(f"{command}: {name} holds {obeyed}")
    return found


def _where(error: BaseException) -> str:
    """Return the innermost place in the code of the product."""
    place, trace = "?", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if {"sweep", "analysis", "trainer"} & set(path.parts) and "site-packages" not in path.parts and "tests" not in path.parts:
            place = f"{'/'.join(path.parts[-2:])}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


@dataclass
class _Page(HTMLParser):
    """Collects the elements and attributes of a page, and the texts in which plotly looks for markup."""

    elements: set[tuple[str, str]] = field(default_factory=set)
    n_scripts: int = 0

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.n_scripts += tag == "script"
        for name, value in attrs or [("", None)]:
            self.elements.add((tag, name))
            if name in ("href", "src") and value is not None and not value.startswith(("#", "data:,")):
                self.elements.add((tag, f"{name}={value[:30]}"))


def complaints_about_page(page: str, allowed: set[tuple[str, str]]) -> list[str]:
    """Return elements or attributes that a clean report does not have, and marks that plotly would read as markup.

    Args:
        page: the HTML of the report.
        allowed: the result of `elements_of` for clean reports.
    """
    found = [f"report: element {tag} {name}" for tag, name in sorted(elements_of(page) - allowed)]
    parsed = _parsed(page)
    if parsed.n_scripts != 3:
        found.append(f"report: {parsed.n_scripts} script elements")
    data = page.partition('id="report-data">')[2].partition("</script>")[0]
    if "<" in data:
        found.append("report: < in its data")
    return found


def elements_of(page: str) -> set[tuple[str, str]]:
    """Return (tag, attribute) of all elements."""
    return _parsed(page).elements


def elements_of_templates() -> set[tuple[str, str]]:
    """Return (tag, attribute) of everything that the templates can write, whatever their conditions are."""
    folder = files("analysis.templates").joinpath("html")
    pages = [
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in sorted(entry.name for entry in folder.iterdir())
        if name.endswith(".html")
    ]
    return set().union(*(elements_of(re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "", page, flags=re.DOTALL)) for page in pages))


def _parsed(page: str) -> _Page:
    parser = _Page()
    # plotly.js itself is long and holds no markup that counts: the parser takes scripts as text.
    parser.feed(page)
    return parser
