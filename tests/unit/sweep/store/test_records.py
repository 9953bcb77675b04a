"""JSON of a results folder that no run wrote is refused, or not shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.monitor.status import read_status
from sweep.store.files import UnreadableError
from sweep.store.records import check_plan, is_count, is_line, is_live, is_number
from sweep.store.store import Store, StoreError
from tests.unit.sweep.store.test_store import manifest_of_a_sweep

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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create(manifest_of_a_sweep())
    return store


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
