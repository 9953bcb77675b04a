"""The manifest of a results folder: reading it, and the rules that it has to follow."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import ResultsError as ResultsError
from analysis.results.file_errors import is_folder, is_link, mode_of, names_in, read_problem
from analysis.results.files import read_json
from analysis.results.parquet import READABLE_VERSIONS

_HALF = re.compile("[\ud800-\udfff]")
_SPARSITY = "objective.sparsity"
_MAX_NAMES = 1_000
_MAX_TEXT = 1_000


def manifest_mistakes(manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with a manifest, one sentence a key; nothing for one that a run wrote."""
    wrong = [f"`{key}` {rule}" for key, (rule, is_kept) in _RULES.items() if key in manifest and not is_kept(manifest[key])]
    if not wrong and sum(item["column"] != _SPARSITY for item in manifest["objectives"]) > len(manifest["tasks"]):
        wrong.append("`objectives` are sparsity and at most one for each of `tasks`")
    reference = manifest.get("hypervolume_reference")
    if not wrong and reference is not None and len(reference) != len(manifest["objectives"]):
        wrong.append(f"`hypervolume_reference` has one number for each of `objectives`, which are {len(manifest['objectives'])}")
    return wrong


def plan_mistake(plan: object) -> str | None:
    """What is wrong with a plan, None for one that a run wrote."""
    trials = plan.get("trials") if isinstance(plan, dict) else None
    if not isinstance(trials, list):
        return "`trials` is a list"
    if not all(_is_trial(trial) for trial in trials):
        return "each of `trials` has a `trial_id`, and a study, a k and a seed of the kinds that a run writes"
    return None


def _is_trial(trial: object) -> bool:
    if not _are_lines(trial, "trial_id", others=("study",)):
        return False
    assert isinstance(trial, dict)
    seed = trial.get("seed")
    return _is_point(trial.get("k")) and (seed is None or (type(seed) is int and abs(seed) < 2**53))


def _is_line(value: object) -> bool:
    """Text of a length that can be shown, and that can be written as UTF-8; whoever shows it escapes it."""
    return isinstance(value, str) and len(value) <= _MAX_TEXT and not _HALF.search(value)


def _are_lines(item: object, *needed: str, others: tuple[str, ...] = ()) -> bool:
    """A mapping with text under some keys, and under others if they are there."""
    if not isinstance(item, dict) or not all(_is_line(item.get(key)) for key in needed):
        return False
    return all(item.get(key) is None or _is_line(item[key]) for key in others)


def _are_texts(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_line, (*value, *value.values()))))


def _are_names(value: object) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _MAX_NAMES and all(map(_is_line, value)) and len(set(value)) == len(value)


def _are_objectives(value: object) -> bool:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_NAMES:
        return False
    if not all(_are_lines(item, "name", "column", others=("sense", "unit")) for item in value):
        return False
    return len({item["column"] for item in value}) == len(value) and all(item.get("sense", "min") in ("min", "max") for item in value)


def _are_studies(value: object) -> bool:
    if not isinstance(value, list) or not all(
        _are_lines(item, "name", others=("model", "method", "label", "candidate_of", "tuned_by")) for item in value
    ):
        return False
    return all(isinstance(item.get("training", {}), dict) for item in value)


def _is_point(value: object) -> bool:
    return value is None or (isinstance(value, list) and len(value) <= _MAX_NAMES and all(map(_is_number, value)))


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and abs(value) < 2**53


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("is text of at most 1,000 letters", _is_line),
    "tasks": ("is a list of different names", _are_names),
    "objectives": ("is a list of mappings, each with a `name` and a `column` of its own, and the sense min or max", _are_objectives),
    "studies": ("is a list of mappings, each with a `name`", _are_studies),
    "metrics": ("is a mapping of names", _are_texts),
    "problem": ("is a mapping with a `name`", lambda value: _is_line(value) or _are_lines(value, "name", others=("fingerprint",))),
    "hypervolume_reference": ("is a list of finite numbers, or null", _is_point),
    "reference_point_values": ("is a list of finite numbers, or null", _is_point),
    "reference_point": ("is a list of finite numbers, or text", lambda value: _is_point(value) or _is_line(value)),
    "scaling": ("is text of at most 1,000 letters", _is_line),
    "versions": ("is a mapping of names", _are_texts),
}


