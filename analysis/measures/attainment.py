"""Which part of the objective space the seeds of a study attain: 25, 50 and 75 % surfaces, and differences between two groups of fronts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.measures.decision_front import of_study
from analysis.measures.studies import compared_studies
from analysis.pareto.attainment import PERCENTILES, attainment_surface
from analysis.results.table import ResultTable, pair_columns


def attainment_surfaces(
    table: ResultTable, columns: Sequence[str] | None = None, percentiles: Sequence[float] = PERCENTILES
) -> pd.DataFrame:
    """Compute the attainment surfaces of each study with at least two seeds.

    Args:
        table: any table.
        columns: two or three columns of objectives or of `ResultTable.axes`; default: the two that the figures show (`attainment_columns`).
        percentiles: percentiles of the seeds, in (0, 100].

    Returns:
        One row for each corner of a surface: `study`, `percentile`, and the columns in the manifest's sense; empty if no study has two
            seeds.

    Raises:
        ValueError: there are not two or three columns, or a percentile is out of range.
    """
    names = list(columns) if columns is not None else list(attainment_columns(table))
    values, seeds = table.ok.values(names), table.ok.frame["seed"].to_numpy(dtype=np.float64, na_value=np.nan)
    parts = [pd.DataFrame(columns=["study", "percentile", *names])]
    for study in compared_studies(table):
        rows = of_study(table.ok, study.name) & np.isfinite(seeds)
        if len(np.unique(seeds[rows])) < 2:
            continue
        corners = attainment_surface(values[rows], seeds[rows], percentiles)
        frame = pd.DataFrame(corners[:, :-1] * table.signs(names), columns=names)
        parts.append(frame.assign(study=study.name, percentile=corners[:, -1])[["study", "percentile", *names]])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def attainment_columns(table: ResultTable) -> tuple[str, str]:
    """Choose the two axes of a plane: the objectives of the first two tasks, or sparsity and the loss if there is only one task.

    Sparsity is the axis of the hypervolume (`ResultTable.axes`), so that studies of several architectures can share the plane.

    Raises:
        ValueError: fewer than two objectives.
    """
    tasks = [o["column"] for o in table.task_objectives]
    if len(tasks) > 1:
        return tasks[0], tasks[1]
    axis_of = dict(zip((o["column"] for o in table.objectives), table.axes, strict=True))
    first, second = pair_columns(table)
    return axis_of[first], axis_of[second]
