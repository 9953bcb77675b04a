"""What a sweep writes and what `read_results` gives go through pandas, polars, DuckDB, Feather and CSV and come back with equal values."""

import ast
import json
import math
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_plan

from analysis import read_results
from sweep.store.schema import NESTED
from sweep.store.store import Store
from sweep.store.tables import encode_table, nested

THIRD = 1 / 3
NOTES = ['one, "two"', "a\nline", "a' quote", "Σ"]
LISTS = ("k", "notes", "taken_over", "multipliers", "gradient_cosine", "anchors", "reference_point")


def rows() -> list[dict[str, Any]]:
    """Four trials: one with everything, one that diverged, one failed without a number, one without what is optional."""
    full, diverged, failed, bare = [trial_row(i, k, TWO_TASKS, weights_sha256=None) for i, k in enumerate(preference_grid(2, 4))]
    full |= {
        "notes": NOTES,
        "taken_over": ["other"],
        "gradient_cosine": [None],
        "anchors": [1.0, THIRD, 1e-30],
        "reference_point": [0.0, 0.1, 0.2],
        "finished_at": datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC),
        "energy_estimated": True,
        "seed": 2**53 - 1,
    }
    diverged |= {
        "state": "diverged",
        "loss.validation.left": math.nan,
        "multipliers": [math.nan, 0.5, math.inf],
        "gradient_cosine": [THIRD],
    }
    failed = {name: failed[name] for name in ("trial_id", "attempt", "retry", "study", "seed")} | {
        "state": "error",
        "error": "E: a\nb, 'c'",
    }
    return [full, diverged, failed, bare]


