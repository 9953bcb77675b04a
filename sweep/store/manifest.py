"""Records in JSON, and the manifest: what identifies a sweep, and what another run may change."""

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sweep.store.errors import StoreError, UnreadableError
from sweep.store.files import is_name
from sweep.store.remote.path import StorePath
from sweep.store.schema import READABLE_VERSIONS

_MAX_TEXT = 1_000
_MAX_COUNT = 2**53
_HINT = "no run wrote it: delete it, the results do not need it"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BATCH = re.compile(r"[1-9]\d{0,8}")
_MEASURED_ON = ("host", "processor", "torch", "product")
_LIVE_LINES = ("study", "host", "phase")
_LIVE_NUMBERS = ("best_metric", "sparsity_rate", "started", "updated")


def is_line(value: object) -> bool:
    """Text on one line that a terminal shows as it is."""
    return isinstance(value, str) and len(value) <= _MAX_TEXT and value.isprintable()


def is_count(value: object) -> bool:
    """A whole number >= 0 that every JSON reader takes exactly."""
    return type(value) is int and 0 <= value < _MAX_COUNT


def is_number(value: object) -> bool:
    """A finite number of a size that can be computed with."""
    return math.isfinite(value) if isinstance(value, float) else type(value) is int and abs(value) < _MAX_COUNT


def check_plan(plan: Mapping[str, Any], path: StorePath) -> None:
    """Refuse a plan that no run wrote; a key may be absent.

    Raises:
        UnreadableError: its trials, its time or its counts are none.
    """
    trials = plan.get("trials", [])
    if not isinstance(trials, list) or not all(isinstance(trial, dict) and is_name(trial.get("trial_id")) for trial in trials):
        raise UnreadableError("no plan: `trials` is a list of objects with a `trial_id` each", path, _HINT)
    if not is_count(plan.get("n_complete_before", 0)):
        raise UnreadableError("no plan: `n_complete_before` is a whole number", path, _HINT)
    config = plan.get("config", {})
    if not isinstance(config, dict) or not is_line(config.get("name", "")):
        raise UnreadableError("no plan: `config` is an object with a name", path, _HINT)
    if plan.get("started") is not None and not _is_time(plan["started"]):
        raise UnreadableError("no plan: `started` is a time with its zone, in ISO 8601", path, _HINT)


