"""The results of a sweep in a few facts and one sentence, all computed from the rows."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.formatting import preference_text
from analysis.measures.convergence import EXACT, exactness, gap_text
from analysis.measures.labels import DENSE, SPARSE, is_sparse, label_points
from analysis.measures.selection import CLOSE_ACCURACY, CLOSE_LOSS, best_row, is_close, mean_loss, measured_metrics
from analysis.measures.study_indicators import box_notes, box_of, compared_values, exact_front_distance
from analysis.pareto.dominance import Mode
from analysis.results.columns import ACCURACY, SPARSITY_RATE, accuracy_column, metric_column
from analysis.results.table import ResultTable

_MAX_METRICS = 3


def summary(table: ResultTable, eps: float = 0.0, mode: Mode = "range", labels: pd.DataFrame | None = None) -> dict[str, Any]:
    """Summarise a sweep in plain values that JSON can hold.

    Args:
        table: what `read_results` gave.
        eps: tolerance of the filter, as in `label_points`.
        mode: what eps is relative to.
        labels: what `label_points` returned for these arguments, if already known.

    Returns:
        `name`, `folder`, `counts` (as `ResultTable.counts`), `eps`, `mode`, `n_front` (points kept), `n_front_sparse`,
        `n_front_dense`, `best_dense` and `best_sparse` (None, or trial_id, k, sparsity_rate, accuracy_validation and
        accuracy_test, fractions, the mean losses loss_validation and loss_test, accuracies_test, a fraction for each
        classification task, and metrics_test, a value for each other task), `hypervolume` (the share of
        the box that all finished trials dominate) and `hypervolume_box` (its axes, ideal, nadir and origin), both None when the manifest
        states no box, `n_beyond_nadir` (finished trials that are worse than the nadir in some objective, so they add nothing),
        `outside_box` (a clause about trials outside of the box, or why there is none), `igd_plus` (mean distance of the exact front from
        the finished trials, objectives divided by their range in the box; None when the front is not known), the facts of
        `exactness` (`n_optimum`, `n_exact`, `largest_gap`, ...), and `sentence`, which says the same in words.
        Models are chosen on validation data and described on test data. `best_sparse` is the sparsest model close to the
        best dense one (`CLOSE_ACCURACY`, or `CLOSE_LOSS` without accuracies); without a dense model, the best one.

    Raises:
        ResultsError: trials of one study have different scalings.
    """
    labels = label_points(table, eps, mode) if labels is None else labels
    kept, group = labels["kept"], labels["group"]
    dense, sparse, close = _best_models(table)
    box, stated, values = box_of(table), table.stated_box, compared_values(table.ok)
    facts: dict[str, Any] = {
        "name": table.name,
        "folder": table.place,
        "counts": table.counts,
        "eps": eps,
        "mode": mode,
        "n_front": int(kept.sum()),
        "n_front_sparse": int((kept & (group == SPARSE)).sum()),
        "n_front_dense": int((kept & (group == DENSE)).sum()),
        "best_dense": _describe(table, dense),
        "best_sparse": _describe(table, sparse),
        "hypervolume": None if box is None else box.hypervolume(values),
        "hypervolume_box": None if stated is None else stated.record(),
        "n_beyond_nadir": None if box is None else box.n_beyond(values),
        "outside_box": table.no_box if box is None else box_notes(box, values),
        "igd_plus": exact_front_distance(table),
        **exactness(table),
    }
    return facts | {"sentence": _sentence(table, facts, close)}


def _best_models(table: ResultTable) -> tuple[pd.Series | None, pd.Series | None, bool]:
    """Return the best dense row, the best sparse row, and whether the sparse one is close to the dense one."""
    frame = table.ok.frame
    if table.sparsity_objective is None:
        return None, None, False
    sparse = is_sparse(table.ok)
    dense_best, sparse_best = best_row(table, frame[~sparse]), best_row(table, frame[sparse])
    if dense_best is None or sparse_best is None:
        return dense_best, sparse_best, False
    rows = frame[sparse]
    near = rows[is_close(table, rows, dense_best)]
    if near["sparsity_rate"].notna().any():
        sparsest = near[near["sparsity_rate"] == near["sparsity_rate"].max()]
        return dense_best, best_row(table, sparsest), True
    return dense_best, sparse_best, False


def _describe(table: ResultTable, row: pd.Series | None) -> dict[str, Any] | None:
    if row is None:
        return None
    losses = {split: _number(mean_loss(table, row.to_frame().T, split)[0]) for split in ("validation", "test")}
    return {
        "trial_id": str(row["trial_id"]),
        "k": [float(share) for share in row["k"]] if isinstance(row["k"], (list, np.ndarray)) else None,
        "sparsity_rate": _number(row[SPARSITY_RATE]),
        "accuracy_validation": _number(row[accuracy_column("validation")]),
        "accuracy_test": _number(row[accuracy_column("test")]),
        "loss_validation": losses["validation"],
        "loss_test": losses["test"],
        "accuracies_test": {
            task: _number(row[accuracy_column("test", task)]) for task, metric in table.metrics.items() if metric == ACCURACY
        },
        "metrics_test": {task: _number(row[metric_column("test", task)]) for task in measured_metrics(table)},
    }


def _number(value: Any) -> float | None:
    return float(value) if pd.notna(value) and np.isfinite(value) else None


def _sentence(table: ResultTable, facts: dict[str, Any], close: bool) -> str:
    counts = facts["counts"]
    if not counts["planned"] and table.frame.empty:
        return "Nothing was planned or trained yet."
    if table.ok.frame.empty:
        return f"None of the {counts['planned']} planned trials has a usable result yet."
    parts = [_exact_part(table, facts)] if facts["n_optimum"] else _model_parts(table, facts, close)
    parts.append(f"{facts['n_front']} of {len(table.ok.frame)} finished trials are on the front")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _exact_part(table: ResultTable, facts: dict[str, Any]) -> str:
    """Say how many trials reach their exact optimum."""
    k = preference_text(facts["largest_gap_k"], table.sparsity_objective is not None)
    return (
        f"{facts['n_exact']} of {facts['n_optimum']} finished trials reach the exact optimum of their preference "
        f"within a relative {EXACT:g}; the largest gap is {gap_text(facts['largest_gap'])} (trial {facts['largest_gap_trial']}, k = {k})"
    )


def _model_parts(table: ResultTable, facts: dict[str, Any], close: bool) -> list[str]:
    """Describe the results of the best dense and the best sparse model."""
    has_accuracy = table.selection.by == "accuracy"
    near = f"{CLOSE_ACCURACY * 100:.0f} points of it" if has_accuracy else f"{CLOSE_LOSS * 100:.0f} % of its loss"
    dense, sparse = facts["best_dense"], facts["best_sparse"]
    parts = []
    if dense and (reached := _reached(table, dense)):
        parts.append(f"The best dense model reaches {reached}")
    if sparse and sparse["sparsity_rate"] is not None and (reached := _reached(table, sparse, is_second=bool(parts))):
        what = f", with {_percent(sparse['sparsity_rate'])} of its rows zero, reaches {reached}"
        if not parts:
            parts.append(f"The {'most accurate sparse model' if has_accuracy else 'sparse model with the lowest loss'}{what}")
        elif close:
            parts.append(f"the sparsest model within {near} on validation data{what}")
        else:
            parts.append(f"no sparse model comes within {near} on validation data; the best one{what}")
    return parts


def _reached(table: ResultTable, model: dict[str, Any], is_second: bool = False) -> str | None:
    """Say what a model reaches on test data: the mean accuracy, up to three tasks by name, or the mean loss; None if nothing is known."""
    if table.selection.by == "accuracy":
        accuracy = model["accuracy_test"]
        return None if accuracy is None else f"{_percent(accuracy)}{'' if is_second else ' mean test accuracy'}"
    tasks = [text for task in table.tasks if (text := _task_reached(table, task, model)) is not None]
    if tasks and len(tasks) <= _MAX_METRICS:
        return " and ".join(tasks)
    return None if model["loss_test"] is None else f"a mean test loss of {model['loss_test']:.4g}"


def _task_reached(table: ResultTable, task: str, model: dict[str, Any]) -> str | None:
    """Say what a model reaches on a task's test data; None if it is not known."""
    which = f" for {task}" if len(table.tasks) > 1 else ""
    metric, accuracies = model["metrics_test"].get(task), model["accuracies_test"]
    if metric is not None:
        return f"{metric:.4g} test {table.metrics[task]}{which}"
    return None if accuracies.get(task) is None else f"{_percent(accuracies[task])} test accuracy{which}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
