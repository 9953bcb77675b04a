"""The manifest of a results folder: how it is read and checked, and its rule for choosing the best trial."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import ResultsError as ResultsError
from analysis.results.columns import ACCURACY, READABLE_VERSIONS, SPARSITY_OBJECTIVE, accuracy_column, loss_column
from analysis.results.file_errors import is_folder, is_link, mode_of, names_in, read_problem
from analysis.results.files import read_json

_HALF = re.compile("[\ud800-\udfff]")
_MAX_NAMES = 1_000
_MAX_TEXT = 1_000
_MAX_ROUND_BYTES = 2**20


def manifest_mistakes(manifest: Mapping[str, Any]) -> list[str]:
    """List what is wrong with a manifest, one sentence for each key; empty for a manifest that a run wrote."""
    wrong = [f"`{key}` {rule}" for key, (rule, is_kept) in _RULES.items() if key in manifest and not is_kept(manifest[key])]
    if not wrong and sum(item["column"] != SPARSITY_OBJECTIVE for item in manifest["objectives"]) > len(manifest["tasks"]):
        wrong.append("`objectives` are sparsity and at most one for each of `tasks`")
    if not wrong and not is_selection(manifest.get("selection"), len(manifest["tasks"])):
        wrong.append("`selection` is a mapping: `by` is accuracy or loss, and `guess_losses`, if given, has one number for each of `tasks`")
    reference = manifest.get("hypervolume_reference")
    if not wrong and reference is not None and len(reference) != len(manifest["objectives"]):
        wrong.append(f"`hypervolume_reference` has one number for each of `objectives`, which are {len(manifest['objectives'])}")
    return wrong


def plan_mistake(plan: object) -> str | None:
    """Say what is wrong with a plan; None for a plan that a run wrote."""
    trials = plan.get("trials") if isinstance(plan, dict) else None
    if not isinstance(trials, list):
        return "`trials` is a list"
    if not all(_is_trial(trial) for trial in trials):
        return "each of `trials` has a `trial_id`, and a study, a k and a seed of the kinds that a run writes"
    assert isinstance(plan, dict)
    if not _are_placings(plan.get("placing")):
        return "`placing` has for each study its name, `n` and `n_placed`, and an `end` that is text or null"
    return None


def _are_placings(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(
        _are_lines(one, "study", others=("end",))
        and all(type(one.get(name)) is int and 0 <= one[name] < 2**53 for name in ("n", "n_placed"))
        for one in value
    )


def _is_trial(trial: object) -> bool:
    if not _are_lines(trial, "trial_id", others=("study",)):
        return False
    assert isinstance(trial, dict)
    seed = trial.get("seed")
    return _is_point(trial.get("k")) and (seed is None or (type(seed) is int and abs(seed) < 2**53))


def _is_line(value: object) -> bool:
    """Return whether a value is text that is short enough to show and valid UTF-8; code that shows it must still escape it."""
    return isinstance(value, str) and len(value) <= _MAX_TEXT and not _HALF.search(value)


def _are_lines(item: object, *needed: str, others: tuple[str, ...] = ()) -> bool:
    """Return whether an item is a mapping with text under the needed keys, and under the other keys if these are present."""
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
    """Read `manifest.json` of a results folder.

    Args:
        folder: the folder to read from.
        name: the folder's name in messages; None to use its path.

    Raises:
        ResultsError: there is no such folder or no manifest, or the manifest is truncated, invalid or of an unknown schema version.
    """
    path, shown = folder / "manifest.json", name or str(folder)
    if not is_folder(folder):
        raise ResultsError(f"{shown}: no such folder\n  hint: give the `output` folder of a grid file, as `sweep run` printed it")
    if mode_of(path) is None:
        raise ResultsError(
            f"{shown}: no manifest.json, so this is not a results folder\n  hint: look for manifest.json in the folders above and below"
        )
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
        raise ResultsError(
            f"{shown}: manifest.json: {'; '.join(mistakes)}\n  hint: a run did not write it like this; restore it from a copy"
        )
    for inner in ("rows", "epochs", "plans", "latency", "placements"):
        if is_link(folder / inner):
            raise ResultsError(f"{folder / inner}: a link where a folder is expected\n  hint: put the folder itself here, or mount it here")
    return dict(manifest)


@dataclass(frozen=True)
class SelectionRule:
    """How the best of several trials is chosen on validation data: one rule for all trials of a sweep, whatever their rows contain.

    Accuracy decides only where every task has one. In a problem that mixes classification with other tasks, the mean accuracy says nothing
    about the other tasks. There, and if no task has an accuracy, the losses of all tasks decide. Each loss is divided by that of a constant
    guess, because losses of different tasks have different units and cannot be averaged otherwise.
    """

    by: Literal["accuracy", "loss"]
    tasks: tuple[str, ...]
    guess_losses: tuple[float, ...]
    """Loss of a constant guess for each task, in the task's own unit; 1 if it is not known, as for folders of earlier versions."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row that decide between trials."""
        return (accuracy_column("validation"),) if self.by == "accuracy" else tuple(loss_column("validation", task) for task in self.tasks)

    @property
    def goal(self) -> str:
        """What distinguishes the best trial, in words."""
        if self.by == "accuracy":
            return "the highest mean validation accuracy"
        relative = "" if set(self.guess_losses) == {1.0} else " relative to a constant guess"
        return f"the lowest mean validation loss{relative}"

    def scores(self, values: ArrayLike) -> NDArray[np.float64]:
        """Score trials; higher is better.

        Args:
            values: the values of `columns`, shape (n_trials, n_columns); NaN where a value was not measured.

        Returns:
            The mean accuracy, a fraction, or minus the mean loss, shape (n_trials,); NaN where a value is missing.
        """
        found = np.asarray(values, dtype=np.float64).reshape(-1, len(self.columns))
        if self.by == "accuracy":
            return found[:, 0]
        units = np.array([abs(loss) or 1.0 for loss in self.guess_losses])
        return np.asarray(-(found / units).sum(axis=1) / len(self.tasks))

    def record(self) -> dict[str, Any]:
        """Return the rule as the manifest stores it under `selection`."""
        return {"by": self.by} if self.by == "accuracy" else {"by": self.by, "guess_losses": list(self.guess_losses)}


