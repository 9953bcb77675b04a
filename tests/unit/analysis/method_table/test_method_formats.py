"""What the table of methods looks like as text, CSV, JSON, Markdown, LaTeX and HTML."""

import csv
import html
import io
import json
import re

import pytest
from method_stores import ALL_STUDIES, accuracies, study, table_rows, write_table_store
from synthetic_store import TWO_TASKS, trial_row

from analysis import method_text, read_results, write_report
from analysis.formatting import latex_escaped
from analysis.method_table.caption import caption
from analysis.method_table.html import as_html, second_as_html
from analysis.method_table.table import method_table

HOSTILE = '</td><script>alert(1)</script> & 50 % of $a_b^c~{#}\\ |x| *y* `z` \n"q"'


@pytest.fixture
def table(tmp_path):
    write_table_store(tmp_path)
    return method_table(read_results(tmp_path))


@pytest.fixture
def hostile(tmp_path):
    tasks = (HOSTILE, "b")
    studies = [study(name, HOSTILE, HOSTILE) for name in (HOSTILE, "other")]
    write_table_store(tmp_path, table_rows(studies, tasks=tasks), studies, tasks, name=HOSTILE, problem={"name": HOSTILE})
    return method_table(read_results(tmp_path))


def test_json_holds_full_precision_and_fractions(table):
    found = json.loads(method_text(table, "json"))
    assert found["confidence"] == 0.95
    assert found["caption"] == caption(table)
    assert len(found["lines"]) == len(table.lines) == 11
    for plain, line in zip(found["lines"], table.lines, strict=True):
        assert plain["k"] == (None if line.preference is None else list(line.preference))
        assert plain["study"] == line.study.name
        for name, estimate in line.values.items():
            assert plain["values"][name] == {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n}
        assert 0 <= plain["values"]["accuracy.test.mean"]["mean"] <= 1
        assert set(plain["boxed"]) == line.boxed
    assert {plain["block"] for plain in found["lines"]} == {"methods", "second study"}


def test_csv_and_json_say_the_same(table):
    lines = list(csv.DictReader(io.StringIO(method_text(table, "csv"))))
    records = json.loads(method_text(table, "json"))["lines"]
    for line, record in zip(lines, records, strict=True):
        for name in ("dataset", "architecture", "study", "method", "label", "kind", "block"):
            assert line[name] == record[name]
        assert (json.loads(line["k"]) if line["k"] else None) == record["k"]
        assert json.loads(line["bold"]) == record["bold"]
        assert int(line["n_seeds"]) == record["n_seeds"]
        for name, found in record["values"].items():
            for key, part in (("mean", name), ("low", f"{name}.low"), ("high", f"{name}.high")):
                assert (float(line[part]) if line[part] else None) == found[key]


def test_csv_of_two_datasets_has_the_columns_of_both(tmp_path):
    one = ALL_STUDIES[5:6]
    write_table_store(tmp_path / "a", table_rows(one), one)
    write_table_store(tmp_path / "b", table_rows(one, tasks=("CIFAR", "MNIST")), one, ("CIFAR", "MNIST"), problem={"name": "cifar10mnist"})
    text = method_text(method_table([read_results(tmp_path / name) for name in "ab"]), "csv")
    first, second = csv.DictReader(io.StringIO(text))
    assert first["accuracy.test.CIFAR"] == second["accuracy.test.left"] == ""
    assert float(second["accuracy.test.CIFAR"]) > 0


def test_text_is_aligned_rounded_and_marked(table):
    text = method_text(table)
    lines = text.splitlines()
    assert lines[0] == "multimnist"
    assert len({len(line) for line in lines[1:11]}) == 1
    assert lines[1].split()[:3] == ["architecture", "method", "k"]
    assert lines[2].startswith("HPS ")
    assert lines[3].startswith(" ")
    best = max(table.datasets[0].lines, key=lambda line: line.values["accuracy.test.mean"].mean)
    assert f"*{100 * best.values['accuracy.test.mean'].mean:.2f}*" in text
    assert "[x] is boxed and *x* is bold." in text
    assert "multimnist: second study" in text
    assert "\x1b" not in text
    assert not re.search(r"\bnan\b|None", text)


def test_the_caption_says_how_the_numbers_came_about(table):
    text = caption(table)
    for part in (
        "test data",
        "95 % confidence interval",
        "3 seeds",
        "chosen on validation data",
        "highest mean validation accuracy",
        "first in the plan",
    ):
        assert part in text


