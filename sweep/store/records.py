"""Small JSON records besides the results: plans, rounds of placed vectors, the live states of running packs, and measured latencies.

A results folder may come from an untrusted source, so every record is checked when it is read.
"""

import math
import re
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sweep.store.control import REMOTE_S
from sweep.store.errors import StoreError, UnreadableError
from sweep.store.files import checked_name, finite, is_name, is_there, read_json, write_first, write_json
from sweep.store.folder import Finding, Folder, problems_of, remove, what_to_do
from sweep.store.remote.path import StorePath

_MAX_TEXT = 1_000
_MAX_COUNT = 2**53
_HINT = "no run wrote it: delete it, the results do not need it"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BATCH = re.compile(r"[1-9]\d{0,8}")
_MEASURED_ON = ("host", "processor", "torch", "product")
_ROUND = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,99})\.([1-9]\d{0,5})\.json")
_KINDS = ("ends", "scan", "fill")
_LIVE_LINES = ("study", "host", "phase")
_LIVE_NUMBERS = ("best_metric", "sparsity_rate", "started", "updated")


def is_line(value: object) -> bool:
    """Return whether a value is a text of one line that a terminal can show unchanged."""
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()


def is_count(value: object) -> bool:
    """Return whether a value is an integer >= 0 that every JSON reader represents exactly."""
    return type(value) is int and 0 <= value < _MAX_COUNT


def is_number(value: object) -> bool:
    """Return whether a value is a finite number, or an integer that a float represents exactly."""
    return math.isfinite(value) if isinstance(value, float) else type(value) is int and abs(value) < _MAX_COUNT


def check_plan(plan: Mapping[str, Any], path: StorePath) -> None:
    """Refuse a plan that cannot have been written by a run. Every key may be absent.

    Raises:
        UnreadableError: the trials, the config, the start time or a count are invalid.
    """
    trials = plan.get("trials", [])
    if not isinstance(trials, list) or not all(isinstance(trial, dict) and is_name(trial.get("trial_id")) for trial in trials):
        raise UnreadableError("not a plan: `trials` is a list of objects with a `trial_id` each", path, _HINT)
    if not is_count(plan.get("n_complete_before", 0)):
        raise UnreadableError("not a plan: `n_complete_before` is a whole number", path, _HINT)
    config = plan.get("config", {})
    if not isinstance(config, dict) or not is_line(config.get("name", "")):
        raise UnreadableError("not a plan: `config` is an object with a name", path, _HINT)
    if not is_count(plan.get("n_unplaced", 0)) or not _are_placings(plan.get("placing", [])):
        raise UnreadableError("not a plan: `n_unplaced` and `placing` are not what a run writes", path, _HINT)
    if plan.get("started") is not None and not _is_time(plan["started"]):
        raise UnreadableError("not a plan: `started` is a time with its zone, in ISO 8601", path, _HINT)


def check_placement(record: Mapping[str, Any], path: StorePath) -> None:
    """Refuse a record of a round of placed vectors that a run cannot have written.

    Raises:
        UnreadableError: the record belongs to another study or round than its file name states, or one of its values is invalid.
    """
    name, vectors = _ROUND.fullmatch(path.name), record.get("vectors")
    promised = record.get("promised")
    rules = {
        "study": name is not None and record.get("study") == name[1],
        "round": name is not None and is_count(record.get("round")) and record["round"] == int(name[2]),
        "kind": record.get("kind") in _KINDS,
        "vectors": isinstance(vectors, list) and all(map(_is_placed, vectors)),
        "promised": promised is None or (is_number(promised) and promised >= 0),
    }
    wrong = next((key for key, is_kept in rules.items() if not is_kept), None)
    if wrong is not None:
        raise UnreadableError(f"not a round of placed vectors: `{wrong}` is not what a run writes", path, what_to_do(path))


def _is_placed(vector: object) -> bool:
    """Return whether a value is a preference vector with the reason for its choice."""
    if not isinstance(vector, dict) or not is_line(vector.get("reason")):
        return False
    k = vector.get("k")
    return isinstance(k, list) and len(k) > 1 and all(is_number(share) and share >= 0 for share in k) and abs(sum(k) - 1) < 1e-6


