"""The manifest of a results folder: how it is read and checked, and its rule for choosing the best trial."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import ResultsError as ResultsError
from analysis.results.columns import (
    ACCURACY,
    PARAMETERS_KEPT,
    READABLE_VERSIONS,
    ROWS_KEPT,
    SPARSITY_OBJECTIVE,
    accuracy_column,
    is_of,
    loss_column,
)
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
    if not wrong and not is_box(manifest.get("hypervolume_box"), manifest["objectives"]):
        wrong.append("`hypervolume_box` is a mapping: `axes`, `ideal` and `nadir` with one entry for each of `objectives`, and an `origin`")
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


Origin = Literal["rule", "exact front", "ends", "grid file"]
"""Where a box comes from: the rule of `box_by_rule`, the exact front of the problem, the ends of a placed front, or the grid file."""
_FROM = {
    "rule": "by rule",
    "exact front": "those of the exact front",
    "ends": "those of the ends of the placed front",
    "grid file": "given in the grid file",
}
SparsityAxis = Literal["rows", "parameters"]
"""What the sparsity axis of a box counts."""
_AXIS_OF: dict[SparsityAxis, str] = {"rows": ROWS_KEPT, "parameters": PARAMETERS_KEPT}
_SHARES = {ROWS_KEPT: "share of rows kept", PARAMETERS_KEPT: "share of parameters kept"}


@dataclass(frozen=True)
class StatedBox:
    """The ideal and the nadir between which a sweep's hypervolumes are measured, as a fact that does not depend on the rows."""

    axes: tuple[str, ...]
    """One column for each objective. `ROWS_KEPT` or `PARAMETERS_KEPT` replaces a GrOWL norm, which has a meaning within one architecture
    only; the norm stays in problems whose exact front is known."""
    ideal: tuple[float, ...]
    """Shape (n_objectives,), in the unit and the sense of each axis."""
    nadir: tuple[float, ...]
    """Shape (n_objectives,), the reference point: the corner that bounds the hypervolume."""
    origin: Origin
    note: str = ""
    """A sentence about numbers of the grid file or of an earlier version that are not used as they are; empty if there are none."""

    def record(self) -> dict[str, Any]:
        """Return the box as the manifest stores it under `hypervolume_box`."""
        known = {"axes": list(self.axes), "ideal": list(self.ideal), "nadir": list(self.nadir), "origin": self.origin}
        return known | ({"note": self.note} if self.note else {})


def box_text(axes: Sequence[str], ideal: Sequence[float], nadir: Sequence[float], objectives: Sequence[Mapping[str, Any]]) -> str:
    """Write the range of each axis, such as `share of rows kept from 0 to 1, left from 0 to 2.303`.

    Args:
        axes: columns, one for each objective.
        ideal: shape (n_objectives,), in the sense of each axis.
        nadir: shape (n_objectives,), likewise.
        objectives: the manifest's entries, which name the axes.
    """
    corners = zip(axes, objectives, ideal, nadir, strict=True)
    return ", ".join(f"{axis_name(axis, objective)} from {low:.4g} to {high:.4g}" for axis, objective, low, high in corners)


def axis_name(axis: str, objective: Mapping[str, Any]) -> str:
    """Return what an axis shows: a share of the network, or the objective's own name."""
    name = str(objective.get("name") or axis)
    if axis == SPARSITY_OBJECTIVE:
        return f"{name} (GrOWL norm)"
    return _SHARES.get(axis, name)


def origin_text(origin: str) -> str:
    """Say in a few words where a box comes from."""
    return _FROM.get(origin, origin)


def box_by_rule(
    objectives: Sequence[Mapping[str, Any]],
    guess_losses: Sequence[float | None],
    true_front: ArrayLike | None = None,
    *,
    ideal: Sequence[float] | None = None,
    nadir: Sequence[float] | None = None,
    sparsity: SparsityAxis = "rows",
) -> StatedBox:
    """Return the box of a problem's hypervolumes, which no result changes.

    Without given corners they are the ideal and the nadir of the exact front, if it is known. Otherwise a task's range is from 0 to the
    loss of a constant guess, and that of sparsity, measured as a share of the network that is kept, from 0 to 1.

    Args:
        objectives: the manifest's entries.
        guess_losses: the loss of a constant guess for each objective except sparsity, in their order; None where it is not known.
        true_front: points of the exact front, shape (n_points, n_objectives); None if it is not known.
        ideal: the grid file's ideal, shape (n_objectives,); None for the rule.
        nadir: the grid file's reference, shape (n_objectives,); None for the rule. On an axis that is a share, a number above 1 is a
            GrOWL norm of an earlier version: it counts as 1, and the note says so.
        sparsity: what the sparsity axis counts.

    Raises:
        ValueError: a range is not known, or the nadir is not worse than the ideal; the message names the axis and both numbers.
    """
    front = None if true_front is None else np.asarray(true_front, dtype=np.float64)
    axes = tuple(_axis(objective, front is not None, sparsity) for objective in objectives)
    signs = np.array([-1.0 if objective.get("sense", "min") == "max" else 1.0 for objective in objectives])
    guesses = iter(guess_losses)
    by_guess = [1.0 if objective["column"] == SPARSITY_OBJECTIVE else next(guesses, None) for objective in objectives]
    low = [_best(axis) if sign > 0 or is_of("accuracy", axis) else None for axis, sign in zip(axes, signs, strict=True)]
    high = by_guess
    if front is not None:
        lowest, worst = (front * signs).min(axis=0) * signs, (front * signs).max(axis=0) * signs
        low = [float(value) for value in lowest]
        # An objective in which the whole front is equal has no range of its own.
        high = [
            float(w) if sign * (w - lo) > 0 else (guess if guess is not None and sign * (guess - lo) > 0 else lo + sign)
            for w, lo, guess, sign in zip(worst.tolist(), lowest.tolist(), by_guess, signs.tolist(), strict=True)
        ]
    low, high = [list(rule if given is None else map(float, given)) for rule, given in ((low, ideal), (high, nadir))]
    notes = []
    for i, axis in enumerate(axes):
        value = high[i]
        if axis in _SHARES and value is not None and value > 1:
            notes.append(f"the reference {value:g} for sparsity is a GrOWL norm, as in earlier versions; the {_SHARES[axis]} ends at 1")
            high[i] = 1.0
    for axis, objective, best, bound, sign in zip(axes, objectives, low, high, signs, strict=True):
        what = axis_name(axis, objective)
        if best is None or bound is None:
            raise ValueError(f"the {'ideal' if best is None else 'nadir'} of {what} is not known")
        if not sign * (bound - best) > 0:
            raise ValueError(f"{what}: a nadir worse than the ideal expected, found ideal = {best:g}, nadir = {bound:g}")
    origin: Origin = "grid file" if ideal is not None or nadir is not None else "rule" if front is None else "exact front"
    return StatedBox(axes, tuple(low), tuple(high), origin, "; ".join(notes))  # type: ignore[arg-type]  # None was refused above