def is_live(state: Mapping[str, Any]) -> bool:
    """Whether a file of `live/` says what a worker says; others are not shown, as the next epoch writes them again."""
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
    """Refuse a file of `latency/` that no command wrote.

    Raises:
        UnreadableError: it is of another trial than its name says, or one of its values is none.
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
        raise UnreadableError(f"no measurement of this trial: `{wrong}` is not what `sweep measure` writes", path)


def manifest_mistake(manifest: Mapping[str, Any]) -> str | None:
    """The first key of a manifest whose value is of no kind that a run writes, None for none."""
    problem, backends = manifest.get("problem", {}), manifest.get("backends", {})
    rules = {
        "name": is_line(manifest.get("name")),
        "tasks": all(map(is_line, manifest["tasks"])),
        "problem": isinstance(problem, str | dict) and is_line(problem.get("name", "") if isinstance(problem, dict) else problem),
        "studies": all(all(map(is_line, _texts(study, "name", "model", "method", "label"))) for study in manifest["studies"]),
        "objectives": all(all(map(is_line, _texts(item, "name", "column", "sense", "unit"))) for item in manifest["objectives"]),
        "hypervolume_reference": _is_point(manifest.get("hypervolume_reference")),
        "hypervolume_reference_given": isinstance(manifest.get("hypervolume_reference_given", False), bool),
        "reference_point_values": _is_point(manifest.get("reference_point_values")),
        "backends": isinstance(backends, dict) and all(isinstance(one, dict) and is_line(one.get("backend")) for one in backends.values()),
    }
    return next((key for key, is_kept in rules.items() if not is_kept), None)


def _are_vectors(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_point, value)))


def _texts(item: Mapping[str, Any], *keys: str) -> list[Any]:
    return [item[key] for key in keys if key in item]


def _is_point(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(is_number, value)))


def _is_pair(value: object) -> bool:
    """Milliseconds before and after compression."""
    return isinstance(value, dict) and all(is_number(value.get(name)) and value[name] >= 0 for name in ("before", "after"))


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


_NOT_IDENTITY = (
    *("schema_version", "created", "name", "versions", "true_front", "studies", "backends"),
    *("hypervolume_reference", "hypervolume_reference_given", "reference_point_values"),
)
_ABSENT = object()


def check_manifest(manifest: Mapping[str, Any], path: StorePath) -> None:
    """Refuse a manifest that this program does not understand.

    Raises:
        UnreadableError: another schema version; or tasks, studies or objectives are not what the contract says.
    """
    version = manifest.get("schema_version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        hint = "install the version of this program that wrote it"
        known = " or ".join(map(str, sorted(READABLE_VERSIONS)))
        raise UnreadableError(f"schema_version is {known} for this program, found {version!r}", path, hint)
    for key, kind, rule in (
        ("tasks", str, "names"),
        ("studies", dict, "studies with names"),
        ("objectives", dict, "objectives with names"),
    ):
        found = manifest.get(key)
        items = found if isinstance(found, list) else [None]
        names = [item.get("name") if isinstance(item, dict) else item for item in items if isinstance(item, kind)]
        if len({name for name in names if isinstance(name, str)}) != len(items):
            raise UnreadableError(f"`{key}` is a list of different {rule}, found {_shown(found)}", path, "restore it from a copy")
    wrong = manifest_mistake(manifest)
    if wrong is not None:
        raise UnreadableError(f"`{wrong}` is not what a run writes, found {_shown(manifest.get(wrong))}", path, "restore it from a copy")


def agreed_manifest(stored: dict[str, Any], asked: Mapping[str, Any], root: StorePath) -> dict[str, Any]:
    """The stored manifest with the studies that are new in the one asked for, and its schema version: what is written next is of that.

    Everything else has to be equal but `created`, `name`, `true_front` (which follows from the problem) and the points
    that are fixed later (`hypervolume_reference`, `reference_point_values`); those stay as stored. Stored studies that are
    not asked for this time stay.

    Raises:
        StoreError: another sweep; the message names each key that differs, with both values.
    """
    lines = [line for key in {**stored, **asked} if key not in _NOT_IDENTITY for line in _differences(key, stored, asked)]
    studies = {study["name"]: _without_label(study) for study in stored["studies"]}
    again = {study["name"]: _without_label(study) for study in asked["studies"] if study["name"] in studies}
    lines += [line for name in again for line in _differences(name, studies, again, "studies.")]
    if lines:
        named = "".join(f"\n  {line}" for line in lines)
        hint = "choose another `output`, or undo the change in the grid file"
        raise StoreError(f"this folder holds another sweep, which differs in:{named}", root, hint)
    new = [study for study in asked["studies"] if study["name"] not in studies]
    return {**stored, "schema_version": asked["schema_version"], "studies": [*stored["studies"], *new]}


def _without_label(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study without the label of its method, which earlier versions did not write and which changes no result."""
    return {key: value for key, value in study.items() if key != "label"}


def _is_same_data(key: str, old: object, new: object) -> bool:
    """Where the files of a problem lie says nothing about them; its fingerprint covers data and options."""
    if key != "problem" or not isinstance(old, dict) or not isinstance(new, dict):
        return False
    return all(old.get(name) is not None and old.get(name) == new.get(name) for name in ("name", "fingerprint"))


def _differences(key: str, stored: Mapping[str, Any], asked: Mapping[str, Any], above: str = "") -> list[str]:
    old, new = stored.get(key, _ABSENT), asked.get(key, _ABSENT)
    if _is_same_data(key, old, new):
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for inner in {**old, **new} for line in _differences(inner, old, new, f"{above}{key}.")]
    return [] if old == new else [f"{above}{key}: {_shown(old)} in the folder, {_shown(new)} asked for"]


def _shown(value: object) -> str:
    text = "nothing" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
