"""The report file: self-contained, safe, complete, whatever the state of the sweep."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from other_stores import write_analytic_store
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_parquet, write_plan, write_row, write_store

from analysis import read_results, write_report
from analysis.measures.labels import label_points
from analysis.report.embed import choose_rows
from analysis.report.health import health
from analysis.results.json_text import script_json
from sweep.store.schema import row_schema


def data_of(path: Path) -> dict:
    """The JSON that the page's scripts read."""
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.S).group(1))


def markup_of(path: Path) -> str:
    """The page without its scripts and style."""
    page = path.read_text(encoding="utf-8")
    return re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page, flags=re.S)


def cells(data: dict, name: str) -> list:
    column = data["columns"].get(name, {"all": None})
    return column if isinstance(column, list) else [column["all"]] * data["n_rows"]


@pytest.mark.full
def test_the_page_connects_to_nothing_and_embeds_plotly_once(store):
    path = write_report(store(n_trials=20))
    page = path.read_text(encoding="utf-8")
    assert path.name == "report.html"
    assert "default-src 'none'" in page
    assert "connect-src 'none'" in page
    assert page.count("* plotly.js v") == 1
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:,|#)", markup_of(path))
    assert len(page.encode()) < 5_300_000
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


@pytest.mark.full
def test_rows_are_embedded_at_full_precision_with_slack(tmp_path):
    rows = write_store(tmp_path, n_trials=20)
    data = data_of(write_report(tmp_path))
    assert cells(data, "trial_id") == [row["trial_id"] for row in rows]
    assert cells(data, "loss.validation.left") == [row["loss.validation.left"] for row in rows]
    assert cells(data, "slack") == label_points(read_results(tmp_path))["slack"].tolist()
    assert cells(data, "layer_sparsity")[1] == rows[1]["layer_sparsity"]


def test_every_point_is_in_both_views(store):
    data = data_of(write_report(store(n_trials=20)))
    assert [view["kind"] for view in data["views"]] == ["space", "plane"]
    for view in data["views"]:
        assert sorted(row for trace in view["traces"] for row in trace["rows"]) == list(range(20))


@pytest.mark.full
@pytest.mark.parametrize(
    ("n_tasks", "kinds"), [(1, "plane"), (2, "space plane"), (3, "space plane parallel matrix"), (5, "space plane parallel matrix")]
)
def test_views_follow_the_number_of_tasks(store, n_tasks, kinds):
    data = data_of(write_report(store(n_trials=8, tasks=tuple(f"t{i}" for i in range(n_tasks)))))
    assert " ".join(view["kind"] for view in data["views"]) == kinds


