"""The studies of a table: which of them are compared, their labels, and whether their objectives have one scaling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable

ANCHOR_STUDY = "anchor-runs"
"""The study whose trials only determine the reference point."""
FIXED_ARCHITECTURE = "fixed_architecture"
WCAL = "wcal_growl"
# Labels for manifests of earlier versions, which hold none; current labels are in trainer/catalog.py.
_DEFAULT_SCALARIZATION = "chebyshev_al"
_SCALARIZATIONS = {
    "chebyshev_al": "WC-AL",
    "weighted_sum": "Weighted sum",
    "smooth_chebyshev": "Smooth Chebyshev",
    "paper": "WC-AL (paper's Lagrangian)",
}
_METHODS = {
    FIXED_ARCHITECTURE: "Fixed architecture",
    "mgda": "MGDA",
    "kdmtl": "KDMTL",
    "stl": "STL",
    "epo": "EPO",
    "cosmos": "COSMOS",
    "moead": "MOEA/D",
}
_ARCHITECTURES = ("hps", "mdmtn", "mtan", "kdmtl", "stl")


@dataclass(frozen=True)
class Study:
    """One study of a sweep: a method that trains one architecture."""

    name: str
    """Empty for rows without a study."""
    model: str
    method: str
    scalarization: str | None = None
    """How it combines the objectives into one; None if the manifest does not say, or if the method does not scalarize."""
    label: str | None = None
    """The method's display name with these settings; None for manifests of earlier versions."""

    @property
    def is_second(self) -> bool:
        """Whether it belongs to the second study, which is not part of the paper's Table I."""
        return self.method == FIXED_ARCHITECTURE


def compared_studies(table: ResultTable) -> tuple[Study, ...]:
    """List the studies of a sweep that are compared, in the manifest's order; studies that only appear in rows come last.

    Anchor runs are left out, and so are searches over settings and their candidates, which train on part of the data.
    """
    entries = [entry for entry in table.manifest.get("studies") or [] if isinstance(entry, dict)]
    studies = {study.name: study for study in (_of_manifest(entry) for entry in entries if not _is_left_out(entry))}
    known = {str(entry.get("name") or "") for entry in entries}
    first_rows = table.frame[["study", "model", "method"]].astype(object).drop_duplicates("study")
    for row in first_rows.itertuples(index=False):
        name, model, method = (value if isinstance(value, str) else "" for value in row)
        if name not in known and name != ANCHOR_STUDY:
            studies[name] = Study(name, model, method)
    return tuple(studies.values())


def study_entries(table: ResultTable) -> dict[str, dict[str, Any]]:
    """Map each study's name to its entry in the manifest; a study that only appears in rows has an empty entry."""
    entries = {str(entry.get("name") or ""): entry for entry in table.manifest.get("studies") or [] if isinstance(entry, dict)}
    named = {study if isinstance(study, str) else "" for study in table.frame["study"].to_list()}
    return entries | {name: {} for name in named if name not in entries}


def method_label(study: Study, prunes: bool) -> str:
    """Return the display name of a study's method; `prunes` adds GrOWL, for trials with k0 > 0."""
    if study.label:
        label = study.label
    elif study.method == WCAL:
        scalarization = study.scalarization or _DEFAULT_SCALARIZATION
        label = _SCALARIZATIONS.get(scalarization, scalarization)
    else:
        label = _METHODS.get(study.method, study.method or "unknown method")
    return f"{label} + GrOWL" if prunes else label


def architecture_label(model: str) -> str:
    """Return the display name of an architecture: built-in names in capitals, a user's own name unchanged."""
    return model.upper() if model in _ARCHITECTURES else model or "unknown"


def _is_left_out(entry: Mapping[str, Any]) -> bool:
    return entry.get("name") == ANCHOR_STUDY or bool(entry.get("candidates")) or bool(entry.get("candidate_of"))


