"""Where a sweep stands, read from its folder alone."""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweep.progress import LiveTable, PlainLines, Progress, Snapshot, summary_line
from sweep.store import Store, StoreError
from sweep.used import Used, used_in, used_line

_POLL_S = 1.0


@dataclass(frozen=True)
class Status:
    """A snapshot and who runs it."""

    name: str
    folder: str
    is_running: bool
    holder: dict[str, Any] | None
    """host, pid and start of the run that holds the lock."""
    unreadable: tuple[str, ...]
    snapshot: Snapshot
    used: Used = field(default_factory=Used)
    """What the complete trials used; not followed while someone watches."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the derived figures."""
        shown = self.snapshot
        derived = {"complete": shown.n_complete, "failed": shown.n_failed, "running": shown.n_running, "remaining_s": shown.remaining_s}
        return asdict(self) | derived


def read_status(folder: Path) -> Status:
    """Read a results folder.

    Raises:
        StoreError: no sweep is there, or its manifest is unreadable.
    """
    store = Store(folder)
    found = _read(store)
    return replace(found, unreadable=tuple(f"{path}: {reason}" for path, reason in store.unreadable()), used=used_in(folder))


def _read(store: Store) -> Status:
    """All but `unreadable`, which reads every table whole: too much for once a second."""
    manifest = store.manifest()
    if manifest is None:
        raise StoreError(
            "no sweep is here (no manifest.json)", store.root, "name the results folder of a run, for example results/quickstart"
        )
    plan = store.latest_plan() or {"trials": [], "n_complete_before": 0}
    states = store.complete()
    asked = [trial["trial_id"] for trial in plan["trials"]] or list(states)
    holder = store.lock_holder(certainly_dead=False)
    snapshot = Snapshot(
        n_trials=len(asked),
        states=dict(Counter(states[trial_id] for trial_id in asked if trial_id in states)),
        n_before=int(plan.get("n_complete_before", 0)),
        live=tuple(store.live()) if holder else (),
        elapsed_s=_seconds_since(plan.get("started")) if holder else 0.0,
    )
    return Status(str(manifest["name"]), str(store.root), holder is not None, holder, (), snapshot)


def show(status: Status) -> str:
    """A few lines for people."""
    state = f"running on {status.holder['host']} (pid {status.holder['pid']})" if status.holder else "not running"
    lines = [f"sweep {status.name} in {status.folder}: {state}"]
    if status.is_running:
        lines.append(summary_line(status.snapshot))
    else:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(status.snapshot.states.items())) or "none"
        lines.append(f"{status.snapshot.n_complete}/{status.snapshot.n_trials} trials complete: {counts}")
    if status.used.n_timed:
        lines.append(used_line(status.used))
    lines += [f"unreadable: {text}" for text in status.unreadable]
    return "\n".join(lines)


def watch_status(folder: Path) -> None:
    """Show it until the run ends; errors as for `read_status`."""
    import sys

    store = Store(folder)
    current = _read(store)
    view: Progress = LiveTable() if sys.stderr.isatty() else PlainLines()
    try:
        while current.is_running:
            view.update(current.snapshot)
            time.sleep(_POLL_S)
            current = _read(store)
    finally:
        view.close()
    PlainLines().message(show(read_status(folder)))


def _seconds_since(started: str | None) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() if started else 0.0
