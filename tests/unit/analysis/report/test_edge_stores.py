"""Every store of `edge_stores.py`: each page, figure and command has a sensible answer or one clear message, and no text says nan."""

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_stores import EDGE_STORES, HOSTILE_NAMES
from sets import short_cases

from analysis import ResultsError, ResultTable, compare, pick, read_results, suggest
from analysis.decide.compare import comparison_json, comparison_text
from analysis.decide.front import front_text
from analysis.decide.pick import pick_json, pick_text
from analysis.decide.suggest import suggestions_json, suggestions_text
from analysis.figures.catalog import FIGURES
from analysis.figures.export import draw_figure, page_of
from analysis.measures.costs import Costs
from analysis.method_table.formats import folders_text
from analysis.report.cost import cost_texts
from analysis.report.page import render_report

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("error")]

_NO_NUMBER = re.compile(r"(?<![\w.])[-+]?((?i:nan|undefined|inf|infinity)(?! or infinite)|None(?! of)|NaT|<NA>)(?!\w)")
_DATA = re.compile(r'<script type="application/json" id="report-data">(.*?)</script>', re.DOTALL)
_FIGURE_NAMES = [name for name, entry in FIGURES.items() if entry.takes != "samples"]
_PRICES = Costs(1.0, 1.0, 400.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a store by its name; each is written once."""
    folders: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("edge") / "results"
            EDGE_STORES[name](folders[name])
        return folders[name]

    return folder_of


@pytest.fixture(params=short_cases(EDGE_STORES, every=9, full_every=4))
def folder(request: pytest.FixtureRequest, written: Callable[[str], Path]) -> Path:
    return written(request.param)


@pytest.fixture
def table(folder: Path) -> ResultTable:
    return read_results(folder)


def answer(call: Callable[[], str]) -> str:
    """What was said, be it the answer or the reason why there is none; any other exception is a failure."""
    try:
        return call()
    except ResultsError as error:
        return str(error)


def is_for_people(text: str) -> None:
    assert text.strip()
    assert _NO_NUMBER.search(text) is None


def is_json(text: str) -> Any:
    """Strict JSON, which knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    return json.loads(text, parse_constant=refuse)


def words_of(page: str) -> str:
    """What a page shows, without scripts, styles and marks."""
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)))


def texts_of(value: Any, *without: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in without:
                yield from texts_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_of(item)


def test_the_report_is_sensible(table: ResultTable) -> None:
    page = render_report(table, costs=_PRICES)
    is_for_people(words_of(page))
    found = _DATA.search(page)
    assert found is not None
    data = is_json(found.group(1))
    is_for_people("\n".join(texts_of(data, "columns")))
    assert page.count("</script>") == 3
    assert data["n_trials"] == len(table.frame)


def test_figures_are_drawn_or_say_why_not(table: ResultTable) -> None:
    for name in _FIGURE_NAMES:

        def draw(name: str = name) -> str:
            return "\n".join(texts_of(draw_figure(table, name).to_plotly_json()))

        is_for_people(answer(draw))


def test_the_front_is_printed(folder: Path) -> None:
    for form in ("table", "markdown", "latex"):
        is_for_people(front_text(folder, 0.0, form))
    is_json(front_text(folder, 0.0, "json"))
    assert front_text(folder, 0.0, "csv").startswith("trial_id,")


def test_the_table_of_methods_is_printed(folder: Path) -> None:
    for form in ("text", "markdown", "latex"):
        is_for_people(folders_text([folder], form)[0])
    is_json(folders_text([folder], "json")[0])
    assert folders_text([folder], "csv")[0]


def test_a_trial_is_picked_or_the_reason_is_told(table: ResultTable) -> None:
    column = table.objectives[-1]["column"]
    asked: list[dict[str, Any]] = [
        {"minimise": column},
        {"maximise": "sparsity_rate"},
        {"minimise": "wall_s"},
        {"minimise": column, "at_least": {"sparsity_rate": 0.5}},
        {"minimise": column, "at_least": {"sparsity_rate": 5.0}, "at_most": {"wall_s": -1.0}},
    ]
    for options in asked:
        try:
            found = pick(table, **options)
        except ResultsError as error:
            is_for_people(str(error))
            continue
        is_for_people(pick_text(table, found))
        is_json(pick_json(found))


def test_two_fronts_are_compared_or_the_reason_is_told(table: ResultTable, written: Callable[[str], Path]) -> None:
    name = next((study["name"] for study in table.manifest.get("studies") or []), "")
    other = read_results(written("several seeds"))
    for second, studies in ((table, None), (table, (name, name)), (other, None), (other, (name, "main"))):
        try:
            found = compare(table, second, studies=studies)
        except ResultsError as error:
            is_for_people(str(error))
            continue
        is_for_people(comparison_text(found))
        is_json(comparison_json(found))
        is_for_people(answer(lambda found=found: "\n".join(texts_of(found.figure().to_plotly_json()))))


def test_vectors_are_suggested_or_the_reason_is_told(table: ResultTable) -> None:
    for study in (None, *(study["name"] for study in table.manifest.get("studies") or [])):
        try:
            found = suggest(table, 3, study)
        except ResultsError as error:
            is_for_people(str(error))
            continue
        is_for_people(suggestions_text(table, found))
        is_json(suggestions_json(found))


def test_the_cost_is_told(table: ResultTable) -> None:
    for prices in (None, _PRICES):
        section = cost_texts(table, prices)
        if section is not None:
            is_for_people("\n".join(texts_of([section.sentence, section.facts, section.hints])))


@pytest.mark.parametrize("name", ["nothing planned", "no result yet", "no rows", "no rows, odd types", "all failed", "all diverged"])
def test_without_a_result_a_message_names_the_folder_and_says_what_to_do(written: Callable[[str], Path], name: str) -> None:
    table = read_results(written(name))
    calls: tuple[Callable[[], object], ...] = (
        lambda: draw_figure(table, "front"),
        lambda: pick(table, minimise="wall_s"),
        lambda: compare(table, table),
        lambda: suggest(table),
    )
    for call in calls:
        with pytest.raises(ResultsError) as raised:
            call()
        text = str(raised.value)
        assert text.startswith(f"{table.folder}: ")
        assert "\n  hint: " in text
    assert "No front yet" in render_report(table)


@pytest.mark.full
def test_hostile_names_are_text(written: Callable[[str], Path]) -> None:
    for name in ("hostile tasks", "hostile names"):
        page = render_report(read_results(written(name)))
        words = words_of(page)
        for text in HOSTILE_NAMES[:3]:
            assert text in words
        assert "<script>alert" not in page
        assert "<script>alert" not in page_of(draw_figure(read_results(written(name)), "front"), HOSTILE_NAMES[0])


@pytest.mark.parametrize("column", ["study", "trial_id", "k"])
def test_an_objective_that_is_no_number_is_one_error(written: Callable[[str], Path], tmp_path: Path, column: str) -> None:
    EDGE_STORES["two trials"](tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    manifest["objectives"][1]["column"] = column
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ResultsError, match=f"column {column} of the rows holds no numbers"):
        read_results(tmp_path)


def test_a_reference_of_another_length_is_one_error(tmp_path: Path) -> None:
    EDGE_STORES["two trials"](tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"hypervolume_reference": [1.0]}), encoding="utf-8")
    with pytest.raises(ResultsError, match="one number for each of `objectives`"):
        read_results(tmp_path)
