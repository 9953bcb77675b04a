"""The non-dominated trials as text: a table for people, CSV or JSON for programs."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.labels import label_points
from analysis.table import ResultTable, read_results

_FORMATS = {"sparsity_rate": "{:.1%}", "compression_rate": "{:.2f}", "parameter_sharing": "{:.2f}"}


def front_frame(table: ResultTable, eps: float = 0.0) -> pd.DataFrame:
    """The `ok` trials that no other one of their group dominates, sparsest first; groups as in `label_points`.

    Args:
        table: results.
        eps: dominance tolerance >= 0, in objective units; larger keeps more.

    Returns:
        One row a trial: trial_id, group, study, seed, k, the objectives, test accuracies, SR, CR and PS.
    """
    ok = table.ok
    labels = label_points(table, eps)
    frame = ok.frame.assign(group=labels["group"].to_numpy())[labels["kept"].to_numpy()]
    accuracies = [name for name in frame.columns if name.startswith(("accuracy.test.", "metric.test.")) and frame[name].notna().any()]
    columns = ["trial_id", "group", "study", "seed", "k", *(o["column"] for o in table.objectives), *accuracies, *_FORMATS]
    return frame[columns].sort_values(["sparsity_rate", "trial_id"], ascending=[False, True]).reset_index(drop=True)


def front_text(folder: Path, eps: float, form: str) -> str:
    """`front_frame` of a results folder as `table`, `csv` or `json`.

    Raises:
        ResultsError: there are no readable results.
    """
    frame = front_frame(read_results(folder), eps)
    if form == "csv":
        return frame.assign(k=frame["k"].map(lambda k: json.dumps(list(k)))).to_csv(index=False).rstrip("\n")
    if form == "json":
        return json.dumps([{name: _plain(value) for name, value in row.items()} for row in frame.to_dict(orient="records")], indent=1)
    if frame.empty:
        return "no complete trial yet"
    shown = frame.rename(columns={name: name.removeprefix("objective.") for name in frame.columns})
    shown["k"] = [f"({', '.join(f'{value:.4g}' for value in k)})" for k in frame["k"]]
    for name in shown.columns:
        if name in _FORMATS:
            shown[name] = [_FORMATS[name].format(value) for value in frame[name]]
        elif name.startswith("accuracy."):
            shown[name] = [f"{value:.2%}" for value in frame[name]]
        elif pd.api.types.is_float_dtype(shown[name]):
            shown[name] = [f"{value:.4g}" for value in shown[name]]
    return str(shown.to_string(index=False))


def _plain(value: Any) -> Any:
    return [float(item) for item in value] if hasattr(value, "__len__") and not isinstance(value, str) else value
