"""The studies of a sweep whose methods are compared, and what people call a method and an architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.table import ResultTable

ANCHOR_STUDY = "anchor-runs"
"""Its trials only settle the reference point."""
FIXED_ARCHITECTURE = "fixed_architecture"
WCAL = "wcal_growl"
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
    """Empty for rows that name none."""
    model: str
    method: str
    scalarization: str | None = None
    """How it makes one objective of many; None where the manifest does not say, or the method has its own way."""

    @property
    def is_second(self) -> bool:
        """Whether it belongs to the second study, which the paper keeps out of its Table I."""
        return self.method == FIXED_ARCHITECTURE


def compared_studies(table: ResultTable) -> tuple[Study, ...]:
    """The studies of a sweep in the manifest's order; those that only rows name come last.

    Anchor runs are left out, and searches over settings with their candidates, which train on a part of the data.
    """
    entries = [entry for entry in table.manifest.get("studies") or [] if isinstance(entry, dict)]
    found = {study.name: study for study in (_of_manifest(entry) for entry in entries if not _is_left_out(entry))}
    known = {str(entry.get("name") or "") for entry in entries}
    first_rows = table.frame[["study", "model", "method"]].astype(object).drop_duplicates("study")
    for row in first_rows.itertuples(index=False):
        name, model, method = (value if isinstance(value, str) else "" for value in row)
        if name not in known and name != ANCHOR_STUDY:
            found[name] = Study(name, model, method)
    return tuple(found.values())


def study_entries(table: ResultTable) -> dict[str, dict[str, Any]]:
    """The manifest's entry of each study by name, and an empty one for a study that only rows name."""
    entries = {str(entry.get("name") or ""): entry for entry in table.manifest.get("studies") or [] if isinstance(entry, dict)}
    named = {study if isinstance(study, str) else "" for study in table.frame["study"].to_list()}
    return entries | {name: {} for name in named if name not in entries}


def method_label(study: Study, prunes: bool) -> str:
    """What people call a study's method; with k0 > 0 GrOWL prunes beside it."""
    if study.method == WCAL:
        scalarization = study.scalarization or _DEFAULT_SCALARIZATION
        label = _SCALARIZATIONS.get(scalarization, scalarization)
    else:
        label = _METHODS.get(study.method, study.method or "unknown method")
    return f"{label} + GrOWL" if prunes else label


def architecture_label(model: str) -> str:
    """What people call an architecture: the product's own in capitals, a user's as it is."""
    return model.upper() if model in _ARCHITECTURES else model or "unknown"


def _is_left_out(entry: Mapping[str, Any]) -> bool:
    return entry.get("name") == ANCHOR_STUDY or bool(entry.get("candidates")) or bool(entry.get("candidate_of"))


def _of_manifest(entry: Mapping[str, Any]) -> Study:
    training = entry.get("training")
    scalarization = training.get("scalarization") if isinstance(training, dict) else None
    name, model, method = (str(entry.get(key) or "") for key in ("name", "model", "method"))
    return Study(name, model, method, None if scalarization is None else str(scalarization))
