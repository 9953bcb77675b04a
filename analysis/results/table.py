"""The results folder as one table, in which each trial appears once, missing trials are counted and unreadable files are named."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results.columns import (
    ACCURACY,
    DEVICE_SECONDS,
    MEAN,
    PARAMETERS_KEPT,
    PHASES,
    ROWS_KEPT,
    SPARSITY_OBJECTIVE,
    SPARSITY_RATE,
    SPLITS,
    accuracy_column,
    loss_column,
    metric_column,
    share_columns,
    wall_column,
)
from analysis.results.manifest import ResultsError as ResultsError
from analysis.results.manifest import (
    SelectionRule,
    StatedBox,
    box_axes,
    read_latest_plan,
    read_manifest,
    selection_of,
    stated_box,
    true_front_of,
)
from analysis.results.mirror import Mirror, is_address, trial_of
from analysis.results.parquet import latest_attempts, parquet_files, read_files, to_frame
from analysis.results.sanitize import only_usable

_ATTEMPT_COLUMNS = ("trial_id", "attempt", "retry")
_TEXT_COLUMNS = ("state", "error", "problem", "model", "method", "study", "weights_sha256")
_LIST_COLUMNS = ("k", "notes", "anchors", "reference_point", "taken_over", "gradient_cosine")
_FLAG_COLUMNS = ("energy_estimated",)
_RATE_COLUMNS = (SPARSITY_RATE, "compression_rate", "parameter_sharing")
_TIME_COLUMNS = (DEVICE_SECONDS, *map(wall_column, (None, *PHASES)))
_SIZE_COLUMNS = ("sparsity_rate_params", "n_params", "removable_params", "n_macs", "removable_macs", "compact_bytes")
_REAL_COLUMNS = (*_RATE_COLUMNS, *_SIZE_COLUMNS, "scalarized", "optimum", "n_epochs", *_TIME_COLUMNS, "energy_wh")


@dataclass(frozen=True, eq=False)
class ResultTable:
    """The results of one sweep at the time of reading; later changes of the folder do not appear."""

    folder: Path
    """The folder from which files are read: the results folder, or copies of a results folder in an object store."""
    manifest: dict[str, Any]
    """`manifest.json` as written."""
    frame: pd.DataFrame
    """One row per trial, its latest (attempt, retry), in the order of the latest plan, with the columns of `docs/store.md`. Null, NaN,
    infinities and real numbers beyond `sanitize.LARGEST` are all NaN here; only `state` distinguishes a diverged trial from a missing
    measurement. Lists are Python lists; `layer_sparsity` and `versions` are JSON text, so that pandas, polars, DuckDB, Feather and CSV can
    write and read the frame without loss."""
    plan: dict[str, Any] | None = None
    """The latest readable `plans/<n>.json`; None before the first run."""
    unreadable: tuple[str, ...] = ()
    """`path: reason` for every file that could not be read; paths are relative to `folder`."""
    mirror: Mirror | None = field(default=None, repr=False)
    """The copies, which are deleted together with the last table that uses them; None for a local folder."""

    @property
    def name(self) -> str:
        """The sweep's name for display."""
        return str(self.manifest.get("name") or self.folder.resolve().name)

    @property
    def place(self) -> str:
        """Where the results are, for display: the folder as the user named it, or its address."""
        return str(self.folder) if self.mirror is None else self.mirror.address

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of k_1, k_2, ..."""
        return tuple(str(task) for task in self.manifest["tasks"])

    @property
    def objectives(self) -> list[dict[str, str]]:
        """Name, column, sense (min or max) and unit of each objective."""
        return list(self.manifest["objectives"])

    @property
    def sparsity_objective(self) -> dict[str, str] | None:
        """The objective in column `objective.sparsity`; None if the sweep has none (analytic problems)."""
        return next((o for o in self.objectives if o["column"] == SPARSITY_OBJECTIVE), None)

    @property
    def task_objectives(self) -> list[dict[str, str]]:
        """All objectives except sparsity, in the manifest's order."""
        return [o for o in self.objectives if o["column"] != SPARSITY_OBJECTIVE]

    @property
    def metrics(self) -> dict[str, str]:
        """Name of each task's metric; `accuracy` for classification, and if the manifest does not say."""
        named = self.manifest.get("metrics")
        return {task: str((named.get(task) if isinstance(named, dict) else None) or ACCURACY) for task in self.tasks}

    @cached_property
    def selection(self) -> SelectionRule:
        """How the best of several trials is chosen on validation data."""
        return selection_of(self.manifest)

    @cached_property
    def true_front(self) -> NDArray[np.float64] | None:
        """Points of the exact front, shape (n_points, n_objectives), in the order and sense of `objectives`; None if unknown.

        With two objectives the points are sorted by the first one and form a curve.
        """
        return true_front_of(self.manifest)[0]

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The columns on which fronts are compared, one for each of `objectives`, whether or not the manifest states a box."""
        return box_axes(self.manifest)

    @property
    def stated_box(self) -> StatedBox | None:
        """The box of the hypervolumes that the manifest states; None if it states none (`no_box` says why)."""
        return stated_box(self.manifest)[0]

    @property
    def no_box(self) -> str:
        """Why there is no box, as a clause for the reader; empty if there is one."""
        return stated_box(self.manifest)[1]

    @cached_property
    def planned_ids(self) -> tuple[str, ...]:
        """Ids of the trials in the latest plan, each once; without a plan, the ids of the rows."""
        if self.plan is None:
            return tuple(self.frame["trial_id"].to_list())
        return tuple(dict.fromkeys(str(trial["trial_id"]) for trial in self.plan.get("trials", [])))

    @property
    def planned(self) -> int:
        """Number of trials in the latest plan."""
        return len(self.planned_ids)

    def values(self, columns: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return objectives as numbers that are to be minimised.

        Args:
            columns: columns of `frame`, `ROWS_KEPT` or `PARAMETERS_KEPT`; default: the objectives of the manifest. A column whose sense in
                the manifest is `max` is negated.

        Returns:
            Shape (n_points, n_objectives), one row for each row of `frame`; NaN where there is no value.

        Raises:
            KeyError: a column is not in `frame`.
        """
        names = [o["column"] for o in self.objectives] if columns is None else list(columns)
        shares = {ROWS_KEPT: self._rows_kept, PARAMETERS_KEPT: self._parameters_kept}
        values = np.empty((len(self.frame), len(names)))
        for i, name in enumerate(names):
            values[:, i] = shares[name]() if name in shares else self._numbers(name)
        return np.asarray(values * self.signs(names))

    def _numbers(self, column: str) -> NDArray[np.float64]:
        return np.asarray(self.frame[column].to_numpy(dtype=np.float64, na_value=np.nan))

    def _rows_kept(self) -> NDArray[np.float64]:
        return np.asarray(1 - self._numbers(SPARSITY_RATE))

    def _parameters_kept(self) -> NDArray[np.float64]:
        all_of_them = self._numbers("n_params")
        return np.asarray(1 - self._numbers("removable_params") / np.where(all_of_them > 0, all_of_them, np.nan))

    def signs(self, columns: Sequence[str]) -> NDArray[np.float64]:
        """Return -1 for each column that is an objective to maximise, otherwise 1; shape (n_columns,)."""
        maximised = {o["column"] for o in self.objectives if o.get("sense", "min") == "max"}
        return np.array([-1.0 if name in maximised else 1.0 for name in columns])

    def signed(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points from the sense of `objectives` to numbers to minimise, as in `values`; shape (..., n_objectives)."""
        return np.asarray(points * self.signs([o["column"] for o in self.objectives]))

    @cached_property
    def is_ok(self) -> NDArray[np.bool_]:
        """Mask of the trials in state `ok` whose objectives are all finite, shape (n_trials,), bool."""
        return np.isfinite(self.values()).all(axis=1) & (self.frame["state"] == "ok").to_numpy(dtype=bool)

    @cached_property
    def ok(self) -> "ResultTable":
        """The table restricted to the trials that `is_ok` marks."""
        return replace(self, frame=self.frame[self.is_ok].reset_index(drop=True))

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of trials by outcome: planned, ok, diverged, error (any other state), non_finite (among ok), missing; and the number
        of unreadable files.
        """
        state = self.frame["state"]
        ok, diverged = int((state == "ok").sum()), int((state == "diverged").sum())
        return {
            "planned": self.planned,
            "ok": ok,
            "diverged": diverged,
            "error": len(state) - ok - diverged,
            "non_finite": ok - len(self.ok.frame),
            "missing": len(set(self.planned_ids).difference(self.frame["trial_id"].to_list())),
            "unreadable": len(self.unreadable),
        }

    def read_epochs(self, trials: str | Collection[str] | None = None) -> pd.DataFrame:
        """Read the curves from disk: one row for each epoch, ordered by trial and epoch.

        Args:
            trials: the id of one trial or the ids of several; None reads all of them.

        Returns:
            A frame with the columns of `EPOCH_COLUMNS`, empty if nothing was published; `attrs["unreadable"]` names the files left out.
        """
        wanted = None if trials is None else frozenset([trials] if isinstance(trials, str) else trials)
        if self.mirror is not None:
            self.mirror.copy_curves(wanted)
        loose = [path for path in parquet_files(self.folder / "epochs") if wanted is None or trial_of(path.name) in wanted]
        required = (*_ATTEMPT_COLUMNS, "epoch")
        reading = read_files([*loose, self.folder / "epochs.parquet"], self.folder, required, wanted)
        frame = to_frame(reading.table)
        if not frame.empty:
            frame = latest_attempts(frame).drop_duplicates(["trial_id", "epoch"])
            frame = frame.sort_values(["trial_id", "epoch"], kind="stable").reset_index(drop=True)
        frame.attrs["unreadable"] = reading.unreadable
        return frame


def read_results(folder: str | Path) -> ResultTable:
    """Read a results folder, even while a sweep is writing to it.

    Args:
        folder: a sweep's output folder, or its address in an object store as text (s3://bucket/prefix).

    Returns:
        A table in which each trial appears once: loose rows are listed before `trials.parquet`, and the highest (attempt, retry) wins. A
            file that cannot be read is named in `unreadable` and does not affect the others.

    Raises:
        ResultsError: there is no such folder or no manifest; the manifest is truncated or has an unknown schema version; an object store
            cannot be read; or an objective's column holds no numbers.
    """
    mirror = Mirror(folder) if isinstance(folder, str) and is_address(folder) else None
    folder = Path(folder) if mirror is None else mirror.folder
    manifest = read_manifest(folder, str(folder) if mirror is None else mirror.address)
    plan, bad_plans = read_latest_plan(folder)
    bad_front = true_front_of(manifest)[1]
    bad_json = [*bad_plans, *([f"manifest.json: {bad_front}"] if bad_front else [])]
    # trials.parquet is opened after the loose rows; otherwise a row that is compacted meanwhile would be lost.
    reading = read_files([*parquet_files(folder / "rows"), folder / "trials.parquet"], folder, _ATTEMPT_COLUMNS)
    rows = only_usable(reading.table, len(manifest["tasks"]) + 1)
    frame = _with_contract_columns(to_frame(rows), manifest)
    _check_objectives(frame, manifest, str(folder) if mirror is None else mirror.address)
    frame = latest_attempts(frame).drop_duplicates("trial_id", keep="last")
    table = ResultTable(folder, manifest, frame, plan, (*bad_json, *reading.unreadable), mirror)
    return replace(table, frame=_in_plan_order(frame, table.planned_ids))


def _with_contract_columns(frame: pd.DataFrame, manifest: dict[str, Any]) -> pd.DataFrame:
    """Add every column that figures need, so that a store without rows can be handled like any other."""
    tasks = [str(task) for task in manifest["tasks"]]
    real = [*share_columns(len(tasks)), *(o["column"] for o in manifest["objectives"]), *_REAL_COLUMNS]
    for split in SPLITS:
        real += [column(split, task) for column in (loss_column, metric_column) for task in tasks]
        real += [accuracy_column(split, task) for task in (*tasks, MEAN)]
    real += ["attempt", "retry", "seed"]
    # Other programs write a column of unknown numbers as untyped nulls.
    frame = frame.drop(columns=[name for name in set(real) if name in frame and frame[name].dtype == object and frame[name].isna().all()])
    missing = {name: pd.Series(np.nan, index=frame.index, dtype="float64") for name in real if name not in frame}
    others = ("trial_id", *_TEXT_COLUMNS, *_LIST_COLUMNS, *_FLAG_COLUMNS)
    missing |= {name: pd.Series(None, index=frame.index, dtype="object") for name in others if name not in frame}
    return pd.concat([frame, pd.DataFrame(missing, index=frame.index)], axis=1) if missing else frame


def _check_objectives(frame: pd.DataFrame, manifest: dict[str, Any], place: str) -> None:
    for objective in manifest["objectives"]:
        if not pd.api.types.is_numeric_dtype(frame[objective["column"]]):
            raise ResultsError(
                f"{place}/manifest.json: `objectives`: column {objective['column']} of the rows holds no numbers\n"
                "  hint: name a column of numbers; docs/store.md lists them"
            )


def _in_plan_order(frame: pd.DataFrame, planned_ids: Sequence[str]) -> pd.DataFrame:
    """Sort planned trials in the order of the plan, followed by trials of earlier plans sorted by id."""
    ids = frame["trial_id"].to_numpy(dtype=object)
    place = pd.Index(list(planned_ids), dtype="object").get_indexer(pd.Index(ids, dtype="object"))
    order = np.lexsort((ids, np.where(place < 0, len(planned_ids), place)))
    return frame.iloc[order].reset_index(drop=True)


VALUE = "value"
"""Metric of a task whose loss is a function value rather than an error on data (analytic problems)."""


def axis_columns(table: ResultTable) -> list[str]:
    """List the columns to draw: task objectives first, sparsity last."""
    sparsity = table.sparsity_objective
    return [*(o["column"] for o in table.task_objectives), *([sparsity["column"]] if sparsity else [])]


def height_column(table: ResultTable) -> str:
    """Choose the vertical axis of the 3-D front: sparsity, or the third objective of a sweep without it."""
    columns = axis_columns(table)
    return columns[2] if table.sparsity_objective is None else columns[-1]


def pair_columns(table: ResultTable) -> tuple[str, str]:
    """Choose the axes of a sweep with two objectives: sparsity and the loss, or the first and the second objective.

    Raises:
        ValueError: fewer than two objectives.
    """
    columns = axis_columns(table)
    first, second = two_of(columns)
    return (first, second) if table.sparsity_objective is None else (columns[-1], first)


def two_of(columns: Sequence[str]) -> tuple[str, str]:
    """Return the first two columns.

    Raises:
        ValueError: there are fewer than two columns.
    """
    if len(columns) < 2:
        raise ValueError(f"a 2-D front expects two objectives, found {len(columns)}: {', '.join(columns)}")
    return columns[0], columns[1]
