"""A results folder from somebody else: nothing outside is read or written, and a manifest that no run wrote is one error."""

import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_store import TWO_TASKS, preference_grid, table_of, trial_row, write_manifest, write_store

from analysis import read_results, write_report
from analysis.method_table.formats import folders_text
from analysis.results.table import ResultsError
from sweep.store.schema import row_schema

pytestmark = pytest.mark.timeout(120)  # a pipe that is waited for never ends


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results"
    write_store(folder, n_trials=4)
    return folder


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "folder", "device"])
@pytest.mark.parametrize("name", ["rows/x.1-0.parquet", "trials.parquet", "plans/9.json"])
def test_what_is_no_file_is_named(folder, make, name):
    make(folder / name)
    table = read_results(folder)
    assert len(table.frame) == 4
    (reason,) = table.unreadable
    assert reason.startswith(f"{name}: ")


def test_a_link_to_a_good_row_elsewhere_is_not_followed(folder, tmp_path):
    row = next((folder / "rows").iterdir())
    outside = tmp_path / "outside.parquet"
    shutil.move(row, outside)
    row.symlink_to(outside)
    table = read_results(folder)
    assert len(table.frame) == 3
    assert table.unreadable[0].startswith(f"rows/{row.name}: a link")


@pytest.mark.parametrize("name", ["rows", "plans"])
def test_a_linked_folder_is_refused(folder, tmp_path, name):
    shutil.move(folder / name, tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ResultsError, match="a link where a folder is expected"):
        read_results(folder)


def test_a_report_is_not_written_through_a_link(folder, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("before")
    (folder / ".report.html.tmp").symlink_to(canary)
    (folder / "report.html").symlink_to(canary)
    path = write_report(folder)
    assert canary.read_text() == "before"
    assert not path.is_symlink()


def test_a_table_without_rows_is_no_error(tmp_path):
    write_store(tmp_path, n_trials=0)
    schema = row_schema(TWO_TASKS)
    pq.write_table(schema.empty_table(), tmp_path / "trials.parquet")
    assert "No front yet" in write_report(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("k", pa.array(["x"])),
        ("k", pa.array([["x"]])),
        ("k_1", pa.array(["0.5"])),
        ("loss.validation.left", pa.array(["0.5"])),
        ("sparsity_rate", pa.array([True])),
        ("seed", pa.array([b"0"])),
        ("seed", pa.array([float("inf")])),
        ("study", pa.array([3])),
        ("notes", pa.array([[1.0]])),
        ("trial_id", pa.array([["x"]])),
    ],
)
def test_a_column_of_another_kind_is_named(folder, name, column):
    path = sorted((folder / "rows").iterdir())[0]
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)
    results = read_results(folder)
    assert len(results.frame) == 3
    assert results.unreadable[0].startswith(f"rows/{path.name}: column {name}: ")
    write_report(folder)


@pytest.mark.parametrize("change", [{"seed": "\\input{x}"}, {"seed": 1e400}, {"k": "x"}, {"k": [None]}, {"study": 3}, {"trial_id": ["x"]}])
def test_a_plan_that_no_run_wrote_is_named(folder, change):
    plan = json.loads((folder / "plans" / "1.json").read_text())
    trials = [trial | change for trial in plan["trials"]]
    (folder / "plans" / "2.json").write_text(json.dumps(plan | {"trials": trials}))
    table = read_results(folder)
    assert table.unreadable[0].startswith("plans/2.json: not a plan")
    assert table.plan == plan


def test_a_problem_that_is_only_a_name_has_a_table(tmp_path):
    write_store(tmp_path, n_trials=4)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"problem": "multidigits"}))
    assert folders_text([tmp_path])[0].startswith("multidigits")


def test_fewer_tasks_than_objectives_are_one_error(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"tasks": ["left"], "metrics": {"left": "accuracy"}}))
    with pytest.raises(ResultsError, match="at most one for each of `tasks`"):
        read_results(folder)


def test_a_row_without_a_name_is_named(folder):
    path = sorted((folder / "rows").iterdir())[0]
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("trial_id"), "trial_id", pa.array([None], pa.string())), path)
    assert read_results(folder).unreadable == (f"rows/{path.name}: a row without a trial_id",)


def test_a_column_of_nulls_fits_everything(folder):
    path = sorted((folder / "rows").iterdir())[0]
    table = pq.read_table(path)
    for name in ("notes", "error", "taken_over", "optimum", "k"):
        table = table.set_column(table.column_names.index(name), name, pa.nulls(1))
    pq.write_table(table, path)
    assert read_results(folder).unreadable == ()


def test_many_rows_in_few_bytes_are_refused(folder):
    schema = row_schema(TWO_TASKS)
    row = trial_row(1, preference_grid(2, 2)[1], TWO_TASKS)
    one = table_of([row], schema)
    many = one.take(pa.array([0] * 200_000))
    pq.write_table(many, folder / "trials.parquet", compression="zstd")
    assert "more than such a file can hold" in read_results(folder).unreadable[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", [2]),
        ("schema_version", True),
        ("name", 3),
        ("name", "\ud800"),
        ("tasks", ["a", "a"]),
        ("tasks", [["a"]]),
        ("tasks", "left"),
        ("objectives", ["left"]),
        ("objectives", [{"name": "left"}]),
        ("objectives", [{"name": "left", "column": "loss.validation.left", "sense": "sideways"}]),
        ("studies", {"main": {}}),
        ("studies", [{"name": "main", "training": 3}]),
        ("metrics", {"left": 3}),
        ("problem", {"name": ["x"]}),
        ("hypervolume_reference", "far"),
        ("hypervolume_reference", [1.0, None]),
        ("reference_point", {"a": 1}),
    ],
)
def test_a_manifest_that_no_run_wrote_is_one_error(tmp_path, key, value):
    write_manifest(tmp_path, TWO_TASKS)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(ResultsError, match=key):
        read_results(tmp_path)


def test_deep_nesting_is_one_error(tmp_path):
    (tmp_path / "manifest.json").write_text('{"a":' * 100_000)
    with pytest.raises(ResultsError, match="cannot be read as JSON"):
        read_results(tmp_path)
