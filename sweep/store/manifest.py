"""The manifest: what identifies a sweep, and what another run may change."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.results.manifest import SelectionRule as SelectionRule
from analysis.results.manifest import is_selection
from analysis.results.manifest import selection_of as selection_of
from analysis.results.manifest import selection_rule as selection_rule
from sweep.store.errors import StoreError, UnreadableError
from sweep.store.files import checked_name, finite, read_json, write_first, write_json
from sweep.store.folder import Folder
from sweep.store.records import Plans, is_line, is_point
from sweep.store.remote.path import StorePath
from sweep.store.schema import READABLE_VERSIONS, SCHEMA_VERSION

_NOT_IDENTITY = (
    *("schema_version", "created", "name", "versions", "true_front", "studies", "backends", "selection"),
    *("hypervolume_reference", "hypervolume_reference_given", "reference_point_values"),
)
_ABSENT = object()


class Manifest:
    """`manifest.json` of one results folder.

    Args:
        folder: the results folder.
        plans: its plans, which say where a stored hypervolume reference came from.
    """

    def __init__(self, folder: Folder, plans: Plans) -> None:
        self._folder, self._plans = folder, plans
        self._path = folder.root / "manifest.json"
        self._tasks: tuple[str, ...] | None = None

    def read(self) -> dict[str, Any] | None:
        """What this folder holds; None before the first run.

        Raises:
            StoreError: manifest.json is torn, or of another schema version.
        """
        try:
            manifest = read_json(self._path)
        except FileNotFoundError:
            return None
        check_manifest(manifest, self._path)
        return manifest

    def create(self, manifest: dict[str, Any]) -> None:
        """Make the folder ready for a run of the sweep that `manifest` describes. The caller holds the lock.

        On the first run the manifest is written. Later it has to agree with the one that is there: everything but
        `created`, `name`, `hypervolume_reference` (`settle_hypervolume_reference` changes it) and `reference_point_values`, which
        stay as they are. New studies are added; stored studies that this run does not ask for stay.

        Raises:
            StoreError: the folder holds another sweep (the message names each key that differs, with both values), or
                files that are not results.
        """
        asked = json.loads(json.dumps(manifest, allow_nan=False))
        check_manifest(asked, self._path)
        self._folder.check_ours()
        stored = self.read()
        agreed = asked if stored is None else agreed_manifest(stored, asked, self._folder.root)
        self._folder.make()
        if agreed != stored:
            write_json(self._path, agreed)

    def has_given_reference(self) -> bool:
        """Whether the manifest's hypervolume reference comes from a grid file; it never moves then.

        Manifests of earlier versions do not say so; there it comes from a grid file if the config of some plan gives the same.
        """
        manifest = self.known()
        reference, is_given = manifest.get("hypervolume_reference"), manifest.get("hypervolume_reference_given")
        if reference is None or is_given is not None:
            return bool(is_given)
        return any(config.get("hypervolume_reference") == reference for config in self._plans.configs())

    def settle_hypervolume_reference(self, reference: Sequence[float], *, is_given: bool) -> bool:
        """Write the hypervolume reference into the manifest in place of an earlier one. The caller holds the lock.

        Args:
            reference: shape (n_objectives,).
            is_given: whether the grid file gives it. A given reference is replaced only by another given one.

        Returns:
            Whether the reference changed.
        """
        values = self._checked_point("a hypervolume reference", reference)
        if not is_given and self.has_given_reference():
            return False
        manifest = self.known()
        settled = {**manifest, "hypervolume_reference": values, "hypervolume_reference_given": is_given}
        if settled != manifest:
            write_json(self._path, settled)
        return bool(manifest.get("hypervolume_reference") != values)

    def fix_reference_point(self, values: Sequence[float]) -> None:
        """Write the values that `reference_point: auto` stands for into the manifest, once. The caller holds the lock."""
        manifest = self.known()
        if manifest.get("reference_point_values") is None:
            point = self._checked_point("a reference point", values)
            write_json(self._path, {**manifest, "reference_point_values": point})

    def _checked_point(self, name: str, point: Sequence[float]) -> list[float]:
        n_objectives = len(self.known()["objectives"])
        values = [float(value) for value in point]
        if len(values) != n_objectives or finite(values) != values:
            raise StoreError(f"{name} has {n_objectives} finite values, found {values}", self._path)
        return values

    def settle_backend(self, model: str, choose: Callable[[], Mapping[str, Any]]) -> str:
        """The backend that this sweep's GPUs train a model with: what the first worker chose holds for all.

        Args:
            model: its name.
            choose: measures and returns `backend` and whatever else should be kept; called only if nothing is settled yet.
        """
        path = self._folder.root / "plans" / f"backend-{checked_name(model, 'model')}.json"
        settled = (self.read() or {}).get("backends", {}).get(model)
        if settled is None:
            try:
                settled = read_json(path)
            except (FileNotFoundError, UnreadableError):  # not there, or being written
                write_first(path, dict(choose()))
                settled = read_json(path)
        return str(settled["backend"])

    def record_backends(self) -> None:
        """Copy the backends that workers settled into the manifest. The caller holds the lock."""
        settled = {path.stem.removeprefix("backend-"): read_json(path) for path in self._folder.paths("plans", ".json") if "-" in path.stem}
        manifest = self.known()
        if not settled.keys() <= manifest.get("backends", {}).keys():
            write_json(self._path, {**manifest, "backends": {**settled, **manifest.get("backends", {})}})

    def known(self) -> dict[str, Any]:
        """What this folder holds.

        Raises:
            StoreError: there is no manifest.
        """
        manifest = self.read()
        if manifest is None:
            problem = "there is no manifest.json here, so this is not a results folder"
            raise StoreError(problem, self._folder.root, "check the path; a first `sweep run` makes it")
        return manifest

    def raise_version(self) -> None:
        """Raise the manifest's schema version to the one that is about to be written.

        An earlier release then refuses the whole folder, instead of taking a table for damaged.
        """
        manifest = self.known()
        if manifest["schema_version"] < SCHEMA_VERSION:
            write_json(self._path, {**manifest, "schema_version": SCHEMA_VERSION})

    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, which never change."""
        if self._tasks is None:
            self._tasks = tuple(self.known()["tasks"])
        return self._tasks