def selection_rule(tasks: Sequence[str], metrics: Mapping[str, str], guess_losses: Sequence[float] | None = None) -> SelectionRule:
    """Create the rule by which the best trials of a problem are chosen.

    Args:
        tasks: names of the tasks.
        metrics: name of each task's metric; a task that is missing here has an accuracy.
        guess_losses: loss of a constant guess for each task, in the task's own unit; None if it is not known.
    """
    by_accuracy = all(metrics.get(task, ACCURACY) == ACCURACY for task in tasks)
    guesses = (1.0,) * len(tasks) if guess_losses is None else tuple(float(loss) for loss in guess_losses)
    return SelectionRule("accuracy" if by_accuracy else "loss", tuple(tasks), guesses)


def selection_of(manifest: Mapping[str, Any]) -> SelectionRule:
    """Return the rule that a manifest names; for manifests of earlier versions, which name none, it follows from their metrics."""
    tasks = tuple(map(str, manifest["tasks"]))
    stored = manifest.get("selection")
    if stored is None:
        named = manifest.get("metrics") or {}
        return selection_rule(tasks, {str(task): str(metric) for task, metric in named.items() if metric})
    return SelectionRule(stored["by"], tasks, tuple(map(float, stored.get("guess_losses") or [1.0] * len(tasks))))


def is_selection(value: object, n_tasks: int) -> bool:
    """Return whether a value is one that a run writes under `selection` in the manifest."""
    if value is None:
        return True
    if not isinstance(value, dict) or value.get("by") not in ("accuracy", "loss"):
        return False
    guesses = value.get("guess_losses")
    return guesses is None or (isinstance(guesses, list) and len(guesses) == n_tasks and all(map(_is_number, guesses)))


def true_front_of(manifest: dict[str, Any]) -> tuple[NDArray[np.float64] | None, str | None]:
    """Return the exact front that a manifest holds, and what is wrong with it.

    Returns:
        The points, shape (n_points, n_objectives), in the order and sense of the manifest's objectives, sorted by the first one if
        there are two objectives; None without a front. The second item says why a stored front is invalid; None if it is valid or missing.
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
    """Return the readable plan with the highest number, and `path: reason` for each later plan that cannot be read.

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


@dataclass(frozen=True)
class PlacedRound:
    """One round of preference vectors that the product placed (`preferences: {front: ...}`)."""

    kind: str
    """ends, scan or fill."""
    vectors: tuple[tuple[tuple[float, ...], str], ...]
    """Each vector, shape (1 + n_tasks,), and why it was chosen."""
    promised: float | None
    """The hypervolume that the ten best gaps promised before this round, as a fraction of that of the front; None if unknown."""


def read_placements(folder: Path, study: str) -> tuple[PlacedRound, ...]:
    """Read the rounds of a study from `placements/`, in their order, up to the first that is missing or damaged.

    Args:
        folder: the results folder, or copies of it.
        study: name of the study.
    """
    names = [] if is_link(folder / "placements") else names_in(folder / "placements")
    rounds: list[PlacedRound] = []
    while (name := f"{study}.{len(rounds) + 1}.json") in names:
        try:
            found = _placed_round(read_json(folder / "placements" / name, _MAX_ROUND_BYTES))
        except (OSError, ValueError):
            break
        if found is None:
            break
        rounds.append(found)
    return tuple(rounds)


def _placed_round(record: object) -> PlacedRound | None:
    """Return a stored round; None if a run did not write it."""
    if not isinstance(record, dict) or not isinstance(record.get("vectors"), list):
        return None
    kind, promised, vectors = record.get("kind"), record.get("promised"), record["vectors"]
    if kind not in ("ends", "scan", "fill") or not (promised is None or _is_number(promised)):
        return None
    if not all(isinstance(one, dict) and one.get("k") and _is_point(one["k"]) and _is_line(one.get("reason")) for one in vectors):
        return None
    placed = tuple((tuple(float(share) for share in one["k"]), str(one["reason"])) for one in vectors)
    return PlacedRound(str(kind), placed, None if promised is None else float(promised))
