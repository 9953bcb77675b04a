"""The style and texts of points: colours and symbols of sparsity clusters, hover texts, axis titles."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.formatting import as_text, preference_text
from analysis.measures.convergence import gap_text, gaps, unconverged_texts
from analysis.measures.labels import DENSE
from analysis.results.columns import (
    ACCURACY,
    MEAN,
    PARAMETERS_KEPT,
    ROWS_KEPT,
    SPARSITY_OBJECTIVE,
    SPARSITY_RATE,
    accuracy_column,
    is_of,
    metric_column,
    task_of,
)
from analysis.results.manifest import axis_name
from analysis.results.table import VALUE, ResultTable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""The palette of Okabe and Ito, which colour-blind readers can distinguish, without yellow (too faint on white)."""
SYMBOLS = ("circle", "diamond", "square", "cross", "circle-open", "diamond-open", "square-open")
"""Seven symbols, so that 42 clusters can be told apart with six colours. `x` is missing because 3-D plots lack its glyph."""
DENSE_COLOUR = "#000000"
UNKNOWN_COLOUR = "#7f7f7f"


_SHORT = 16


def marker_of(group: str, cluster: int, has_sparsity: bool = True) -> dict[str, Any]:
    """Return the plotly marker of a cluster (see `label_points`), the same in 2-D and 3-D; one colour in a sweep without sparsity.

    Args:
        group: `sparse` or `dense`, as in `label_points`.
        cluster: 0 for the least sparse cluster; -1 for dense points.
        has_sparsity: whether the sweep has a sparsity objective.
    """
    if group == DENSE:
        return {"color": DENSE_COLOUR, "symbol": "circle"}
    if not has_sparsity:
        return {"color": COLOURS[0], "symbol": SYMBOLS[0]}
    if cluster < 0:
        return {"color": UNKNOWN_COLOUR, "symbol": "circle"}
    return {"color": COLOURS[cluster % len(COLOURS)], "symbol": SYMBOLS[cluster % len(SYMBOLS)]}


def cluster_name(table: ResultTable, group: str, cluster: int, rates: "pd.Series[float]") -> str:
    """Return the legend entry of a cluster with these sparsity rates (fractions)."""
    if group == DENSE:
        return "k0 = 0 or no k" if table.ok.frame["k_0"].isna().any() else "k0 = 0"
    if cluster < 0:
        return "trials" if table.sparsity_objective is None else "SR unknown"
    low, high = f"{100 * rates.min():.1f}", f"{100 * rates.max():.1f}"
    return f"SR {low} %" if low == high else f"SR {low} to {high} %"


def axis_title(table: ResultTable, column: str) -> str:
    """Return the title of an axis, safe as plotly's pseudo-HTML."""
    if column == SPARSITY_RATE:
        return "sparsity rate"
    if column in (ROWS_KEPT, PARAMETERS_KEPT):
        return axis_name(column, {})
    objective = next((o for o in table.objectives if o["column"] == column), None)
    if objective is None:
        return as_text(column)
    unit = as_text(objective.get("unit") or "")
    name = as_text(objective.get("name") or column)
    if column == SPARSITY_OBJECTIVE:
        name = f"{name} objective"
    elif is_of("loss", column) and table.metrics.get(task_of(column)) != VALUE:
        name = f"{name}: {as_text(column.split('.')[1])} loss"
    return f"{name} ({unit})" if unit else name


def short_title(table: ResultTable, column: str) -> str:
    """Return a short axis title: the objective's name, cut to `_SHORT` letters, safe as plotly's pseudo-HTML."""
    name = next((str(o.get("name") or column) for o in table.objectives if o["column"] == column), column)
    return as_text(name if len(name) <= _SHORT else f"{name[: _SHORT - 1]}…")


def hover_texts(table: ResultTable, frame: pd.DataFrame) -> list[str]:
    """Return the hover text of each trial: id, k, sparsity, test results, whether it is unconverged, gap; names are escaped.

    Args:
        table: the table of the sweep.
        frame: some rows of its frame.

    Returns:
        One text for each row of `frame`.
    """
    results = _test_results(table, frame)
    own = replace(table, frame=frame)
    gap, unconverged = gaps(own), unconverged_texts(own)
    has_sparsity = table.sparsity_objective is not None
    texts = []
    for i, row in enumerate(zip(*(frame[name].to_list() for name in ("trial_id", "k", *_RATES)), strict=True)):
        trial_id, k, *rates = row
        lines = [f"<b>{as_text(trial_id)}</b>", f"k = {preference_text(k, has_sparsity)}"]
        if not np.isnan(rates[0]):
            lines.append(_rates_text(rates))
        lines += [template.format(values[i] * factor) for template, factor, values in results if np.isfinite(values[i])]
        if unconverged[i]:
            lines.append(f"unconverged: {unconverged[i]}")
        if np.isfinite(gap[i]):
            lines.append(f"gap to the exact optimum: {gap_text(gap[i])}")
        texts.append("<br>".join(lines))
    return texts


_RATES = (SPARSITY_RATE, "compression_rate", "parameter_sharing")


def _test_results(table: ResultTable, frame: pd.DataFrame) -> list[tuple[str, float, NDArray[np.float64]]]:
    """Return (format of a line, factor, values of shape (n_points,)) for each task's accuracy or metric and for the mean accuracy."""
    results = []
    for task, metric in [*table.metrics.items(), (MEAN, ACCURACY)]:
        is_accuracy = metric == ACCURACY
        column = accuracy_column("test", task) if is_accuracy else metric_column("test", task)
        number = "{:.2f} % test accuracy" if is_accuracy else f"{{:.4g}} test {_braced(metric)}"
        values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        results.append((f"{_braced(task)}: {number}", 100.0 if is_accuracy else 1.0, values))
    return results


def _braced(name: str) -> str:
    """Escape a name for use in a format string and in pseudo-HTML."""
    return as_text(name).replace("{", "{{").replace("}", "}}")


def _rates_text(rates: Sequence[float]) -> str:
    sparsity, compression, sharing = rates
    text = f"SR {100 * sparsity:.1f} %"
    return text if np.isnan(compression) else f"{text}, CR {compression:.2f}, PS {sharing:.2f}"
