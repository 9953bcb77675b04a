"""Where a sweep stands, from its folder alone."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sweep.cli.status import show
from sweep.monitor.status import StatusReader, read_status, watched
from sweep.store.store import Store, StoreError

K = {"a": [0.0, 0.5, 0.5], "b": [0.02, 0.49, 0.49], "c": [0.1, 0.45, 0.45], "d": [0.2, 0.4, 0.4]}
LOSSES = {f"loss.{split}.{task}": 0.25 for split in ("train", "validation", "test") for task in ("left", "right")}
FINISHED = datetime(2026, 1, 31, 13, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four trials were asked for: one is ok, one has diverged, one has failed with an odd message."""
    store = Store(tmp_path / "out")
    names = [{"name": name} for name in ("sparsity", "left", "right")]
    manifest = {"schema_version": 3, "name": "tiny", "tasks": ["left", "right"], "studies": [{"name": "main"}], "objectives": names}
    store.create(manifest)
    asked = [{"trial_id": trial_id, "study": "main", "k": k, "seed": 0} for trial_id, k in K.items()]
    store.write_plan(1, {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", "trials": asked, "n_complete_before": 0})
    publish(store, "a", "ok")
    publish(store, "b", "diverged", error="a loss became NaN")
    publish(store, "c", "error", error="ValueError: no\x1b[31m\n  shape")
    return store


def publish(store: Store, trial_id: str, state: str, **changes: Any) -> None:
    row = {"trial_id": trial_id, "attempt": 1, "retry": 0, "state": state, "study": "main", "seed": 0, "k": K[trial_id]}
    store.publish(row | {"objective.sparsity": 1.0, "finished_at": FINISHED, **LOSSES, **changes})


def test_without_a_run_it_counts_names_what_failed_and_says_when_the_last_trial_finished(store: Store) -> None:
    status = read_status(store.root)
    assert (status.name, status.is_running, status.is_paused, status.is_stopping, status.unreadable) == ("tiny", False, False, False, ())
    assert status.by_state() == {"ok": 1, "diverged": 1, "error": 1, "running": 0, "left": 1}
    assert status.alive_at == FINISHED.isoformat()
    assert [(failure.trial_id, failure.state, failure.k) for failure in status.failures] == [
        ("b", "diverged", K["b"]),
        ("c", "error", K["c"]),
    ]
    first, second, *failed = show(status).splitlines()
    assert first.startswith(f"sweep tiny in {store.root}: not running, last trial finished ")
    assert second == "3/4 trials complete: 1 diverged, 1 error, 1 ok"
    assert failed == [
        "failed: b (main, k=(0.02, 0.49, 0.49), seed 0) diverged: a loss became NaN",
        r"failed: c (main, k=(0.1, 0.45, 0.45), seed 0) error: ValueError: no\u001b[31m shape",
    ], "one line each, and nothing that a terminal would obey"


def test_a_running_pack_is_shown_with_all_it_reports(store: Store) -> None:
    figures = {"phase": "sparsify", "epoch": 3, "n_epochs": 12, "best_metric": 0.875, "sparsity_rate": 0.25, "samples_per_s": 5000.0}
    now = datetime.now(UTC).timestamp()
    live = {"study": "main", "seed": 0, "trial_ids": ["d", "e"], "k": [K["d"], K["b"]], "host": "node-1", "updated": now - 5}
    store.write_live("pack-d", live | figures)
    with store.lock():
        status = StatusReader(store.root).read()
        text = show(status)
    found = json.loads(json.dumps(status.to_json()))
    (pack,) = found["packs"]
    assert pack.pop("age_s") == pytest.approx(5, abs=60)
    accuracy = {"accuracy": figures.pop("best_metric")}
    del live["updated"]
    assert pack == {"pack_id": "pack-d", **live, **figures, **accuracy}
    assert found["holder"]["host"] in text
    assert (found["running"], found["left"], found["is_running"]) == (2, 0, True)
    assert datetime.fromisoformat(found["ends_at"]) - datetime.now(UTC) < timedelta(seconds=found["remaining_s"] + 60)
    header, line = text.splitlines()[2:4]
    assert header.split() == ["pack", "trials", "k", "phase", "epoch", "best", "SR", "age", "host"]
    assert line.startswith("pack-d  2       (0.2, 0.4, 0.4) +1  sparsify  3/12   87.5 %  25.0 %")
    assert " left (until " in text
    assert "last heartbeat " in text


def test_a_pause_and_a_stop_are_shown_and_a_pause_gives_no_time_left(store: Store) -> None:
    store.control.request_pause()
    store.write_live("pack-d", {"trial_ids": ["d"], "epoch": 3, "n_epochs": 12})
    with store.lock():
        paused = read_status(store.root)
        store.control.request_stop()
        stopping = read_status(store.root)
    assert (paused.is_paused, paused.is_stopping, paused.to_json()["remaining_s"], paused.to_json()["ends_at"]) == (True, False, None, None)
    assert f"paused: no pack starts until `sweep resume {store.root}`" in show(paused)
    assert stopping.is_stopping
    assert ", stopping" in show(stopping)
    after = read_status(store.root)
    assert (after.is_paused, after.is_stopping) == (True, False), "nobody is there to stop"
    assert "paused: " in show(after)


def test_a_holder_elsewhere_that_is_silent_is_perhaps_gone(store: Store) -> None:
    with store.lock():
        lock = store.root / "lock.json"
        holder = json.loads(lock.read_bytes()) | {"host": "another-host", "alive_at": "2026-01-31T12:00:00+00:00"}
    lock.write_text(json.dumps(holder))
    status = read_status(store.root)
    assert status.is_running, "from here nobody can tell"
    assert "running on another-host (pid " in show(status)
    assert "without a heartbeat for " in show(status)
    del holder["alive_at"]
    lock.write_text(json.dumps(holder))
    assert read_status(store.root).alive_at == holder["started"], "a lock of an earlier version has no other"
    lock.write_text(json.dumps(holder | {"started": "some time ago"}))
    assert "running on another-host" in show(read_status(store.root))


def test_what_fails_later_is_seen_by_the_same_reader(store: Store) -> None:
    reader = StatusReader(store.root)
    assert [failure.trial_id for failure in reader.read().failures] == ["b", "c"]
    publish(store, "d", "error", error="out of luck")
    store.compact()
    assert [(failure.trial_id, failure.error) for failure in reader.read().failures][-1] == ("d", "out of luck")
    store.forget(["b"])
    assert [failure.trial_id for failure in reader.read().failures] == ["c", "d"]


def test_many_failures_are_counted(store: Store) -> None:
    more = {f"x{number}": K["d"] for number in range(12)}
    asked = [{"trial_id": trial_id, "study": "main", "k": k, "seed": 0} for trial_id, k in (K | more).items()]
    store.write_plan(2, {"attempt": 2, "started": "2026-01-31T12:00:00+00:00", "trials": asked, "n_complete_before": 3})
    for trial_id in more:
        store.publish({"trial_id": trial_id, "attempt": 2, "retry": 0, "state": "error", "k": K["d"], "error": "no"})
    text = show(read_status(store.root))
    assert text.count("\nfailed: ") == 10
    assert text.endswith(f"4 more failed: `sweep status {store.root} --format json` lists all")
    assert len(read_status(store.root).failures) == 14


def test_watching_a_folder_without_a_run_ends_at_once(store: Store) -> None:
    assert [status.is_running for status in watched(store.root)] == [False]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a results folder"):
        StatusReader(tmp_path).read()
