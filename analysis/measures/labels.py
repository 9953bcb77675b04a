"""Labels of the finished trials: group, distance from the front, sparsity cluster."""

import numpy as np
import pandas as pd

from analysis.measures.selection import best_row, measured_metrics
from analysis.measures.studies import check_one_scaling
from analysis.pareto.dominance import Mode, slack, sparsity_clusters
from analysis.results.columns import accuracy_column, metric_column
from analysis.results.table import ResultTable

SPARSE, DENSE = "sparse", "dense"
MODE_TEXT: dict[Mode, str] = {
    "absolute": "in units of each objective",
    "ideal": "of the ideal point",
    "range": "of each objective's range on the front",
}
"""What eps is relative to, in words."""


def label_points(table: ResultTable, eps: float = 0.0, mode: Mode = "range", sparsity_width: float = 0.02) -> pd.DataFrame:
    """Filter and cluster the finished trials as in the paper's Figure 2.

    Trials with k0 > 0 are compared in all objectives; trials without a sparsity preference (k0 = 0, or no k at all) form a
    separate group and are compared in the task objectives only. Each study is filtered separately, because the GrOWL norms of two
    architectures are not comparable. Without a sparsity objective all trials of a study form one group.

    Args:
        table: any table; trials that are not `ok` or have an objective that is not finite are ignored.
        eps: >= 0, the tolerance of the filter, as in `eps_nondominated`.
        mode: what eps is relative to, within each group: `range`, a share of each objective's range on the group's exact front, because
            sparsity and losses have different units; `ideal`, a share of the ideal point; or `absolute`, the objectives' own units.
        sparsity_width: gap between sparsity rates, a fraction, at which a new cluster begins.

    Returns:
        One row for each row of `table.ok.frame`, in the same order: `group` ("sparse" or "dense"), `slack` (smallest eps at which
        the point is kept), `kept` (slack <= eps), `cluster` (0 = least sparse; -1 for dense points and unknown rates).

    Raises:
        ValueError: eps or the width is not valid; the message names the value.
        ResultsError: trials of one study have different scalings (`check_one_scaling`). Everything that compares trials calls this
            function; reading a table does not, so that such a folder can still be inspected.
    """
    if not (np.isfinite(eps) and eps >= 0):
        raise ValueError(f"label_points expects eps >= 0, found eps = {eps}")
    check_one_scaling(table)
    ok = table.ok
    sparse = is_sparse(ok)
    slacks = np.full(len(ok.frame), np.inf)
    study = ok.frame["study"].astype(object).where(ok.frame["study"].notna(), "").to_numpy()
    for name in dict.fromkeys(study):
        for objectives, members in ((ok.objectives, sparse), (ok.task_objectives, ~sparse)):
            rows = members & (study == name)
            if rows.any():
                columns = [o["column"] for o in objectives or ok.objectives]
                slacks[rows] = slack(ok.values(columns)[rows], mode)
    cluster = np.full(len(ok.frame), -1, dtype=np.int64)
    rates = ok.frame["sparsity_rate"].to_numpy(dtype=np.float64, na_value=np.nan)
    cluster[sparse] = sparsity_clusters(rates[sparse], sparsity_width)
    group = np.where(sparse, SPARSE, DENSE)
    return pd.DataFrame({"group": group, "slack": slacks, "kept": slacks <= eps, "cluster": cluster})


def is_sparse(table: ResultTable) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the trials with k0 > 0, or all trials if the sweep has no sparsity objective; shape (n_points,)."""
    if table.sparsity_objective is None:
        return np.ones(len(table.frame), dtype=bool)
    return np.asarray(table.frame["k_0"].to_numpy(dtype=np.float64, na_value=np.nan) > 0)


def cluster_table(table: ResultTable, labels: pd.DataFrame) -> pd.DataFrame:
    """Summarise each sparsity cluster of the points that the filter kept (the table beside the paper's Figure 2).

    Args:
        table: the table that was labelled.
        labels: what `label_points` returned for it.

    Returns:
        `cluster` (-1: dense), `sparsity_min`, `sparsity_max` (fractions), `n_points`, and of the point that is best on
        *validation* data (`ResultTable.selection`): `trial_id`, `k`, `accuracy` (its
        mean accuracy on *test* data, a fraction, NaN without accuracies), and a column `metric.test.<task>` for each task
        with another metric. Dense points come first, then the clusters by sparsity; clusters without a kept point are left out.
    """
    cluster_of = labels["cluster"].to_numpy()
    kept = labels["kept"].to_numpy(dtype=bool)
    metrics = [metric_column("test", task) for task in measured_metrics(table)]
    lines = []
    for cluster in np.unique(cluster_of[kept]):
        rows = table.ok.frame[kept & (cluster_of == cluster)]
        best = best_row(table, rows)
        known = best if best is not None else {accuracy_column("test"): np.nan, **dict.fromkeys(metrics, np.nan)}
        lines.append(
            {
                "cluster": int(cluster),
                "sparsity_min": rows["sparsity_rate"].min(),
                "sparsity_max": rows["sparsity_rate"].max(),
                "n_points": len(rows),
                "trial_id": best["trial_id"] if best is not None else None,
                "k": best["k"] if best is not None else None,
                "accuracy": known[accuracy_column("test")],
                **{name: known[name] for name in metrics},
            }
        )
    return pd.DataFrame(lines, columns=["cluster", "sparsity_min", "sparsity_max", "n_points", "trial_id", "k", "accuracy", *metrics])
