"""The status of a sweep, read from its folder alone, on any machine and whether or not a run is active."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sweep.monitor.progress import Snapshot
from sweep.monitor.usage import Used, used_in
from sweep.planning.hypervolume_reference import n_beyond
from sweep.store.records import is_live
from sweep.store.remote.path import StorePath
from sweep.store.store import Store, StoreError

POLL_S = 1.0
_REMOTE_POLL_S = 5.0


@dataclass(frozen=True)
class Failure:
    """A complete trial that is not ok."""

    trial_id: str
    study: str | None
    k: Sequence[float] | None
    seed: int | None
    state: str
    error: str | None


@dataclass(frozen=True)
class Status:
    """The status of a sweep: its progress, who runs it, what was requested of it, and what failed."""

    name: str
    folder: str
    is_running: bool
    holder: Mapping[str, Any] | None
    """host, pid and start of the run that holds the lock."""
    is_paused: bool
    is_stopping: bool
    """Whether a run is active that was asked to stop."""
    alive_at: str | None
    """The last sign of life, by the clock of the machine that gave it: a heartbeat, or without an active run the last finished trial."""
    failures: tuple[Failure, ...]
    unreadable: tuple[str, ...]
    snapshot: Snapshot
    n_beyond_reference: int = 0
    """Finished trials that lie beyond the hypervolume reference; not updated while someone watches."""
    used: Used = field(default_factory=Used)
    """What the complete trials used; not updated while someone watches."""

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last sign of life, by this machine's clock; 0 where that is behind."""
        return None if self.alive_at is None else max(0.0, _seconds_since(self.alive_at))

    def by_state(self) -> dict[str, int]:
        """Trials in each state: the three of complete trials, `running` and `left`."""
        shown = self.snapshot
        left = max(0, shown.n_trials - shown.n_complete - shown.n_running)
        states = {state: shown.states.get(state, 0) for state in ("ok", "diverged", "error")}
        return states | {"running": shown.n_running, "left": left}

    def to_json(self) -> dict[str, Any]:
        """The status as plain values, with the derived figures."""
        shown, remaining = self.snapshot, self.snapshot.remaining_s
        now = datetime.now(UTC)
        return asdict(self) | {
            "complete": shown.n_complete,
            "failed": shown.n_failed,
            "running": shown.n_running,
            "left": self.by_state()["left"],
            "remaining_s": remaining,
            "ends_at": None if remaining is None else (now + timedelta(seconds=remaining)).isoformat(timespec="seconds"),
            "silent_s": self.silent_s,
            "packs": [_pack(live) for live in shown.live],
        }


class StatusReader:
    """Reads the status of a results folder repeatedly; what has not changed is not read twice.

    Args:
        folder: the results folder: a path, or the text of an address.
    """

    def __init__(self, folder: str | StorePath) -> None:
        self._store = Store(folder)
        self.folder = self._store.root
        self.poll_s = _REMOTE_POLL_S if self._store.is_remote else POLL_S
        """Seconds between two reads, for whoever watches."""
        self._failures: dict[str, Failure] = {}

    def check_reachable(self) -> None:
        """As `Store.check_reachable`."""
        self._store.check_reachable()

    def read(self) -> Status:
        """The status without `unreadable`, for which every table is read whole: too much for once a second.

        Raises:
            StoreError: this is not a results folder, or its manifest is unreadable.
        """
        store = self._store
        manifest = store.manifest()
        if manifest is None:
            raise StoreError(
                "not a results folder (no manifest.json)", store.root, "name the results folder of a run, for example results/quickstart"
            )
        plan = store.latest_plan() or {}
        config = plan.get("config")
        states = store.complete()
        asked = [trial["trial_id"] for trial in plan.get("trials", [])] or list(states)
        holder = store.lock_holder(include_dead=False)
        is_paused = store.control.pause_requested()
        snapshot = Snapshot(
            n_trials=len(asked),
            states=dict(Counter(states[trial_id] for trial_id in asked if trial_id in states)),
            n_before=int(plan.get("n_complete_before", 0)),
            live=tuple(filter(is_live, store.live())) if holder else (),
            elapsed_s=_seconds_since(holder["started"]) if holder else 0.0,
            is_paused=is_paused,
        )
        return Status(
            name=str(config.get("name", manifest["name"]) if isinstance(config, dict) else manifest["name"]),
            folder=str(store.root),
            is_running=holder is not None,
            holder=holder,
            is_paused=is_paused,
            is_stopping=holder is not None and store.control.stop_requested(),
            alive_at=None if holder is None else holder["alive_at"] or holder["started"],
            failures=self._failed([trial_id for trial_id in asked if states.get(trial_id, "ok") != "ok"]),
            unreadable=(),
            snapshot=snapshot,
        )

    def read_whole(self) -> Status:
        """The whole status; errors as for `read`."""
        status = self.read()
        unreadable = tuple(f"{path}: {reason}" for path, reason in self._store.unreadable())
        return replace(
            status,
            unreadable=unreadable,
            alive_at=status.alive_at or self._last_finished(),
            used=used_in(self.folder),
            n_beyond_reference=n_beyond(self._store),
        )

    def _failed(self, trial_ids: Sequence[str]) -> tuple[Failure, ...]:
        """The failures of these trials, in the order of the plan."""
        if not self._failures.keys() >= set(trial_ids):
            rows = self._store.read_rows(trial_ids, ("study", "k", "seed", "error")).to_pylist()
            names = ("trial_id", "study", "k", "seed", "state", "error")
            self._failures = {row["trial_id"]: Failure(**{name: row[name] for name in names}) for row in rows}
        return tuple(self._failures[trial_id] for trial_id in trial_ids if trial_id in self._failures)

    def _last_finished(self) -> str | None:
        times = [time for time in self._store.read_rows(columns=("finished_at",))["finished_at"].to_pylist() if time is not None]
        return max(times).isoformat(timespec="seconds") if times else None


def read_status(folder: str | StorePath) -> Status:
    """Read the status of a results folder, given by its path or the text of its address.

    Raises:
        StoreError: this is not a results folder, its manifest is unreadable, or an object store does not answer.
    """
    return _reachable(folder).read_whole()


def watched(folder: str | StorePath) -> Iterator[Status]:
    """The status every `poll_s` seconds until the run ends; the last one is whole. Errors as for `read_status`."""
    reader = _reachable(folder)
    while (current := reader.read()).is_running:
        yield current
        time.sleep(reader.poll_s)
    yield reader.read_whole()


def _reachable(folder: str | StorePath) -> StatusReader:
    """The reader of a folder; refuses at once an object store that does not answer."""
    reader = StatusReader(folder)
    reader.check_reachable()
    return reader


def _pack(live: Mapping[str, Any]) -> dict[str, Any]:
    """A running pack as plain values; null for what it has not reported."""
    names = ("pack_id", "study", "seed", "trial_ids", "k", "phase", "epoch", "n_epochs", "sparsity_rate", "samples_per_s", "host")
    updated = live.get("updated")
    age = max(0.0, time.time() - updated) if isinstance(updated, int | float) else None
    return {name: live.get(name) for name in names} | {"accuracy": live.get("best_metric"), "age_s": age}


def _seconds_since(started: object) -> float:
    """Seconds since a time; 0 for a text that is not a time with a zone, as another program may have written it."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(started))).total_seconds()
    except (ValueError, TypeError):
        return 0.0