def is_live(state: Mapping[str, Any]) -> bool:
    """Return whether a live state is valid. An invalid one can be ignored, because the next epoch writes it again."""
    trial_ids = state.get("trial_ids")
    return (
        is_name(state.get("pack_id"))
        and isinstance(trial_ids, list)
        and all(map(is_name, trial_ids))
        and all(is_line(state[name]) for name in _LIVE_LINES if state.get(name) is not None)
        and all(is_number(state[name]) for name in _LIVE_NUMBERS if state.get(name) is not None)
        and _are_vectors(state.get("k"))
        and ("epoch" not in state or (is_count(state["epoch"]) and is_count(state.get("n_epochs"))))
    )


def check_latency(latency: Mapping[str, Any], path: StorePath) -> None:
    """Refuse a latency record that `sweep measure` cannot have written.

    Raises:
        UnreadableError: the record belongs to another trial than its file name states, or one of its values is invalid.
    """
    sha256, times = latency.get("weights_sha256"), latency.get("latency_ms")
    rules = {
        "trial_id": is_name(latency.get("trial_id")) and latency["trial_id"] == path.stem,
        "weights_sha256": isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None,
        "latency_ms": isinstance(times, dict) and all(_BATCH.fullmatch(n) and _is_pair(pair) for n, pair in times.items()),
        **{name: is_line(latency.get(name)) for name in _MEASURED_ON},
        "measured": _is_time(latency.get("measured")),
    }
    wrong = next((key for key, is_kept in rules.items() if not is_kept), None)
    if wrong is not None:
        raise UnreadableError(f"not a measurement of this trial: `{wrong}` is not what `sweep measure` writes", path)


def _are_placings(value: object) -> bool:
    """Return whether a value says, for each study whose vectors are placed in rounds, how far that has come."""
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and is_line(one.get("study"))
        and all(is_count(one.get(name)) for name in ("n", "n_placed", "n_rounds"))
        and (one.get("end") is None or is_line(one["end"]))
        for one in value
    )


class Plans:
    """The plans of a sweep, one for each attempt."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._latest: tuple[StorePath, dict[str, Any]] | None = None

    def write(self, attempt: int, plan: Mapping[str, Any]) -> None:
        """Store the plan of attempt number `attempt`. The caller must hold the lock.

        Raises:
            StoreError: the attempt already has a plan.
        """
        path = self._folder.root / "plans" / f"{attempt}.json"
        if is_there(path):
            raise StoreError(f"run {attempt} already has a plan", path, "take the number from next_attempt()")
        write_json(path, dict(plan))

    def latest(self) -> dict[str, Any] | None:
        """Return the plan of the last attempt; None before the first. Plans never change, so each is read only once."""
        plans = self._folder.plans()
        if not plans:
            return None
        newest = plans[max(plans)]
        if self._latest is None or self._latest[0] != newest:
            self._latest = (newest, read_plan(newest))
        return self._latest[1]


def read_plan(path: StorePath) -> dict[str, Any]:
    """Read and check a plan.

    Raises:
        UnreadableError: the file is not a plan that a run wrote.
    """
    plan = read_json(path)
    check_plan(plan, path)
    return plan


class Placements:
    """The rounds of placed preference vectors (`preferences: {front: ...}`), each written once and never replaced."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[StorePath, dict[str, Any]] = {}

    def write(self, study: str, number: int, record: Mapping[str, Any]) -> dict[str, Any]:
        """Store round `number` of a study unless it is stored already, and return what is stored. The caller must hold the lock.

        Args:
            study: name of the study.
            number: 1, 2 and so on.
            record: `kind` (ends, scan or fill), `vectors` (a list of objects with `k`, shape (1 + n_tasks,), and `reason`) and `promised`
                (a fraction of the hypervolume, or None).

        Raises:
            UnreadableError: a value is invalid.
            StoreWriteError: the record could not be written.
        """
        path = self._folder.root / "placements" / f"{study}.{number}.json"
        whole = {"study": study, "round": number, **record}
        check_placement(whole, path)
        self._folder.make_later("placements")
        write_first(path, whole)
        return self._read(path)

    def read(self, study: str) -> list[dict[str, Any]]:
        """Return the rounds of a study in their order, up to the first that is missing. Rounds never change, so each is read only once.

        Raises:
            UnreadableError: a file is not a round that a run wrote.
        """
        names = {path.name: path for path in self._folder.paths("placements", ".json")}
        rounds: list[dict[str, Any]] = []
        while (path := names.get(f"{study}.{len(rounds) + 1}.json")) is not None:
            rounds.append(self._read(path))
        return rounds

    def problems(self) -> list[Finding]:
        """Return all problems in the folder of placed rounds."""
        problems = []
        for path in self._folder.paths("placements"):
            if _ROUND.fullmatch(path.name) is None:
                problems.append(Finding(path, "its name is not <study>.<round>.json", what_to_do(path)))
            else:
                problems += problems_of(path, partial(_read_placement, path))
        return problems

    def _read(self, path: StorePath) -> dict[str, Any]:
        if path not in self._known:
            self._known[path] = _read_placement(path)
        return self._known[path]


