"""What one results folder holds: the rules that its manifest keeps, and how a later run's manifest must agree with it."""

import json
from collections.abc import Mapping
from typing import Any

from sweep.schema import READABLE_VERSIONS
from sweep.storage.errors import StoreError, UnreadableError
from sweep.storage.records import manifest_mistake
from sweep.storage.remote import StorePath

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
    studies = {study["name"]: study for study in stored["studies"]}
    again = {study["name"]: study for study in asked["studies"] if study["name"] in studies}
    lines += [line for name in again for line in _differences(name, studies, again, "studies.")]
    if lines:
        named = "".join(f"\n  {line}" for line in lines)
        hint = "choose another `output`, or undo the change in the grid file"
        raise StoreError(f"this folder holds another sweep, which differs in:{named}", root, hint)
    new = [study for study in asked["studies"] if study["name"] not in studies]
    return {**stored, "schema_version": asked["schema_version"], "studies": [*stored["studies"], *new]}


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