def test_one_seed_has_numbers_without_intervals(tmp_path):
    write_table_store(tmp_path, table_rows(seeds=(7,)))
    table = method_table(read_results(tmp_path))
    text = method_text(table)
    assert "one seed has no interval" in text
    assert "±" not in text
    assert "Every method has 1 seed." in text
    assert all(record["values"]["accuracy.test.mean"]["low"] is None for record in json.loads(method_text(table, "json"))["lines"])


def test_seeds_that_are_missing_show(tmp_path):
    rows = table_rows((ALL_STUDIES[5],))
    rows[1] |= {"state": "diverged"}
    write_table_store(tmp_path, rows, (ALL_STUDIES[5],))
    table = method_table(read_results(tmp_path))
    for form in ("text", "markdown", "latex"):
        assert "2 of 3" in method_text(table, form)
    assert "2 of 3" in as_html(table)


def test_columns_without_a_number_are_left_out(tmp_path):
    times = dict.fromkeys(("wall_s", "wall_s_sparsify", "wall_s_tying", "wall_s_retrain", "device_s"))
    rows = [trial_row(i, [0.0, 0.5, 0.5], TWO_TASKS, **times) | accuracies(0.9, 0.8) for i in range(1)]
    write_table_store(tmp_path, rows, (study("main", "mdmtn", "wcal_growl"),))
    assert "total, s" not in method_text(method_table(read_results(tmp_path)))


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("50 % & $a_b$ #1", r"50 \% \& \$a\_b\$ \#1"),
        ("{x}\\y", r"\{x\}\textbackslash{}y"),
        ("a~b^c", r"a\textasciitilde{}b\textasciicircum{}c"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ("two\nlines", "two lines"),
        ("1 ± 2", r"1 $\pm$ 2"),
    ],
)
def test_latex_sees_nothing_but_text(text, safe):
    assert latex_escaped(text) == safe


@pytest.mark.parametrize("name", ["table", "hostile"])
def test_latex_is_balanced_whatever_the_names(request, name):
    text = method_text(request.getfixturevalue(name), "latex")
    body = text.split("\n", 1)[1].replace("{!}{%", "{!}{")
    plain = re.sub(r"\\[\\{}%&$#_]", "", body)
    assert plain.count("{") == plain.count("}")
    assert not re.search(r"[%#~^<>|\"±–]|(?<!\\)_", re.sub(r"\\(begin|end)\{[^}]*\}", "", plain))
    for environment in ("table*", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}")
    n_columns = {len(row.split(" & ")) for row in re.sub(r"\\&", "", text).splitlines() if " & " in row}
    assert len(n_columns) == 1


def test_latex_has_boxes_bold_and_rules(table):
    text = method_text(table, "latex")
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\fbox{", r"\textbf{", r"\caption{", r"$\pm$", "SR, \\%"):
        assert part in text


def test_markdown_has_one_table_a_block_and_escapes_names(table, hostile):
    assert method_text(table, "markdown").count("\n| :--- |") == 2
    text = method_text(hostile, "markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script>" not in text


def test_html_is_a_semantic_table_with_escaped_names(table, hostile):
    page = as_html(table)
    for part in (
        "<caption>",
        'scope="col"',
        'scope="row"',
        'scope="rowgroup" rowspan="5">HPS',
        '<span class="boxed">',
        "<strong>",
        ", best of HPS",
    ):
        assert part in page
    assert page.count("<table") == page.count("</table>") == 2  # methods, hypervolumes
    assert second_as_html(table).count("<table") == 1
    evil = as_html(hostile)
    assert "<script>" not in evil
    assert html.escape("</td><script>alert(1)</script>") in evil


def test_an_unknown_form_is_named(table):
    with pytest.raises(ValueError, match="found form = 'pdf'"):
        method_text(table, "pdf")


@pytest.mark.full
def test_the_report_has_the_table_when_there_is_something_to_compare(tmp_path):
    write_table_store(tmp_path / "many")
    write_table_store(tmp_path / "one", table_rows((ALL_STUDIES[5],)), (ALL_STUDIES[5],))
    pages = {name: write_report(tmp_path / name).read_text(encoding="utf-8") for name in ("many", "one")}
    assert 'id="methods"' in pages["many"]
    assert 'id="second-figure"' in pages["many"]
    assert 'id="methods"' not in pages["one"]
    assert 'id="second-figure"' not in pages["one"]
    assert pages["many"].count("</script>") == 3
