"""Latencies are read from files that nobody trusts: what does not fit a finished trial's weights does not count."""

import math

import pytest
from sized_stores import MACHINE, write_latency, write_sized_store

from analysis.results.latency import read_latencies
from analysis.results.manifest import ResultsError
from analysis.results.table import read_results


@pytest.fixture
def rows(tmp_path):
    return write_sized_store(tmp_path, 8)


def test_what_measure_wrote_is_read(tmp_path, rows):
    assert read_latencies(read_results(tmp_path)).of_trials == {}
    for row in rows[:3]:
        write_latency(tmp_path, row)
    found = read_latencies(read_results(tmp_path))
    assert set(found.of_trials) == {row["trial_id"] for row in rows[:3]}
    one = found.of_trials[rows[0]["trial_id"]]
    assert one.milliseconds == {1: (0.6, 0.55), 256: (54.0, 52.0)}
    assert one.machine == (MACHINE["host"], MACHINE["processor"], MACHINE["torch"])
    assert found.n_elsewhere == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"trial_id": "another"},
        {"weights_sha256": "f" * 64},
        {"weights_sha256": None},
        {"latency_ms": None},
        {"latency_ms": [1, 2]},
        {"latency_ms": {"1": 0.5}},
        {"latency_ms": {"1": {"before": 0.5}}},
        {"latency_ms": {"1": {"before": 0.5, "after": -1}}},
        {"latency_ms": {"1": {"before": math.nan, "after": 1}}},
        {"latency_ms": {"1": {"before": math.inf, "after": 1}}},
        {"latency_ms": {"1": {"before": 10**400, "after": 1}}},
        {"latency_ms": {"1": {"before": True, "after": 1}}},
        {"latency_ms": {"1": {"before": "0.5", "after": 1}}},
        {"latency_ms": {"0": {"before": 1, "after": 1}}},
        {"latency_ms": {"<b>": {"before": 1, "after": 1}}},
        {"latency_ms": {"9" * 5000: {"before": 1, "after": 1}}},
        {"host": None},
        {"host": 3},
        {"processor": "\x1b[2J"},
        {"torch": "x" * 201},
        {"measured": ["x"]},
    ],
)
def test_a_value_that_is_none_does_not_count(tmp_path, rows, changes):
    write_latency(tmp_path, rows[0], **changes)
    write_latency(tmp_path, rows[1])
    assert set(read_latencies(read_results(tmp_path)).of_trials) == {rows[1]["trial_id"]}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * 70_000 + b"{}"])
def test_what_is_no_small_json_object_does_not_count(tmp_path, rows, content):
    write_latency(tmp_path, rows[0]).write_bytes(content)
    write_latency(tmp_path, rows[1])
    assert set(read_latencies(read_results(tmp_path)).of_trials) == {rows[1]["trial_id"]}


def test_links_folders_strange_names_and_other_trials_do_not_count(tmp_path, rows):
    path = write_latency(tmp_path, rows[0])
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "latency" / f"{rows[1]['trial_id']}.json").mkdir()
    write_latency(tmp_path, rows[2] | {"trial_id": "nosuch"})
    write_latency(tmp_path, rows[3]).rename(tmp_path / "latency" / "a b.json")
    assert read_latencies(read_results(tmp_path)).of_trials == {}


def test_a_linked_folder_is_refused(tmp_path, rows):
    (tmp_path / "outside").mkdir()
    (tmp_path / "latency").symlink_to(tmp_path / "outside")
    with pytest.raises(ResultsError, match="latency: a link where a folder is expected"):
        read_results(tmp_path)


def test_times_of_one_machine_are_shown_together(tmp_path, rows):
    for row in rows[:3]:
        write_latency(tmp_path, row)
    for row in rows[3:5]:
        write_latency(tmp_path, row, host="node-2")
    found = read_latencies(read_results(tmp_path))
    assert (len(found.of_trials), found.n_elsewhere) == (3, 2)
    write_latency(tmp_path, rows[5], host="node-2", measured="2026-02-01T12:00:00+00:00")
    found = read_latencies(read_results(tmp_path))
    assert {one.machine[0] for one in found.of_trials.values()} == {"node-2"}, "as many, and later"