def _best(axis: str) -> float:
    return 1.0 if is_of("accuracy", axis) else 0.0


def _axis(objective: Mapping[str, Any], has_front: bool, sparsity: SparsityAxis = "rows") -> str:
    column = str(objective["column"])
    return _AXIS_OF[sparsity] if column == SPARSITY_OBJECTIVE and not has_front else column


def stated_box(manifest: Mapping[str, Any]) -> tuple[StatedBox | None, str]:
    """Return the box that a manifest states, and a clause that says why there is none (empty if there is one).

    A manifest of an earlier version states `hypervolume_reference` alone, whose number for sparsity is a GrOWL norm. There the tasks keep
    their numbers as the nadir, the ideal is 0, and sparsity is measured as the share of rows kept, from 0 to 1. If the exact front is
    known, its ideal and nadir are used instead. Without a reference the losses of a constant guess are used where the manifest has them.
    """
    stored = manifest.get("hypervolume_box")
    if stored is not None:
        ideal, nadir = (tuple(map(float, stored[key])) for key in ("ideal", "nadir"))
        return StatedBox(tuple(stored["axes"]), ideal, nadir, stored["origin"], str(stored.get("note") or "")), ""
    objectives, reference = manifest.get("objectives") or [], manifest.get("hypervolume_reference")
    if not objectives or not all("column" in objective for objective in objectives):
        return None, "the manifest does not name the columns of its objectives"
    front = true_front_of(manifest)[0]
    losses = (manifest.get("selection") or {}).get("guess_losses") or []
    if reference is not None and front is None:
        losses = [value for value, o in zip(reference, objectives, strict=True) if o["column"] != SPARSITY_OBJECTIVE]
    try:
        box = box_by_rule(objectives, losses, front)
    except ValueError as error:
        if reference is None and "not known" in str(error):
            return None, "the manifest, of an earlier version, states no nadir yet; the next `sweep run` of the grid file states it"
        return None, str(error)
    norm = next((v for v, o in zip(reference or [], objectives, strict=False) if o["column"] == SPARSITY_OBJECTIVE), None)
    note = ""
    if reference is not None and front is not None:
        note = "the reference stored by an earlier version is not used"
    elif reference is not None:
        note = "the nadir of the losses is the reference that an earlier version stored"
        if norm is not None:
            note += f", whose {norm:g} for sparsity is a GrOWL norm and is not used"
    return replace(box, note=note), ""


def box_axes(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns on which the fronts of a sweep are compared, whether or not the manifest states a box."""
    stored = manifest.get("hypervolume_box")
    if stored is not None:
        return tuple(stored["axes"])
    has_front = true_front_of(manifest)[0] is not None
    return tuple(_axis(objective, has_front) for objective in manifest["objectives"])


def is_box(value: object, objectives: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a value is one that a run writes under `hypervolume_box` in the manifest; None is, too."""
    if value is None:
        return True
    if not isinstance(value, dict) or value.get("origin") not in _FROM or not _is_line(value.get("note", "")):
        return False
    axes, ideal, nadir = (value.get(key) for key in ("axes", "ideal", "nadir"))
    if not all(isinstance(one, list) and len(one) == len(objectives) for one in (axes, ideal, nadir)):
        return False
    assert isinstance(axes, list) and isinstance(ideal, list) and isinstance(nadir, list)  # noqa: PT018
    if not all(map(_is_number, (*ideal, *nadir))):
        return False
    for axis, objective, low, high in zip(axes, objectives, ideal, nadir, strict=True):
        column = objective.get("column")
        if axis != column and not (column == SPARSITY_OBJECTIVE and axis in _SHARES):
            return False
        if not (low > high if objective.get("sense", "min") == "max" else low < high):
            return False
    return True


def true_front_of(manifest: Mapping[str, Any]) -> tuple[NDArray[np.float64] | None, str | None]:
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
