"""The manifest, which identifies a sweep, and the rules for what a later run may change in it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.results.columns import PARAMETERS_KEPT as PARAMETERS_KEPT
from analysis.results.columns import ROWS_KEPT as ROWS_KEPT
from analysis.results.manifest import SelectionRule as SelectionRule
from analysis.results.manifest import StatedBox as StatedBox
from analysis.results.manifest import box_by_rule as box_by_rule
from analysis.results.manifest import is_box, is_selection
from analysis.results.manifest import selection_of as selection_of
from analysis.results.manifest import selection_rule as selection_rule
from analysis.results.manifest import stated_box as stated_box
from sweep.store.errors import StoreError, UnreadableError
from sweep.store.files import checked_name, finite, read_json, write_first, write_json
from sweep.store.folder import Folder
from sweep.store.records import is_line, is_point
from sweep.store.remote.path import StorePath
from sweep.store.schema import READABLE_VERSIONS, SCHEMA_VERSION

_NOT_IDENTITY = (
    *("schema_version", "created", "name", "versions", "true_front", "studies", "backends", "selection"),
    *("hypervolume_box", "hypervolume_reference", "hypervolume_reference_given", "reference_point_values"),
)
_ABSENT = object()
_STRENGTH = {"ends": 1, "grid file": 2}
"""Origins of a box, any other being 0; see `Manifest.settle_hypervolume_box`."""


class Manifest:
    """`manifest.json` of one results folder.

    Args:
        folder: the results folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._path = folder.root / "manifest.json"
        self._tasks: tuple[str, ...] | None = None

    def read(self) -> dict[str, Any] | None:
        """Return the manifest; None before the first run.

        Raises:
            StoreError: manifest.json is damaged, or has an incompatible schema version.
        """
        try:
            manifest = read_json(self._path)
        except FileNotFoundError:
            return None
        except UnreadableError as error:
            raise UnreadableError(error.problem, self._path, error.hint or "restore it from a copy; rows need it") from error
        check_manifest(manifest, self._path)
        return manifest

    def create(self, manifest: dict[str, Any]) -> None:
        """Prepare the folder for a run of the sweep that `manifest` describes. The caller must hold the lock.

        The first run writes the manifest. In later runs it must agree with the stored one (`agreed_manifest`): new studies are added,
        stored studies that this run does not contain are kept, and the box of the hypervolume and the reference point are left
        unchanged.

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

    def settle_hypervolume_box(self, box: StatedBox) -> bool:
        """Write the box of the hypervolumes into the manifest if it is to replace the stored one. The caller must hold the lock.

        A box from the grid file replaces any other, one from the ends of a placed front replaces any other but that, and one by rule is
        written only if there is none, or if the grid file now measures sparsity on another axis.

        Returns:
            Whether the stored box changed.

        Raises:
            StoreError: the box does not fit the manifest's objectives.
        """
        manifest, asked = self.known(), box.record()
        if not is_box(asked, manifest["objectives"]):
            raise StoreError(f"a box expects axes of the objectives and an ideal better than the nadir, found {asked}", self._path)
        stored = manifest.get("hypervolume_box")
        if stored is not None:
            is_weaker = _STRENGTH.get(box.origin, 0) < max(1, _STRENGTH.get(stored["origin"], 0))
            if stored == asked or (is_weaker and stored["axes"] == asked["axes"]):
                return False
        write_json(self._path, {**manifest, "hypervolume_box": asked})
        return True

    def fix_reference_point(self, values: Sequence[float]) -> None:
        """Write the values that `reference_point: auto` stands for into the manifest, once. The caller must hold the lock.

        Args:
            values: shape (n_objectives,), in objective units.

        Raises:
            StoreError: the shape is wrong, or a value is not finite.
        """
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
        """Return the backend with which this sweep trains a model on GPUs. The first worker chooses it for all.

        Args:
            model: name of the model.
            choose: measures the backends, and returns `backend` and any other values to record. It is called only if no backend has been
                chosen yet.
        """
        settled = self.settled_backend(model)
        if settled is None:
            path = self._backend_path(model)
            write_first(path, dict(choose()))
            settled = str(read_json(path)["backend"])
        return settled

    def settled_backend(self, model: str) -> str | None:
        """Return the backend that this sweep's first worker has chosen for a model; None if none has been chosen yet."""
        settled = (self.read() or {}).get("backends", {}).get(model)
        if settled is None:
            try:
                settled = read_json(self._backend_path(model))
            except (FileNotFoundError, UnreadableError):  # missing, or being written
                return None
        return str(settled["backend"])

    def _backend_path(self, model: str) -> StorePath:
        return self._folder.root / "plans" / f"backend-{checked_name(model, 'model')}.json"

    def record_backends(self) -> None:
        """Copy the backends that workers chose into the manifest. The caller must hold the lock."""
        settled = {path.stem.removeprefix("backend-"): read_json(path) for path in self._folder.paths("plans", ".json") if "-" in path.stem}
        manifest = self.known()
        if not settled.keys() <= manifest.get("backends", {}).keys():
            write_json(self._path, {**manifest, "backends": {**settled, **manifest.get("backends", {})}})

    def known(self) -> dict[str, Any]:
        """Return the manifest, which must exist.

        Raises:
            StoreError: there is no manifest.
        """
        manifest = self.read()
        if manifest is None:
            problem = "there is no manifest.json here, so this is not a results folder"
            raise StoreError(problem, self._folder.root, "check the path; a first `sweep run` makes it")
        return manifest

    def raise_version(self) -> None:
        """Raise the manifest's schema version to the current one, before a file of that version is written.

        An earlier release then refuses the whole folder, instead of reporting a table as damaged.
        """
        manifest = self.known()
        if manifest["schema_version"] < SCHEMA_VERSION:
            write_json(self._path, {**manifest, "schema_version": SCHEMA_VERSION})

    def tasks(self) -> tuple[str, ...]:
        """Return the names of the tasks, which never change."""
        if self._tasks is None:
            self._tasks = tuple(self.known()["tasks"])
        return self._tasks