def _of_manifest(entry: Mapping[str, Any]) -> Study:
    training = entry.get("training")
    scalarization = training.get("scalarization") if isinstance(training, dict) else None
    name, model, method = (str(entry.get(key) or "") for key in ("name", "model", "method"))
    label = entry.get("label")
    return Study(name, model, method, None if scalarization is None else str(scalarization), None if label is None else str(label))


RELATIVE_TOLERANCE = 1e-3
"""Anchors and reference points that differ by at most this much count as equal: they were computed in single precision."""
_MAX_IDS = 3
_MAX_SCALINGS = 5

Scaling = tuple[tuple[float, ...], tuple[float, ...]]
"""Anchors and reference point of a trial, each of shape (n_objectives,)."""


def check_one_scaling(table: ResultTable) -> None:
    """Raise an error if finished trials of one study have differently scaled or shifted objectives.

    The same preference has a different meaning under another scaling, so such trials cannot be compared. Rows without anchors (schema 1)
    are not checked; in a row without a reference point, it is the origin.

    Raises:
        ResultsError: the scalings differ; the message names the values, the trials and what to do.
    """
    frame = table.ok.frame
    scalings: dict[str, dict[Scaling, list[str]]] = {}
    columns = (frame[name].to_list() for name in ("study", "trial_id", "anchors", "reference_point"))
    for study, trial_id, anchors, reference in zip(*columns, strict=True):
        scale = _numbers(anchors)
        if scale is None:
            continue
        scaling = (scale, _numbers(reference) or (0.0,) * len(scale))
        scalings.setdefault(study if isinstance(study, str) else "", {}).setdefault(scaling, []).append(str(trial_id))
    for study, found in scalings.items():
        groups = _merge_alike(found)
        if len(groups) > 1:
            raise ResultsError(_message(table, study, groups))


def _numbers(value: Any) -> tuple[float, ...] | None:
    """Return the numbers of a stored list; None if there is no list, or if an entry is not finite."""
    if value is None or not hasattr(value, "__len__") or isinstance(value, str) or not len(value):
        return None
    numbers = np.asarray(value, dtype=np.float64)
    return tuple(numbers.tolist()) if np.isfinite(numbers).all() else None


def _merge_alike(found: dict[Scaling, list[str]]) -> dict[Scaling, list[str]]:
    groups: dict[Scaling, list[str]] = {}
    for scaling, trials in found.items():
        same = next((known for known in groups if all(_alike(a, b) for a, b in zip(known, scaling, strict=True))), scaling)
        groups.setdefault(same, []).extend(trials)
    return groups


def _alike(left: Sequence[float], right: Sequence[float]) -> bool:
    if len(left) != len(right):
        return False
    a, b = np.asarray(left), np.asarray(right)
    return bool((np.abs(a - b) <= RELATIVE_TOLERANCE * np.maximum(np.abs(a), np.abs(b))).all())


def _message(table: ResultTable, study: str, groups: dict[Scaling, list[str]]) -> str:
    names = ("anchors", "reference point")
    first = next(iter(groups))
    differing = [i for i in range(2) if not all(_alike(first[i], other[i]) for other in groups)]
    lines = []
    for scaling, trials in sorted(groups.items(), key=lambda item: -len(item[1]))[:_MAX_SCALINGS]:
        values = ", ".join(f"{names[i]} ({', '.join(f'{value:.6g}' for value in scaling[i])})" for i in differing)
        more = ", ..." if len(trials) > _MAX_IDS else ""
        lines.append(f"  {values}: {len(trials)} {'trial' if len(trials) == 1 else 'trials'} ({', '.join(trials[:_MAX_IDS])}{more})")
    if len(groups) > _MAX_SCALINGS:
        lines.append(f"  and {len(groups) - _MAX_SCALINGS} more")
    what = f"study {study!r}" if study else "its study"
    return "\n".join(
        [
            f"{table.place}: {what} mixes trials of {len(groups)} scalings, which have no common front",
            *lines,
            "  hint: keep one scaling a folder: train the others into a folder of their own (`sweep run grid.yaml --out DIR`),"
            " or train all of them again with one scaling",
        ]
    )