def read_manifest(folder: Path, name: str | None = None) -> dict[str, Any]:
    """`manifest.json` of a results folder.

    Args:
        folder: where it is read.
        name: what messages call the folder; None: as it is.

    Raises:
        ResultsError: no such folder, no manifest, a torn manifest or one of an unknown schema version.
    """
    path, shown = folder / "manifest.json", name or str(folder)
    if not is_folder(folder):
        raise ResultsError(f"{shown}: no such folder\n  hint: give the `output` folder of a grid file, as `sweep run` printed it")
    if mode_of(path) is None:
        raise ResultsError(f"{shown}: no manifest.json, so this is not a results folder\n  hint: is it a folder above or below?")
    try:
        manifest = read_json(path)
    except OSError as error:
        problem, hint = read_problem(error)
        raise ResultsError(problem, f"{shown}/manifest.json", hint) from error
    except ValueError as error:
        raise ResultsError(
            f"{shown}: manifest.json: cannot be read as JSON ({error})\n  hint: restore it from a copy; rows need it"
        ) from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version not in READABLE_VERSIONS:
        known = ", ".join(str(known) for known in sorted(READABLE_VERSIONS))
        newer = isinstance(version, int) and version > max(READABLE_VERSIONS)
        hint = "written by a newer version: upgrade pareto-sweep" if newer else "not written by pareto-sweep, or damaged"
        raise ResultsError(f"{shown}: manifest.json: schema_version {version!r}, this release reads {known}\n  hint: {hint}")
    wrong = [key for key in ("tasks", "objectives") if not isinstance(manifest.get(key), list) or not manifest[key]]
    if wrong:
        raise ResultsError(f"{shown}: manifest.json: no {' and no '.join(wrong)}\n  hint: the file is damaged; restore it from a copy")
    mistakes = manifest_mistakes(manifest)
    if mistakes:
        raise ResultsError(f"{shown}: manifest.json: {'; '.join(mistakes)}\n  hint: no run wrote it so; restore it from a copy")
    for inner in ("rows", "epochs", "plans", "latency"):
        if is_link(folder / inner):
            raise ResultsError(f"{folder / inner}: a link where a folder is expected\n  hint: put the folder itself here, or mount it here")
    return dict(manifest)


def true_front_of(manifest: dict[str, Any]) -> tuple[NDArray[np.float64] | None, str | None]:
    """The exact front that a manifest holds, and what is wrong with it.

    Returns:
        Shape (n_points, n_objectives) in the order of the manifest's objectives and in their own sense; two objectives
        sorted by the first one. None where there is none, or with a reason where it is no list of finite points.
    """
    points = manifest.get("true_front")
    if points is None:
        return None, None
    n_objectives = len(manifest["objectives"])
    try:
        front = np.asarray(points, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None, "true_front is not a list of points"
    if front.ndim != 2 or not front.size or front.shape[1] != n_objectives or not np.isfinite(front).all():
        return None, f"true_front expects finite points of shape (n_points, {n_objectives}), found shape {front.shape}"
    return (front[np.argsort(front[:, 0], kind="stable")] if n_objectives == 2 else front), None


def read_latest_plan(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The plan with the highest number that can be read, and the names of higher ones that cannot.

    Raises:
        ReadError: the folder of plans cannot be listed.
    """
    names = [name for name in names_in(folder / "plans") if re.fullmatch(r"\d+\.json", name)]
    unreadable: list[str] = []
    for path in sorted((folder / "plans" / name for name in names), key=lambda path: int(path.stem), reverse=True):
        try:
            plan = read_json(path)
            mistake = plan_mistake(plan)
            if mistake is not None:
                raise ValueError(mistake)
        except (OSError, ValueError, KeyError, TypeError) as error:
            unreadable.append(f"plans/{path.name}: not a plan ({error})")
            continue
        return plan, unreadable
    return None, unreadable