def manifest_mistake(manifest: Mapping[str, Any]) -> str | None:
    """Return the first key of a manifest whose value is invalid; None if every value is valid."""
    problem, backends = manifest.get("problem", {}), manifest.get("backends", {})
    rules = {
        "name": is_line(manifest.get("name")),
        "tasks": all(map(is_line, manifest["tasks"])),
        "problem": isinstance(problem, str | dict) and is_line(problem.get("name", "") if isinstance(problem, dict) else problem),
        "studies": all(all(map(is_line, _texts(study, "name", "model", "method", "label"))) for study in manifest["studies"]),
        "objectives": all(all(map(is_line, _texts(item, "name", "column", "sense", "unit"))) for item in manifest["objectives"]),
        "hypervolume_reference": is_point(manifest.get("hypervolume_reference")),
        "hypervolume_reference_given": isinstance(manifest.get("hypervolume_reference_given", False), bool),
        "hypervolume_box": is_box(manifest.get("hypervolume_box"), manifest["objectives"]),
        "reference_point_values": is_point(manifest.get("reference_point_values")),
        "selection": is_selection(manifest.get("selection"), len(manifest["tasks"])),
        "backends": isinstance(backends, dict) and all(isinstance(one, dict) and is_line(one.get("backend")) for one in backends.values()),
    }
    return next((key for key, is_kept in rules.items() if not is_kept), None)


def _texts(item: Mapping[str, Any], *keys: str) -> list[Any]:
    return [item[key] for key in keys if key in item]


def check_manifest(manifest: Mapping[str, Any], path: StorePath) -> None:
    """Refuse a manifest that this program cannot interpret.

    Raises:
        UnreadableError: the schema version is incompatible, or a value violates the contract.
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
    """Return the stored manifest with the new studies and the schema version of the requested manifest.

    The two must agree, except in `created`, `name`, `versions`, `backends`, `true_front` and `selection` (which follow from the
    problem), and in `hypervolume_box` and the points that are determined later (`reference_point_values`). These keep their stored
    values. A folder of an earlier version that has no `selection` receives it. Stored studies that this run does not contain are kept.

    Args:
        stored: the manifest in the folder.
        asked: the manifest of the sweep that is about to run.
        root: the results folder, for error messages.

    Raises:
        StoreError: the folder holds another sweep; the message names each key that differs, with both values.
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
    """Return a study without the label of its method, which earlier versions did not write and which affects no result."""
    return {key: value for key, value in study.items() if key != "label"}


def _is_same_data(key: str, old: object, new: object) -> bool:
    """Return whether two problems have the same data, wherever their files are; the fingerprint covers data and options."""
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
