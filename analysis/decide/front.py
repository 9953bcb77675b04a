"""The non-dominated trials (`sweep front`): a table for the reader, CSV or JSON for programs."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.formatting import latex_table, markdown_table, preference_text
from analysis.measures.convergence import gaps
from analysis.measures.labels import label_points
from analysis.pareto.dominance import Mode
from analysis.results.columns import is_of
from analysis.results.json_text import plain
from analysis.results.table import ResultTable, read_results

_FORMATS = {"sparsity_rate": "{:.1%}", "compression_rate": "{:.2f}", "parameter_sharing": "{:.2f}"}


def front_frame(table: ResultTable, eps: float = 0.0, mode: Mode = "range") -> pd.DataFrame:
    """Select the finished trials that no other trial of their group (see `label_points`) dominates, sparsest first.

    Args:
        table: any table.
        eps: dominance tolerance >= 0; a larger eps keeps more trials.
        mode: what eps is relative to, as in `label_points`.

    Returns:
        One row for each trial: trial_id, group, study, seed, k, the objectives, results on test data, the `gap` to the exact
        optimum where it is known, `notes` if there are any, SR, CR and PS.

    Raises:
        ResultsError: trials of one study have different scalings.
    """
    ok = table.ok
    labels = label_points(table, eps, mode)
    frame = ok.frame.assign(group=labels["group"].to_numpy(), gap=gaps(ok))[labels["kept"].to_numpy()]
    results = [
        name for name in frame.columns if (is_of("accuracy", name, "test") or is_of("metric", name, "test")) and frame[name].notna().any()
    ]
    extra = [name for name in ("gap", "notes") if frame[name].notna().any()]
    columns = ["trial_id", "group", "study", "seed", "k", *(o["column"] for o in table.objectives), *results, *extra, *_FORMATS]
    return frame[columns].sort_values(["sparsity_rate", "trial_id"], ascending=[False, True]).reset_index(drop=True)


def front_text(folder: str | Path, eps: float, form: str, mode: Mode = "range") -> str:
    """Write the `front_frame` of a results folder as `table`, `csv`, `json`, `markdown` or `latex`.

    All forms except CSV and JSON are meant to be read: they omit k0 where nothing can be pruned, columns without a value, and notes.

    Args:
        folder: a sweep's results folder, or its address in an object store.
        eps: dominance tolerance >= 0.
        form: `table`, `csv`, `json`, `markdown` or `latex`.
        mode: what eps is relative to, as in `label_points`.

    Raises:
        ResultsError: there are no readable results, or trials of one study have different scalings.
    """
    table = read_results(folder)
    frame = front_frame(table, eps, mode)
    if form == "csv":
        texts = {name: frame[name].map(_json_text) for name in ("k", "notes") if name in frame}
        return frame.assign(**texts).to_csv(index=False).rstrip("\n")
    if form == "json":
        return json.dumps([{name: plain(value) for name, value in row.items()} for row in frame.to_dict(orient="records")], indent=1)
    if frame.empty:
        return "no trial that can be read" if table.unreadable else "no complete trial yet"
    shown = _for_people(table, frame)
    if form == "table":
        return str(shown.to_string(index=False))
    rows = [[str(cell) for cell in row] for row in shown.itertuples(index=False)]
    return {"markdown": markdown_table, "latex": latex_table}[form](list(shown.columns), rows)


def _for_people(table: ResultTable, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that hold a value, as text."""
    known = frame.drop(columns=[name for name in frame if name == "notes" or (name != "k" and frame[name].isna().all())])
    shown = known.rename(columns={name: name.removeprefix("objective.") for name in known.columns})
    shown["k"] = [preference_text(k, table.sparsity_objective is not None) for k in frame["k"]]
    for name in shown.columns:
        if name in _FORMATS:
            shown[name] = [_number(_FORMATS[name], value) for value in shown[name]]
        elif is_of("accuracy", name):
            shown[name] = [_number("{:.2%}", value) for value in shown[name]]
        elif pd.api.types.is_float_dtype(shown[name]):
            shown[name] = [_number("{:.4g}", value) for value in shown[name]]
    return shown


def _number(form: str, value: float) -> str:
    return form.format(value) if math.isfinite(value) else "-"


def _json_text(cell: Any) -> str | None:
    found = plain(cell)
    return None if found is None else json.dumps(found)