def manifest_mistake(manifest: Mapping[str, Any]) -> str | None:
    """The first key of a manifest whose value no run writes; None if every value is valid."""
    problem, backends = manifest.get("problem", {}), manifest.get("backends", {})
    rules = {
        "name": is_line(manifest.get("name")),
        "tasks": all(map(is_line, manifest["tasks"])),
        "problem": isinstance(problem, str | dict) and is_line(problem.get("name", "") if isinstance(problem, dict) else problem),
        "studies": all(all(map(is_line, _texts(study, "name", "model", "method", "label"))) for study in manifest["studies"]),
        "objectives": all(all(map(is_line, _texts(item, "name", "column", "sense", "unit"))) for item in manifest["objectives"]),
        "hypervolume_reference": is_point(manifest.get("hypervolume_reference")),
        "hypervolume_reference_given": isinstance(manifest.get("hypervolume_reference_given", False), bool),
        "reference_point_values": is_point(manifest.get("reference_point_values")),
        "selection": is_selection(manifest.get("selection"), len(manifest["tasks"])),
        "backends": isinstance(backends, dict) and all(isinstance(one, dict) and is_line(one.get("backend")) for one in backends.values()),
    }
    return next((key for key, is_kept in rules.items() if not is_kept), None)


def _texts(item: Mapping[str, Any], *keys: str) -> list[Any]:
    return [item[key] for key in keys if key in item]


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
    """The stored manifest with the new studies and the schema version of the one asked for.

    Everything else has to be equal, except `created`, `name`, `true_front` and `selection` (which follow from the problem) and
    the points that are fixed later (`hypervolume_reference`, `reference_point_values`); those stay as stored. A folder of an
    earlier version, which has no `selection`, gets it. Stored studies that this run does not ask for stay.

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
    selection = stored.get("selection") or asked.get("selection")
    added = {} if selection is None else {"selection": selection}
    return {**stored, **added, "schema_version": asked["schema_version"], "studies": [*stored["studies"], *new]}


def _without_label(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study without the label of its method, which earlier versions did not write and which changes no result."""
    return {key: value for key, value in study.items() if key != "label"}


def _is_same_data(key: str, old: object, new: object) -> bool:
    """Whether two problems have the same data, wherever their files lie: the fingerprint covers data and options."""
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