def test_empty_store(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    page = markup_of(write_report(tmp_path))
    assert "Nothing was planned or trained yet." in page
    assert "No front yet" in page


def test_one_trial(store):
    data = data_of(write_report(store(n_trials=1)))
    assert (data["n_points"], cells(data, "slack")) == (1, [0.0])


def test_a_running_sweep_says_how_far_it_is(tmp_path):
    rows = write_store(tmp_path, n_trials=8)
    write_plan(tmp_path, [*rows, rows[0] | {"trial_id": "not-yet"}], number=2)
    (tmp_path / "rows" / ".next.parquet.tmp").write_bytes(b"half")
    page = markup_of(write_report(tmp_path))
    assert "No result yet for 1 of 9 planned trials" in page
    assert "not-yet" in page


def test_all_failed(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    for number, k in enumerate(preference_grid(2, 3)):
        write_row(tmp_path, trial_row(number, k, TWO_TASKS, state="error", error="RuntimeError: out of luck"), TWO_TASKS)
    path = write_report(tmp_path)
    data = data_of(path)
    assert (data["n_points"], data["n_rows"], data["views"]) == (0, 3, [])
    assert "RuntimeError: out of luck" in markup_of(path)


def test_identical_points_all_stay(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    row = trial_row(1, [0.01, 0.5, 0.49], TWO_TASKS)
    for number in range(5):
        write_row(tmp_path, row | {"trial_id": f"same{number}"}, TWO_TASKS)
    assert data_of(write_report(tmp_path))["columns"]["slack"] == {"all": 0.0}


def test_nan_rows_are_listed_and_not_drawn(tmp_path):
    rows = write_store(tmp_path, n_trials=8)
    write_row(tmp_path, rows[3] | {"attempt": 2, "state": "diverged", "loss.validation.left": np.nan}, TWO_TASKS)
    write_row(tmp_path, rows[5] | {"attempt": 2, "loss.validation.left": np.inf}, TWO_TASKS)
    path = write_report(tmp_path)
    data = data_of(path)
    assert (data["n_points"], data["n_rows"]) == (6, 8)
    assert {finding.title.split(":")[0] for finding in health(read_results(tmp_path))} >= {
        "diverged",
        "finished with an objective that is not finite",
    }


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u2028 'ß\" & \U0001f600"


def test_names_and_messages_are_escaped_everywhere(tmp_path):
    tasks = (EVIL, "b")
    write_manifest(tmp_path, tasks, name=EVIL, problem={"name": EVIL}, scaling=EVIL)
    row = trial_row(1, [0.01, 0.5, 0.49], tasks, study=EVIL, model=EVIL)
    write_row(tmp_path, row, tasks)
    write_row(tmp_path, row | {"trial_id": "failed", "state": "error", "error": EVIL}, tasks)
    write_plan(tmp_path, [row])
    path = write_report(tmp_path)
    page = path.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 3
    assert html.escape("</script><script>alert(1)") in markup_of(path).replace("&#34;", "&quot;")
    assert data_of(path)["name"] == EVIL


def test_script_json_cannot_end_its_element_and_knows_no_nan():
    text = script_json({"a": "</script><!--", "b": float("nan"), "c": np.float64("inf"), "d": np.int64(3), "e": np.array([1.5])})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--", "b": None, "c": None, "d": 3, "e": [1.5]}


def test_health_lists_what_a_reader_must_know(tmp_path):
    rows = write_store(tmp_path, n_trials=6)
    write_row(tmp_path, rows[0] | {"attempt": 2, "tying_converged": False}, TWO_TASKS)
    (tmp_path / "rows" / "torn.1-0.parquet").write_bytes(b"PAR1")
    titles = {finding.title: finding.count for finding in health(read_results(tmp_path))}
    assert titles["tying did not converge in some layer"] == 1
    assert titles["file that cannot be read"] == 1
    assert titles["did not reach the least sparsity asked for"] == sum(not row["sparsity_reached"] for row in rows)


@pytest.mark.full
def test_notes_are_counted_by_trial_and_grouped_by_text(tmp_path):
    rows = write_store(tmp_path, n_trials=12)
    zero, odd = "layer trunk.3 is all zero", f"odd {EVIL}"
    for number, notes in ((0, [zero]), (1, [zero, odd, odd]), (2, [zero]), (3, []), (4, None)):
        write_row(tmp_path, rows[number] | {"attempt": 2, "notes": notes}, TWO_TASKS)
    write_row(tmp_path, rows[5] | {"attempt": 2, "notes": [zero], "state": "error"}, TWO_TASKS)
    finding = health(read_results(tmp_path))[-1]
    ids = [rows[number]["trial_id"] for number in (0, 1, 2, 5)]
    assert (finding.count, finding.title, finding.serious, finding.n_left_out) == (4, "trials carry notes", False, 0)
    assert finding.lines == ((zero, f"4 trials: {', '.join(ids)}"), (odd, f"1 trial: {ids[1]}"))
    path = write_report(tmp_path)
    assert "<b>4</b> trials carry notes" in markup_of(path)
    assert html.escape("odd </script><script>alert(1)") in markup_of(path).replace("&#34;", "&quot;")
    assert cells(data_of(path), "notes")[:4] == [[zero], [zero, odd, odd], [zero], []]


def test_a_note_of_every_trial_is_one_line(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    for number, k in enumerate(preference_grid(2, 12)):
        write_row(tmp_path, trial_row(number, k, TWO_TASKS, notes=["few test samples"]), TWO_TASKS)
    (line,) = health(read_results(tmp_path))[-1].lines
    assert line[0] == "few test samples"
    assert line[1].startswith("12 trials: 0000c0ffee0000, ")
    assert line[1].endswith(" and 4 more")


def test_what_the_page_is_told_of_metrics_and_the_exact_front(tmp_path):
    rows = write_analytic_store(tmp_path, n_tasks=3)
    path = write_report(tmp_path)
    data = data_of(path)
    assert data["metrics"] == data["measured"] == dict.fromkeys(("f1", "f2", "f3"), "value")
    assert (data["chosen_by"], data["has_sparsity"]) == ("loss", False)
    assert not data["exact"]["is_curve"]
    assert [len(values) for values in data["exact"]["columns"].values()] == [60, 60, 60]
    for view in data["views"]:
        assert [trace["meta"]["group"] for trace in view["traces"]] == ["sparse"]
        assert sorted(row for trace in view["traces"] for row in trace["rows"]) == list(range(24))
    assert np.allclose(cells(data, "gap"), [row["scalarized"] / row["optimum"] - 1 for row in rows], atol=1e-12)
    assert data["titles"]["loss.validation.f1"] == "f1"
    page = markup_of(path)
    assert "auto: (0, 0, 0)" in page
    assert "on average" in page
    assert "Sparsity clusters" not in page
    assert not re.search(r"\bnan\b", page, re.I)


@pytest.mark.full
def test_the_page_states_its_sources(store):
    page = markup_of(write_report(store(n_trials=8), eps=0.25, mode="range"))
    for fact in (
        "eps = 0.25 of each objective&#39;s range on the front",
        "sweep run grid.yaml",
        "torch 2.13.0",
        "objective.sparsity",
        "share of rows kept from 0 to 1, left from 0 to 2.303",
    ):
        assert fact in page


def test_no_hypervolume_without_a_box(tmp_path):
    write_store(tmp_path, n_trials=4)
    write_manifest(tmp_path, TWO_TASKS, hypervolume_reference=None)
    page = markup_of(write_report(tmp_path))
    assert "No hypervolume: the manifest, of an earlier version, states no nadir yet" in page


@pytest.mark.full
def test_the_page_counts_the_trials_beyond_the_nadir(tmp_path):
    rows = write_store(tmp_path, n_trials=8)
    write_manifest(tmp_path, TWO_TASKS, hypervolume_reference=[50.0, 0.12, 2.3])
    n_beyond = sum(row["loss.validation.left"] > 0.12 for row in rows)
    assert 1 < n_beyond < len(rows)
    # at the number itself, among the report's sources, and below the indicators
    assert markup_of(write_report(tmp_path)).count(f"{n_beyond} finished trials lie beyond the nadir and add nothing") == 3


def test_another_path_and_replacing(store, tmp_path):
    target = tmp_path / "elsewhere.html"
    target.write_text("old")
    assert write_report(store(n_trials=4), target) == target
    assert target.read_text(encoding="utf-8")[:3] != "old"


def test_a_failed_report_leaves_the_old_one(tmp_path):
    write_store(tmp_path, n_trials=4)
    before = write_report(tmp_path).read_bytes()
    with pytest.raises(ValueError, match="found eps = -1"):
        write_report(tmp_path, eps=-1.0)
    assert (tmp_path / "report.html").read_bytes() == before


def write_big_store(folder: Path) -> Path:
    """300 compacted trials, one of them failed."""
    write_manifest(folder, TWO_TASKS)
    rows = [trial_row(i, k, TWO_TASKS) for i, k in enumerate(preference_grid(2, 300))]
    rows[7] |= {"state": "error"}
    write_parquet(folder / "trials.parquet", rows, row_schema(TWO_TASKS))
    return folder


def test_big_sweeps_embed_the_front_and_a_sample_and_say_so(tmp_path):
    table = read_results(write_big_store(tmp_path))
    labels = label_points(table)
    embedded = choose_rows(table, labels, max_rows=200)
    assert len(embedded.points.frame) + len(embedded.others) == 200
    front = set(table.ok.frame["trial_id"][labels["kept"]])
    assert front <= set(embedded.points.frame["trial_id"])
    assert (embedded.labels["slack"] == 0).sum() == len(front)
    assert f"200 of 300 trials are embedded in this page: all {len(front)} on the front" in embedded.note
    again = choose_rows(table, labels, max_rows=200)
    assert again.points.frame["trial_id"].tolist() == embedded.points.frame["trial_id"].tolist()


def test_a_front_that_is_too_large_is_sampled_and_a_tenth_stays_for_the_rest(tmp_path):
    table = read_results(write_big_store(tmp_path))
    labels = label_points(table, eps=0.01)
    n_front = int(labels["kept"].sum())
    embedded = choose_rows(table, labels, max_rows=50)
    n_near = 49 - 4
    assert n_front > n_near
    assert embedded.labels["kept"].sum() >= n_near
    assert f"50 of 300 trials are embedded in this page: {n_near} of the {n_front} on the front, 0 nearest to it" in embedded.note
    assert f"a sample of 4 of the {299 - n_near} other finished ones" in embedded.note


def test_a_sample_of_equals_does_not_prefer_the_first(tmp_path):
    table = read_results(write_big_store(tmp_path))
    labels = label_points(table).assign(slack=0.0, kept=True)
    places = np.flatnonzero(table.ok.frame["trial_id"].isin(choose_rows(table, labels, max_rows=100).points.frame["trial_id"]))
    assert 120 < places.mean() < 180


def test_the_page_of_a_big_sweep_knows_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.report.embed.MAX_VALUES", 300)
    path = write_report(write_big_store(tmp_path))
    data = data_of(path)
    assert (data["n_rows"], data["n_trials"], data["n_points"], data["n_finished"]) == (100, 300, 99, 299)
    assert "100 of 300 trials are embedded in this page" in markup_of(path)
    assert "299</b> ok" in markup_of(path)


def test_a_problem_without_sparsity_or_preferences(tmp_path):
    objectives = [{"name": f"f{i}", "column": f"loss.validation.f{i}", "sense": "min", "unit": ""} for i in (1, 2)]
    write_manifest(tmp_path, ("f1", "f2"), objectives=objectives, hypervolume_reference=[2.0, 2.0])
    for number in range(4):
        row = trial_row(number, [0.0, 0.5, 0.5], ("f1", "f2"), k=None, k_0=None, sparsity_rate=None, compression_rate=None)
        write_row(tmp_path, row, ("f1", "f2"))
    assert [view["kind"] for view in data_of(write_report(tmp_path))["views"]] == ["plane"]
