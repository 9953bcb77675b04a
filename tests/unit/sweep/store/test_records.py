"""JSON of a results folder that no run wrote is refused, or not shown."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from example_store import manifest_of_a_sweep, row_of, safetensors_of

from sweep.monitor.status import read_status
from sweep.store.files import UnreadableError
from sweep.store.records import check_plan, is_count, is_line, is_live, is_number
from sweep.store.store import Store, StoreError

LIVE = {
    "pack_id": "p",
    "trial_ids": ["a"],
    "epoch": 3,
    "n_epochs": 9,
    "host": "node",
    "phase": "retrain",
    "best_metric": 0.5,
    "k": [[0.0, 1.0], None],
}
ESCAPE = "\x1b]0;owned\x07"


@pytest.mark.parametrize("value", ["", "multidigits", "ä ± 𝕏"])
def test_lines(value: str) -> None:
    assert is_line(value)


@pytest.mark.parametrize("value", [ESCAPE, "a\nb", "\x9b31m", "\u202egnp", "\ud800", "x" * 1_001, 3, None])
def test_no_lines(value: object) -> None:
    assert not is_line(value)


def test_numbers() -> None:
    assert all(map(is_number, (0, -1, 0.5, -1e308)))
    assert not any(map(is_number, (True, float("nan"), float("inf"), 10**400, "1", None)))
    assert not any(map(is_count, (True, -1, 1.0, 2**53)))


def test_what_a_worker_says_is_live() -> None:
    assert is_live(LIVE)


@pytest.mark.parametrize(
    "change",
    [
        {"pack_id": "../p"},
        {"pack_id": "[red]p[/red]"},
        {"trial_ids": True},
        {"trial_ids": ["../a"]},
        {"host": ESCAPE},
        {"phase": ["x"]},
        {"epoch": "3"},
        {"epoch": 10**400},
        {"n_epochs": None},
        {"best_metric": "0.5"},
        {"best_metric": float("nan")},
        {"updated": "yesterday"},
        {"k": 3},
        {"k": [["x"]]},
    ],
)
def test_what_no_worker_says_is_not_shown(store: Store, change: dict[str, Any]) -> None:
    assert not is_live(LIVE | change)
    (store.root / "live" / "p.json").write_text(json.dumps(LIVE | change))
    with store.lock():
        assert read_status(store.root).snapshot.live == ()


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 3},
        {"trials": ["a"]},
        {"trials": [{"trial_id": "../a"}]},
        {"n_complete_before": "3"},
        {"n_complete_before": 10**400},
        {"started": "yesterday"},
        {"started": "2026-01-31"},
        {"started": ["2026-01-31T12:00:00+00:00"]},
        {"config": []},
        {"config": {"name": ESCAPE}},
    ],
)
def test_a_plan_that_no_run_wrote_is_refused(store: Store, change: dict[str, Any]) -> None:
    good = {"trials": [{"trial_id": "a"}], "n_complete_before": 0, "started": "2026-01-31T12:00:00+00:00"}
    check_plan(good, Path("1.json"))
    with pytest.raises(UnreadableError, match="not a plan"):
        check_plan(good | change, Path("1.json"))
    store.write_plan(1, good | change)
    with pytest.raises(StoreError, match="not a plan"):
        read_status(store.root)
    assert [found.path.name for found in store.verify()] == ["1.json"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ESCAPE),
        ("name", None),
        ("tasks", ["left", ESCAPE]),
        ("problem", {"name": ESCAPE}),
        ("problem", 3),
        ("hypervolume_reference", [float("nan")]),
        ("hypervolume_box", []),
        ("hypervolume_box", {"axes": ["x", "y", "z"], "ideal": [0, 0, 0], "nadir": [1, 1, 1], "origin": "rule"}),
        ("reference_point_values", "auto"),
        ("backends", {"mdmtn": "loop"}),
        ("backends", []),
        ("studies", [{"name": "main", "model": ESCAPE}]),
        ("objectives", [{"name": "sparsity", "column": 3}]),
    ],
)
def test_a_manifest_that_no_run_wrote_is_refused(store: Store, key: str, value: Any) -> None:
    (store.root / "manifest.json").write_text(json.dumps(manifest_of_a_sweep(**{key: value})))
    with pytest.raises(UnreadableError, match=f"`{key}` is "):
        store.manifest()


@pytest.mark.parametrize(
    "change", [{"host": ESCAPE}, {"pid": 10**30}, {"pid": -1}, {"pid": "1"}, {"heartbeat": "x"}, {"process_start": 0.5}, {"started": {}}]
)
def test_a_lock_that_no_run_wrote_names_nobody(store: Store, change: dict[str, Any]) -> None:
    path = store.root / "lock.json"
    with store.lock():
        good = json.loads(path.read_bytes())
    path.write_text(json.dumps(good))
    assert store.lock_holder() is not None
    path.write_text(json.dumps(good | change))
    assert store.lock_holder() is None


def test_each_run_has_its_number_and_plan(store: Store) -> None:
    assert store.next_attempt() == 1
    store.write_plan(1, {"attempt": 1})
    store.write_plan(10, {"attempt": 10})
    assert store.latest_plan() == {"attempt": 10}
    assert store.next_attempt() == 11
    with pytest.raises(StoreError, match="already has a plan"):
        store.write_plan(10, {"attempt": 10})


def test_a_number_that_a_result_or_checkpoint_bears_is_not_given_again(store: Store) -> None:
    store.publish(row_of("a", attempt=4))
    assert store.next_attempt() == 5
    store.save_checkpoint("p", 7, 0, safetensors_of())
    assert store.next_attempt() == 8


LATENCY = {
    "weights_sha256": "0" * 64,
    "latency_ms": {"1": {"before": 0.6, "after": 0.5}, "256": {"before": 54.0, "after": 20}},
    "host": "node",
    "processor": "A Processor",
    "torch": "2.13.0",
    "product": "pareto-sweep 0.1.0",
    "measured": "2026-01-31T12:00:00+00:00",
}


def test_a_latency_is_kept_replaced_and_forgotten(store: Store) -> None:
    assert store.latency("a") is None
    for trial_id in "ab":
        store.publish(row_of(trial_id))
        store.write_latency(trial_id, LATENCY)
    store.write_latency("a", LATENCY | {"host": "other"})
    assert store.latency("a") == {"trial_id": "a"} | LATENCY | {"host": "other"}
    assert store.verify() == []
    store.forget({"a"})
    assert (store.latency("a"), store.latency("b")) == (None, {"trial_id": "b"} | LATENCY)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights_sha256", "0"),
        ("latency_ms", []),
        ("latency_ms", {"x": {"before": 1, "after": 1}}),
        ("latency_ms", {"1": {"before": 1}}),
        ("latency_ms", {"1": {"before": -1, "after": 1}}),
        ("latency_ms", {"1": {"before": float("inf"), "after": 1}}),
        ("latency_ms", {"1": {"before": 10**400, "after": 1}}),
        ("host", "\x1b[2J"),
        ("processor", None),
        ("measured", "yesterday"),
        ("trial_id", "b"),
    ],
)
def test_a_latency_that_no_command_measured_is_refused_and_found(store: Store, key: str, value: Any) -> None:
    with pytest.raises(StoreError, match=f"`{key}` is not what"):
        store.write_latency("a", LATENCY | {key: value})
    store.write_latency("a", LATENCY)
    path = store.root / "latency" / "a.json"
    path.write_bytes(json.dumps({"trial_id": "a"} | LATENCY | {key: value}).encode())
    assert store.latency("a") is None
    assert [finding.path for finding in store.verify()] == [path]


def test_a_latency_that_is_being_written_survives_a_run_that_clears_up(store: Store) -> None:
    store.write_latency("a", LATENCY)
    fresh, old = (store.root / "latency" / f".a.json.0123456{digit}.tmp" for digit in "78")
    for path in (fresh, old):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    store.remove_temporaries()
    assert (fresh.exists(), old.exists()) == (True, False)


PLACED = {"kind": "scan", "vectors": [{"k": [0.1, 0.5, 0.4], "reason": "scan: k0 = 0.1"}], "promised": None}


def test_a_round_of_placed_vectors_is_written_once(store: Store) -> None:
    assert store.placements("a.1") == []
    stored = store.write_placement("a.1", 1, PLACED)
    assert stored == {"study": "a.1", "round": 1} | PLACED
    assert store.write_placement("a.1", 1, PLACED | {"promised": 0.5}) == stored
    assert Store(store.root).write_placement("a.1", 1, PLACED | {"promised": 0.5}) == stored
    store.write_placement("a.1", 3, PLACED | {"vectors": []})
    assert Store(store.root).placements("a.1") == [stored], "up to the first that is missing"
    assert store.placements("a") == []
    assert store.verify() == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "b"),
        ("round", 2),
        ("kind", "other"),
        ("vectors", None),
        ("vectors", [{"k": [0.1, 0.5, 0.5], "reason": "x"}]),
        ("vectors", [{"k": [-0.1, 0.5, 0.6], "reason": "x"}]),
        ("vectors", [{"k": [0.1, 0.9], "reason": ESCAPE}]),
        ("vectors", [{"k": [1], "reason": "x"}]),
        ("promised", -1),
        ("promised", "much"),
    ],
)
def test_a_round_that_no_run_wrote_is_refused_and_found(store: Store, key: str, value: Any) -> None:
    record = {"study": "a", "round": 1} | PLACED | {key: value}
    with pytest.raises(StoreError, match=f"`{key}` is not what"):
        store.write_placement("a", 1, record)
    store.write_placement("a", 1, PLACED)
    path = store.root / "placements" / "a.1.json"
    path.write_text(json.dumps(record))
    (path.parent / "strange").write_text("")
    with pytest.raises(StoreError, match=f"`{key}` is not what"):
        Store(store.root).placements("a")
    assert {finding.path.name for finding in Store(store.root).verify()} == {"a.1.json", "strange"}


@pytest.mark.parametrize(
    "wrong", [{"n_unplaced": -1}, {"placing": {}}, {"placing": [{"study": "a"}]}, {"placing": [{"study": "a", "n": 1, "n_placed": 1.5}]}]
)
def test_a_plan_that_says_nonsense_of_placed_vectors_is_refused(store: Store, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError, match="placing"):
        check_plan({"trials": []} | wrong, store.root / "plans" / "1.json")


def test_live_states_are_replaced_and_removed(store: Store) -> None:
    store.write_live("p", {"epoch": 1})
    store.write_live("p", {"epoch": 2, "losses": [0.5, math.nan, (math.inf,)]})
    store.write_live("q", {"epoch": 9})
    assert store.live() == [{"epoch": 2, "losses": [0.5, None, [None]], "pack_id": "p"}, {"epoch": 9, "pack_id": "q"}]
    (store.root / "live" / "p.json").write_text("{")
    assert store.live() == [{"epoch": 9, "pack_id": "q"}]
    store.remove_live("q")
    store.remove_live("q")
    assert store.live() == []
    store.clear_live()
    assert list((store.root / "live").iterdir()) == []
