"""The manifest of a sweep, which identifies its problem, its studies and its objectives."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sweep.errors import SweepError
from sweep.grid.load import Study, SweepConfig
from sweep.grid.resolve import ANCHOR_STUDY, hypervolume_box, objective_entries
from sweep.store.manifest import selection_rule
from sweep.store.remote.path import StorePath
from sweep.store.schema import SCHEMA_VERSION
from sweep.store.store import StoreError
from trainer.catalog import METHODS, read_by
from trainer.problems.custom.factory import OwnProblem
from trainer.problems.custom.source import ProblemError, changed_modules


def fingerprint_of(config: SweepConfig) -> str:
    """Return the fingerprint of a sweep's problem, a hash of everything that its data and networks depend on.

    Raises:
        SweepError: the source of a custom problem changed after the config was loaded, or its `fingerprint` fails.
    """
    try:
        return config.problem.entry.fingerprint(config.problem.options)
    except ProblemError as error:
        raise SweepError(str(error)) from error


def refuse_changed_source(stored: Mapping[str, Any], planned: Mapping[str, Any], root: StorePath) -> None:
    """Refuse a results folder whose custom problem has changed since the first run. Other differences are reported elsewhere.

    Args:
        stored: the folder's manifest; empty for a new folder.
        planned: the manifest of the sweep to run.
        root: the folder, for the error message.

    Raises:
        StoreError: the problem and its options are the same, but its source or data changed.
    """
    old, new = stored.get("problem"), planned["problem"]
    if not isinstance(old, dict) or "sources" not in new or any(old.get(key) != new[key] for key in ("name", "options")):
        return
    changed = changed_modules(old.get("sources") or {}, new["sources"])
    hint = "choose another `output`, or undo the change: trials from before and after it would not be comparable"
    if changed:
        raise StoreError(f"the source of {new['name']} changed since this folder was begun ({', '.join(changed)})", root, hint)
    if old.get("fingerprint") != new["fingerprint"]:
        raise StoreError(f"the data of {new['name']} changed since this folder was begun (its `fingerprint` says so)", root, hint)


def manifest_of(config: SweepConfig, created: str) -> dict[str, Any]:
    """Return the identity of a sweep, as it is stored in `manifest.json` (docs/store.md).

    With `reference_point: auto`, `reference_point_values` is None until the anchor runs are complete.

    Args:
        config: the sweep.
        created: the current time in ISO format.

    Raises:
        SweepError: as for `fingerprint_of`.
    """
    name, facts = config.problem.name, config.problem.facts
    problem = {"name": name, "options": asdict(config.problem.options), "fingerprint": fingerprint_of(config)}
    if isinstance(config.problem.entry, OwnProblem):
        problem["sources"] = dict(config.problem.entry.source.digests)
    reference = list(config.given_reference or [0.0] * len(facts.objectives))
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "created": created,
        "problem": problem,
        "tasks": list(facts.tasks),
        "metrics": dict(facts.metrics),
        "selection": selection_rule(facts.tasks, facts.metrics, facts.guess_losses).record(),
        "studies": [_study_identity(study) for study in config.resolved_studies],
        "scaling": config.scaling,
        "reference_point": config.reference_point if config.has_auto_reference else reference,
        "reference_point_values": None if config.has_auto_reference else reference,
        "objectives": objective_entries(facts),
        "hypervolume_box": hypervolume_box(config, facts).record(),
        "true_front": [list(point) for point in facts.true_front()] if facts.true_front else None,
    }


def _study_identity(study: Study) -> dict[str, Any]:
    """Return the manifest's entry for a study. `after` is a list only if the study waits for several others."""
    after = (None, *study.after)[-1] if len(study.after) < 2 else list(study.after)
    identity: dict[str, Any] = {"name": study.name, "model": study.model, "method": study.method, "after": after}
    identity["training"] = read_by(study.method, study.training)
    identity["label"] = METHODS[study.method].label_of(study.training)
    if study.name == ANCHOR_STUDY:
        identity["seed"] = study.seeds[0]  # another seed would give another reference point
    return identity | {key: getattr(study, key) for key in ("candidate_of", "tuned_by") if getattr(study, key)}