def _read_placement(path: StorePath) -> dict[str, Any]:
    record = read_json(path)
    check_placement(record, path)
    return record


class Live:
    """The live states of running packs, as reported by their workers."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._written: dict[str, float] = {}

    def write(self, pack_id: str, state: Mapping[str, Any]) -> None:
        """Store the live state of a running pack, with null in place of NaN.

        The file is not synced, because it is not needed after a power failure. In an object store a state is written at most every
        two seconds; a state that comes sooner is dropped.
        """
        path = self._folder.root / "live" / f"{checked_name(pack_id, 'pack id')}.json"
        if self._folder.is_remote and time.monotonic() - self._written.get(pack_id, -REMOTE_S) < REMOTE_S:
            return
        self._written[pack_id] = time.monotonic()
        write_json(path, {**finite(dict(state)), "pack_id": pack_id}, durable=False)

    def read(self) -> list[dict[str, Any]]:
        """Return the live states of the running packs, each with its `pack_id`, ordered by id."""
        states = []
        for path in self._folder.paths("live", ".json"):
            try:
                states.append(read_json(path))
            except (FileNotFoundError, UnreadableError):
                continue  # the pack has just ended, or a power failure truncated the file
        return states

    def remove(self, pack_id: str) -> None:
        """Remove the live state of a pack that has ended."""
        remove([self._folder.root / "live" / f"{checked_name(pack_id, 'pack id')}.json"])

    def clear(self) -> None:
        """Remove all live states when no pack is running. The caller must hold the lock."""
        remove(self._folder.paths("live", ".json"))


class Latencies:
    """The latencies of trained networks, each measured on a named machine."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def write(self, trial_id: str, latency: Mapping[str, Any]) -> None:
        """Store the measured latency of one trial's networks, replacing an earlier measurement. This needs no lock.

        Args:
            trial_id: id of the trial.
            latency: `weights_sha256`, `latency_ms` (maps a batch size as text to `before` and `after` in milliseconds), `host`,
                `processor`, `torch`, `product` and `measured` (a time with its zone).

        Raises:
            UnreadableError: one of these values is invalid.
            StoreWriteError: the record could not be written; an earlier measurement is unchanged.
        """
        path = self._folder.root / "latency" / f"{checked_name(trial_id, 'trial id')}.json"
        record = {"trial_id": trial_id, **latency}
        check_latency(record, path)
        self._folder.make_later("latency")
        write_json(path, record)

    def read(self, trial_id: str) -> dict[str, Any] | None:
        """Return the measured latency of a trial; None if there is none, or if its file is damaged (`Store.verify` reports it)."""
        try:
            return _read_latency(self._folder.root / "latency" / f"{checked_name(trial_id, 'trial id')}.json")
        except (FileNotFoundError, UnreadableError):
            return None

    def forget(self, trial_ids: Collection[str]) -> None:
        """Remove the measurements of these trials."""
        remove(path for path in self._folder.paths("latency", ".json") if path.stem in trial_ids)

    def problems(self) -> list[Finding]:
        """Return all problems in the folder of latencies."""
        problems = []
        for path in self._folder.paths("latency"):
            if path.suffix != ".json" or not is_name(path.stem):
                problems.append(Finding(path, "its name is not <trial id>.json", what_to_do(path)))
            else:
                problems += problems_of(path, partial(_read_latency, path))
        return problems


def _read_latency(path: StorePath) -> dict[str, Any]:
    latency = read_json(path)
    check_latency(latency, path)
    return latency


def _are_vectors(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(is_point, value)))


def is_point(value: object) -> bool:
    """Return whether a value is a list of numbers, or None."""
    return value is None or (isinstance(value, list) and all(map(is_number, value)))


def _is_pair(value: object) -> bool:
    """Return whether a value holds the milliseconds before and after compression."""
    return isinstance(value, dict) and all(is_number(value.get(name)) and value[name] >= 0 for name in ("before", "after"))


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
