"""The JSON of a results folder: its manifest, the exact front in it, its latest plan."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import ResultsError as ResultsError
from analysis.file_errors import is_folder, is_link, mode_of, names_in, read_problem
from analysis.manifest_rules import manifest_mistakes, plan_mistake
from analysis.parquet_files import READABLE_VERSIONS
from analysis.plain_files import read_json


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
