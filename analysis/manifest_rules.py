"""What a manifest has to be, so that everything after it may rely on it: names are text, points are numbers."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

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
        _are_lines(item, "name", others=("model", "method", "candidate_of", "tuned_by")) for item in value
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
