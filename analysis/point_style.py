"""How a point looks and what it says: colour and symbol of its sparsity cluster, its hover text, names of axes."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.labels import DENSE
from analysis.table import SPARSITY_COLUMN, ResultTable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours that colour-blind readers tell apart, without yellow (too faint on white)."""
SYMBOLS = ("circle", "diamond", "square", "cross", "circle-open", "diamond-open", "square-open")
"""Seven, so that with six colours 42 clusters differ. Not `x`: its glyph is missing in 3-D."""
DENSE_COLOUR = "#000000"
UNKNOWN_COLOUR = "#7f7f7f"
SPARSITY_RATE = "sparsity_rate"


def marker_of(group: str, cluster: int) -> dict[str, Any]:
    """Plotly marker of a cluster (see `label_points`), the same in 2-D and 3-D."""
    if group == DENSE:
        return {"color": DENSE_COLOUR, "symbol": "circle"}
    if cluster < 0:
        return {"color": UNKNOWN_COLOUR, "symbol": "circle"}
    return {"color": COLOURS[cluster % len(COLOURS)], "symbol": SYMBOLS[cluster % len(SYMBOLS)]}


def cluster_name(table: ResultTable, group: str, cluster: int, rates: "pd.Series[float]") -> str:
    """Legend entry of a cluster with these sparsity rates (fractions)."""
    if group == DENSE:
        return "k0 = 0"
    if cluster < 0:
        return "trials" if table.sparsity_objective is None else "SR unknown"
    low, high = f"{100 * rates.min():.1f}", f"{100 * rates.max():.1f}"
    return f"SR {low} %" if low == high else f"SR {low} to {high} %"


def axis_title(table: ResultTable, column: str) -> str:
    """What an axis says, safe as plotly's pseudo-HTML."""
    if column == SPARSITY_RATE:
        return "sparsity rate"
    objective = next((o for o in table.objectives if o["column"] == column), None)
    if objective is None:
        return html.escape(column)
    unit = html.escape(str(objective.get("unit") or ""))
    name = html.escape(str(objective.get("name") or column))
    if column == SPARSITY_COLUMN:
        name = f"{name} objective"
    elif column.startswith("loss."):
        name = f"{name}: {html.escape(column.split('.')[1])} loss"
    return f"{name} ({unit})" if unit else name


def preference_text(k: Any) -> str:
    """A preference vector for people: `(0.001, 0.2, 0.799)`; `none` for methods without one."""
    if k is None or isinstance(k, float):
        return "none"
    return f"({', '.join(f'{share:.4g}' for share in k)})"


def hover_texts(table: ResultTable, frame: pd.DataFrame) -> list[str]:
    """What a point says under the mouse: trial, k, sparsity, accuracies on test data. Names are escaped."""
    tasks = [*table.tasks, "mean"]
    accuracies = [frame[f"accuracy.test.{task}"].to_numpy(dtype=np.float64) for task in tasks]
    names = [html.escape(task) for task in tasks]
    texts = []
    for i, row in enumerate(zip(frame["trial_id"], frame["k"], *(frame[name] for name in _RATES), strict=True)):
        trial_id, k, *rates = row
        lines = [f"<b>{html.escape(str(trial_id))}</b>", f"k = {preference_text(k)}"]
        if not np.isnan(rates[0]):
            lines.append(_rates_text(rates))
        lines += [
            f"{name}: {100 * values[i]:.2f} % test accuracy" for name, values in zip(names, accuracies, strict=True) if values[i] >= 0
        ]
        texts.append("<br>".join(lines))
    return texts


_RATES = (SPARSITY_RATE, "compression_rate", "parameter_sharing")


def _rates_text(rates: Sequence[float]) -> str:
    sparsity, compression, sharing = rates
    text = f"SR {100 * sparsity:.1f} %"
    return text if np.isnan(compression) else f"{text}, CR {compression:.2f}, PS {sharing:.2f}"
