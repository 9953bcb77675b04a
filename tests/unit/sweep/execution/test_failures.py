"""Failures are said early, and not over and over."""

from pathlib import Path
from typing import Any

from sweep.execution.failures import FailedTrials, Failures
from sweep.store.store import Store

MANIFEST: dict[str, Any] = {
    "schema_version": 3,
    "name": "tiny",
    "tasks": ["left"],
    "studies": [{"name": "main"}],
    "objectives": [{"name": "sparsity"}, {"name": "left"}],
    "hypervolume_reference": None,
}


def test_a_kind_is_told_at_its_first_tenth_and_hundredth_failure() -> None:
    failures = Failures("pack")
    told = [failures.add(f"RuntimeError: {n} of 7.5e+3 bytes\nmore", "log: 1.log") for n in range(1, 201)]
    assert {n: text for n, text in enumerate(told, start=1) if text} == {
        1: "1 pack failed: RuntimeError: 1 of 7.5e+3 bytes (log: 1.log)",
        10: "10 packs failed: RuntimeError: 10 of 7.5e+3 bytes (log: 1.log)",
        100: "100 packs failed: RuntimeError: 100 of 7.5e+3 bytes (log: 1.log)",
    }
    assert failures.add("its worker died", "log: 1.log") == "1 pack failed: its worker died (log: 1.log)"


def test_trials_that_fail_from_now_on_are_told_with_the_reason_in_their_row(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    store.create(MANIFEST)

    def publish(trial_id: str, state: str, error: str | None = None) -> None:
        losses = {f"loss.{split}.left": 0.5 for split in ("train", "validation", "test")} if state == "ok" else {}
        sparsity = {"objective.sparsity": 1.0} if state == "ok" else {}
        store.publish({"trial_id": trial_id, "attempt": 1, "retry": 0, "state": state, "error": error, **losses, **sparsity})

    publish("old", "error", "ValueError: before this run")
    failed = FailedTrials(store, store.complete())
    publish("fine", "ok")
    assert failed.news(store.complete(), Path("1.log")) == []
    publish("nan", "diverged", "the loss is NaN in epoch 3")
    publish("nan2", "diverged", "the loss is NaN in epoch 4")
    publish("shape", "error", "ValueError: shapes differ")
    assert failed.news(store.complete(), Path("1.log")) == [
        "1 trial failed: diverged, the loss is NaN in epoch 3 (trial nan; log: 1.log)",
        "1 trial failed: error, ValueError: shapes differ (trial shape; log: 1.log)",
    ]
    assert failed.news(store.complete(), Path("1.log")) == []