def write_store(folder: Path, n_loose: int = 2) -> Store:
    """A sweep as a run leaves it, its last rows not compacted yet."""
    write_manifest(folder, TWO_TASKS)
    write_plan(folder, [row | {"k": row.get("k")} for row in rows()])
    store = Store(folder)
    with store.lock():
        store.create(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
        for row in rows()[: len(rows()) - n_loose]:
            curves = [{"epoch": 1, "multipliers": [THIRD, math.nan]}, {"epoch": 2, "multipliers": None}]
            store.publish(row, curves, weights=row["trial_id"].encode())
        store.compact()
    for row in rows()[len(rows()) - n_loose :]:
        store.publish(row)
    return store


def as_version_2(path: Path) -> None:
    """Write a file anew as the version before had it: with lists and maps of Arrow."""
    table = nested(pq.read_table(path))
    path.write_bytes(encode_table(table.replace_schema_metadata({"schema_version": "2", "product": "pareto-sweep"})))


def by_polars(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    pl.from_pandas(frame).write_parquet(path)
    return pl.read_parquet(path).to_pandas()


def by_duckdb(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    connection = duckdb.connect()
    connection.register("frame", frame)
    connection.sql("SELECT * FROM frame").write_parquet(str(path))
    return connection.read_parquet(str(path)).df()


def by_parquet(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    frame.to_parquet(path)
    return pd.read_parquet(path)


def by_feather(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    frame.to_feather(path)
    return pd.read_feather(path)


def by_csv(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    frame.to_csv(path, index=False)
    return from_csv(path)


def from_csv(path: Path) -> pd.DataFrame:
    """With numbers read to the last digit, and no text but the empty one taken for a missing value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pandas 3 reads every digit by itself
        return pd.read_csv(path, float_precision="round_trip", keep_default_na=False, na_values=[""])


def by_polars_csv(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    pl.from_pandas(frame).write_csv(path)
    return from_csv(path)


def by_duckdb_csv(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    connection = duckdb.connect()
    connection.register("frame", frame)
    connection.sql("SELECT * FROM frame").write_csv(str(path))
    return connection.read_csv(str(path), all_varchar=False, sample_size=-1).df()


Tool = Callable[[pd.DataFrame, Path], pd.DataFrame]
TYPED: list[Tool] = [by_parquet, by_feather, by_polars, by_duckdb]
TEXT: list[Tool] = [by_csv, by_polars_csv, by_duckdb_csv]


def plain(name: str, cell: Any) -> Any:
    """A cell as one kind of value, however a tool holds it."""
    if isinstance(cell, str) and name in LISTS and cell.startswith("["):
        cell = ast.literal_eval(cell.replace("null", "None"))
    if isinstance(cell, (list, np.ndarray)):
        return [plain("", item) for item in (cell if isinstance(cell, list) else cell.tolist())]  # DuckDB's arrays mask their nulls
    if cell is None or cell is pd.NaT or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if name == "finished_at":
        return pd.Timestamp(cell).tz_convert("UTC") if pd.Timestamp(cell).tzinfo else pd.Timestamp(cell, tz="UTC")
    if isinstance(cell, (bool, np.bool_)) or cell in ("true", "false", "True", "False"):
        return str(cell).lower() == "true"
    return cell.item() if isinstance(cell, np.generic) else cell


def values(frame: pd.DataFrame) -> dict[str, list[Any]]:
    return {name: [plain(name, cell) for cell in frame[name].to_list()] for name in frame.columns}


@pytest.mark.parametrize("tool", [*TYPED, by_csv])
@pytest.mark.parametrize("version", [2, 3])
def test_the_frame_comes_back_equal(tmp_path: Path, tool: Tool, version: int) -> None:
    store = write_store(tmp_path / "store")
    if version == 2:
        as_version_2(store.root / "trials.parquet")  # beside loose rows of the new version
    table = read_results(store.root)
    assert table.unreadable == ()
    frame = table.frame
    assert values(tool(frame, tmp_path / "there")) == values(frame)
    assert frame["k"][0] == rows()[0]["k"]
    assert frame["notes"][0] == NOTES
    assert frame["multipliers"].to_list()[1] == [None, 0.5, None]
    assert [json.loads(cell) for cell in frame["layer_sparsity"].dropna()] == [row["layer_sparsity"] for row in rows() if "k" in row]


@pytest.mark.parametrize("tool", TYPED)
def test_the_frame_of_curves_comes_back_equal(tmp_path: Path, tool: Tool) -> None:
    frame = read_results(write_store(tmp_path / "store").root).read_epochs()
    assert values(tool(frame, tmp_path / "there")) == values(frame)
    assert frame["multipliers"].to_list()[0] == [THIRD, None]


@pytest.mark.parametrize("tool", TYPED)
def test_a_table_without_rows_comes_back(tmp_path: Path, tool: Tool) -> None:
    write_manifest(tmp_path, TWO_TASKS)
    frame = read_results(tmp_path).frame
    assert list(tool(frame, tmp_path / "there").columns) == list(frame.columns)


@pytest.mark.parametrize("tool", [*TYPED, *TEXT])
@pytest.mark.parametrize("reader", ["pandas", "polars", "duckdb"])
def test_the_files_come_back_equal(tmp_path: Path, reader: str, tool: Tool) -> None:
    path = write_store(tmp_path / "store", n_loose=0).root / "trials.parquet"
    read: dict[str, Callable[[], pd.DataFrame]] = {
        "pandas": lambda: pd.read_parquet(path),
        "polars": lambda: pl.read_parquet(path).to_pandas(),
        "duckdb": lambda: duckdb.read_parquet(str(path)).df(),
    }
    frame = read[reader]()
    assert values(tool(frame, tmp_path / "there")) == values(frame)
    assert values(frame) == values(pd.read_parquet(path))
    assert json.loads(frame["k"].to_list()[0]) == rows()[0]["k"]
    assert json.loads(frame["notes"].to_list()[0]) == NOTES


@pytest.mark.parametrize("tool", [by_parquet, by_polars, by_duckdb])
@pytest.mark.parametrize("version", [2, 3])
def test_a_file_that_another_tool_rewrote_is_read(tmp_path: Path, tool: Tool, version: int) -> None:
    store = write_store(tmp_path / "store", n_loose=0)
    path = store.root / "trials.parquet"
    before = read_results(store.root).frame
    if version == 2:
        as_version_2(path)
    if tool is by_parquet:
        pq.write_table(pa.Table.from_pandas(before), path)
    elif tool is by_polars:
        pl.read_parquet(path).write_parquet(path)
    else:
        duckdb.read_parquet(str(path)).write_parquet(f"{path}.new")
        Path(f"{path}.new").replace(path)
    table = read_results(store.root)
    assert table.unreadable == ()
    assert values(table.frame) == values(before)


def test_a_folder_of_both_versions_is_one_table_and_is_compacted_as_one(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    before, frame = repr(store.read_rows().to_pylist()), read_results(tmp_path).frame
    for path in (tmp_path / "trials.parquet", tmp_path / "epochs.parquet", next((tmp_path / "rows").iterdir())):
        as_version_2(path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 2}))
    store = Store(tmp_path)
    assert store.verify() == []
    assert repr(store.read_rows().to_pylist()) == before
    pd.testing.assert_frame_equal(read_results(tmp_path).frame, frame)
    with store.lock():
        store.create(manifest | {"schema_version": 3})
        store.compact()
    assert store.manifest() == manifest | {"schema_version": 3}
    assert pq.read_schema(tmp_path / "trials.parquet").metadata[b"schema_version"] == b"3"
    assert repr(store.read_rows().to_pylist()) == before
    assert store.verify() == []
    pd.testing.assert_frame_equal(read_results(tmp_path).frame, frame)


WRONG_TEXTS = ("", "{", "3", "[[]]", '{"a": 1}{}', "[" * 100_000, '{"x": {}}', "[{}]", '["\\ud800"]')


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(NESTED))
def test_a_text_that_is_not_what_its_column_holds_is_named(tmp_path: Path, name: str) -> None:
    """Its trial does not count, and no other one is lost."""
    store = write_store(tmp_path)
    path = next((tmp_path / "rows").iterdir())
    table = pq.read_table(path)
    for text in WRONG_TEXTS:
        path.write_bytes(encode_table(table.set_column(table.column_names.index(name), name, pa.array([text]))))
        assert [entry.partition(": ")[0] for entry in read_results(tmp_path).unreadable] == [f"rows/{path.name}"], text
        ((found, problem),) = store.unreadable()
        assert found == path
        assert name in problem
        assert store.read_rows().num_rows == len(rows()) - 1
