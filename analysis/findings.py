"""What a sweep found, in a few facts and one sentence; every one computed from the rows."""

from typing import Any

import numpy as np
import pandas as pd

from analysis.front import Mode
from analysis.indicators import hypervolume
from analysis.labels import DENSE, SPARSE, best_row, is_sparse, label_points
from analysis.table import ResultTable

CLOSE_ACCURACY = 0.02
"""A sparse model within this much (a fraction) of the best dense one's mean validation accuracy is called close."""


def summary(table: ResultTable, eps: float = 0.0, mode: Mode = "absolute") -> dict[str, Any]:
    """Facts about a sweep, plain values ready for JSON.

    Args:
        table: what `read_results` gave.
        eps: tolerance of the filter, as in `label_points`.
        mode: what eps is relative to.

    Returns:
        `name`, `folder`, `counts` (as `ResultTable.counts`), `eps`, `mode`, `n_front` (points kept), `n_front_sparse`,
        `n_front_dense`, `best_dense` and `best_sparse` (None, or trial_id, k, sparsity_rate, accuracy_validation and
        accuracy_test, fractions), `hypervolume` and `hypervolume_reference` (None when the manifest has no reference),
        and `sentence`, which says the same to people. Models are chosen on validation data and described on test data.
        `best_sparse` is the sparsest model within `CLOSE_ACCURACY` of the best dense one; without a dense model, the
        most accurate one.
    """
    labels = label_points(table, eps, mode)
    kept, group = labels["kept"], labels["group"]
    dense, sparse, close = _best_models(table)
    reference = table.manifest.get("hypervolume_reference")
    facts: dict[str, Any] = {
        "name": table.name,
        "folder": str(table.folder),
        "counts": table.counts,
        "eps": eps,
        "mode": mode,
        "n_front": int(kept.sum()),
        "n_front_sparse": int((kept & (group == SPARSE)).sum()),
        "n_front_dense": int((kept & (group == DENSE)).sum()),
        "best_dense": _describe(dense),
        "best_sparse": _describe(sparse),
        "hypervolume": None if reference is None else hypervolume(table.ok.values(), _signed(table, reference)),
        "hypervolume_reference": reference,
    }
    return facts | {"sentence": _sentence(table, facts, close)}


def _best_models(table: ResultTable) -> tuple[pd.Series | None, pd.Series | None, bool]:
    """Best dense row, best sparse row, and whether the sparse one is close to the dense one."""
    frame = table.ok.frame
    if table.sparsity_objective is None:
        return None, None, False
    sparse = is_sparse(table.ok)
    dense_best, sparse_best = best_row(frame[~sparse]), best_row(frame[sparse])
    if dense_best is None or sparse_best is None:
        return dense_best, sparse_best, False
    rows = frame[sparse]
    near = rows[rows["accuracy.validation.mean"] >= dense_best["accuracy.validation.mean"] - CLOSE_ACCURACY]
    if near["sparsity_rate"].notna().any():
        sparsest = near[near["sparsity_rate"] == near["sparsity_rate"].max()]
        return dense_best, best_row(sparsest), True
    return dense_best, sparse_best, False


def _describe(row: pd.Series | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "trial_id": str(row["trial_id"]),
        "k": [float(share) for share in row["k"]] if isinstance(row["k"], (list, np.ndarray)) else None,
        "sparsity_rate": _number(row["sparsity_rate"]),
        "accuracy_validation": _number(row["accuracy.validation.mean"]),
        "accuracy_test": _number(row["accuracy.test.mean"]),
    }


def _number(value: Any) -> float | None:
    return float(value) if pd.notna(value) and np.isfinite(value) else None


def _signed(table: ResultTable, reference: list[float]) -> list[float]:
    """The reference with maximised objectives negated, as `ResultTable.values` has them."""
    senses = [o.get("sense", "min") for o in table.objectives]
    return [-value if sense == "max" else value for value, sense in zip(reference, senses, strict=True)]


def _sentence(table: ResultTable, facts: dict[str, Any], close: bool) -> str:
    counts = facts["counts"]
    if not counts["planned"] and table.frame.empty:
        return "Nothing was planned or trained yet."
    if table.ok.frame.empty:
        return f"None of the {counts['planned']} planned trials has a usable result yet."
    dense, sparse = facts["best_dense"], facts["best_sparse"]
    parts = []
    if dense and dense["accuracy_test"] is not None:
        parts.append(f"The best dense model reaches {_percent(dense['accuracy_test'])} mean test accuracy")
    if sparse and sparse["accuracy_test"] is not None and sparse["sparsity_rate"] is not None:
        what = f", with {_percent(sparse['sparsity_rate'])} of its rows zero, reaches {_percent(sparse['accuracy_test'])}"
        if not parts:
            parts.append(f"The most accurate sparse model{what} mean test accuracy")
        elif close:
            parts.append(f"the sparsest model within {CLOSE_ACCURACY * 100:.0f} points of it on validation data{what}")
        else:
            parts.append(f"no sparse model comes within {CLOSE_ACCURACY * 100:.0f} points of it on validation data; the best one{what}")
    parts.append(f"{facts['n_front']} of {len(table.ok.frame)} finished trials are on the front")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
