"""The status of a sweep. It is read from the results folder alone, on any machine and whether or not a run is active."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sweep.monitor.progress import Snapshot
from sweep.monitor.usage import Used, used_in
from sweep.store.manifest import PARAMETERS_KEPT, ROWS_KEPT, stated_box
from sweep.store.records import is_live
from sweep.store.remote.path import StorePath
from sweep.store.store import Store, StoreError

POLL_S = 1.0
_REMOTE_POLL_S = 5.0
_LARGEST = 1e40
"""The largest absolute value that counts; `analysis` treats larger numbers as missing."""
_READ_FOR = {ROWS_KEPT: ("sparsity_rate",), PARAMETERS_KEPT: ("removable_params", "n_params")}


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
    """The status of a sweep: its progress, the run that is active, pending requests, and failures."""

    name: str
    folder: str
    is_running: bool
    holder: Mapping[str, Any] | None
    """The host, process id and start of the run that holds the lock; None if no run is active."""
    is_paused: bool
    is_stopping: bool
    """Whether a run is active and a stop was requested."""
    alive_at: str | None
    """The time of the last heartbeat, or of the last finished trial if no run is active, by the clock of the machine that wrote it."""
    failures: tuple[Failure, ...]
    unreadable: tuple[str, ...]
    snapshot: Snapshot
    placing: tuple[Mapping[str, Any], ...] = ()
    """How far the placing of the vectors of each study in rounds has come, see `sweep.planning.placing.placing_of`."""
    n_beyond_reference: int = 0
    """Number of finished trials that lie beyond the nadir of the hypervolume's box; not updated while the sweep is watched."""
    used: Used = field(default_factory=Used)
    """The device time and energy of the complete trials; not updated while the sweep is watched."""

    @property
    def silent_s(self) -> float | None:
        """The seconds since `alive_at`, by this machine's clock; 0 if that clock is behind."""
        return None if self.alive_at is None else max(0.0, _seconds_since(self.alive_at))

    def by_state(self) -> dict[str, int]:
        """Return the number of trials in each state: `ok`, `diverged`, `error`, `running` and `left`."""
        shown = self.snapshot
        left = max(0, shown.n_trials - shown.n_complete - shown.n_running)
        states = {state: shown.states.get(state, 0) for state in ("ok", "diverged", "error")}
        return states | {"running": shown.n_running, "left": left}

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain values, including derived figures such as the remaining time."""
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
    """Reads the status of a results folder repeatedly, without reading unchanged files again.

    Args:
        folder: the results folder, as a path or the text of an address.
    """

    def __init__(self, folder: str | StorePath) -> None:
        self._store = Store(folder)
        self.folder = self._store.root
        self.poll_s = _REMOTE_POLL_S if self._store.is_remote else POLL_S
        """The recommended time between two reads, in seconds."""
        self._failures: dict[str, Failure] = {}

    def check_reachable(self) -> None:
        """Refuse an object store that cannot be used; see `Store.check_reachable`."""
        self._store.check_reachable()

    def read(self) -> Status:
        """Read the status except `unreadable`, `used` and `n_beyond_reference`, which take too long to read every second.

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
            n_trials=len(asked) + int(plan.get("n_unplaced", 0)),
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
            placing=tuple(plan.get("placing", ())),
        )

    def read_whole(self) -> Status:
        """Read the complete status. It raises the same errors as `read`."""
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
        """Return the failures of these trials, in the given order."""
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
    """Yield the status every `poll_s` seconds until the run ends; the last one is complete.

    Raises:
        StoreError: as for `read_status`.
    """
    reader = _reachable(folder)
    while (current := reader.read()).is_running:
        yield current
        time.sleep(reader.poll_s)
    yield reader.read_whole()


def _reachable(folder: str | StorePath) -> StatusReader:
    """Return a reader for a folder, after checking that its object store can be reached."""
    reader = StatusReader(folder)
    reader.check_reachable()
    return reader


def _pack(live: Mapping[str, Any]) -> dict[str, Any]:
    """Return a running pack as plain values; a value that it has not reported is None."""
    names = ("pack_id", "study", "seed", "trial_ids", "k", "phase", "epoch", "n_epochs", "sparsity_rate", "samples_per_s", "host")
    updated = live.get("updated")
    age = max(0.0, time.time() - updated) if isinstance(updated, int | float) else None
    return {name: live.get(name) for name in names} | {"accuracy": live.get("best_metric"), "age_s": age}


def _seconds_since(started: object) -> float:
    """Return the seconds since a time. A text that is not a time with a zone gives 0, since another program may have written it."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(str(started))).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def n_beyond(store: Store) -> int:
    """Count the finished trials that are worse than the nadir in some objective and so add nothing to the hypervolume.

    Returns:
        The number of such trials; 0 if the manifest states no box.

    Raises:
        StoreError: the folder cannot be read.
    """
    manifest = store.manifest()
    box = None if manifest is None else stated_box(manifest)[0]
    if manifest is None or box is None:
        return 0
    senses = [objective.get("sense", "min") for objective in manifest["objectives"]]
    columns = [column for axis in box.axes for column in _READ_FOR.get(axis, (axis,))]
    rows = [row for row in store.read_rows(columns=columns).to_pylist() if row["state"] == "ok"]
    points = [[_on_axis(row, axis) for axis in box.axes] for row in rows]
    finished = [[value for value in point if value is not None] for point in points if None not in point]
    return sum(
        any(value < bound if sense == "max" else value > bound for value, bound, sense in zip(point, box.nadir, senses, strict=True))
        for point in finished
    )


def _on_axis(row: dict[str, Any], axis: str) -> float | None:
    found = [row[column] for column in _READ_FOR.get(axis, (axis,))]
    if any(value is None or not abs(value) <= _LARGEST for value in found):
        return None
    if axis == ROWS_KEPT:
        return float(1 - found[0])
    if axis == PARAMETERS_KEPT:
        return float(1 - found[0] / found[1]) if found[1] > 0 else None
    return float(found[0])
