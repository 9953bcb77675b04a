"""What people decide by: sparsity rate, and each task's accuracy or loss on validation data; the front in these terms."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.front import nondominated
from analysis.labels import label_points
from analysis.point_style import SPARSITY_RATE, VALUE
from analysis.studies import compared_studies
from analysis.table import ACCURACY, ResultTable


@dataclass(frozen=True)
class Quantity:
    """One number that a model is chosen by."""

    column: str
    """Of the rows."""
    name: str
    """For people."""
    is_maximised: bool
    unit: str
    """`points` for a fraction that is shown in percent, else as the manifest has it; may be empty."""

    @property
    def factor(self) -> float:
        """From the column's numbers to the unit."""
        return 100.0 if self.unit == "points" else 1.0


def quantities(table: ResultTable) -> tuple[Quantity, ...]:
    """What the models of a sweep are decided by, sparsity first.

    The sparsity rate stands for the sparsity objective: the norm of a network that nothing pruned says little. A task has its
    accuracy where it was measured, else its objective.
    """
    frame = table.ok.frame
    found = []
    if table.sparsity_objective is not None:
        found.append(Quantity(SPARSITY_RATE, "sparsity", is_maximised=True, unit="points"))
    for objective in table.task_objectives:
        name, column = str(objective["name"]), objective["column"]
        accuracy = f"accuracy.validation.{column.split('.', 2)[-1]}"
        if column.startswith("loss.validation.") and accuracy in frame and frame[accuracy].notna().any():
            found.append(Quantity(accuracy, name, is_maximised=True, unit="points"))
        else:
            is_value = table.metrics.get(column.split(".", 2)[-1]) == VALUE or not column.startswith("loss.")
            found.append(
                Quantity(column, name if is_value else f"{name} loss", objective.get("sense") == "max", str(objective.get("unit") or ""))
            )
    return tuple(found)


def measure_name(quantity: Quantity) -> str:
    """A quantity with what is measured, for people."""
    if quantity.column.startswith(f"{ACCURACY}."):
        return f"{quantity.name} accuracy"
    return "sparsity rate" if quantity.column == SPARSITY_RATE else quantity.name


@dataclass(frozen=True, eq=False)
class DecisionFront:
    """The trials of one study between which a decision is open."""

    study: str
    quantities: tuple[Quantity, ...]
    frame: pd.DataFrame
    """The trials, of all seeds, in ascending order of the first quantity."""
    values: NDArray[np.float64]
    """Shape (n_points, n_quantities), minimised, rows as in `frame`."""


def decision_fronts(table: ResultTable, labels: pd.DataFrame | None = None) -> list[DecisionFront]:
    """For each study the trials on its front that no other of them beats in the quantities of `quantities`.

    Searches, their candidates and anchor runs are left out.

    Args:
        table: any table.
        labels: what `label_points` returned for it; default: the exact front.

    Raises:
        ResultsError: trials of one study have different scalings.
    """
    labels = label_points(table) if labels is None else labels
    terms = quantities(table)
    signs = np.array([-1.0 if quantity.is_maximised else 1.0 for quantity in terms])
    columns = [quantity.column for quantity in terms]
    kept = labels["kept"].to_numpy(dtype=bool)
    fronts = []
    for study in compared_studies(table):
        rows = table.ok.frame[kept & of_study(table.ok, study.name)]
        values = rows[columns].to_numpy(dtype=np.float64, na_value=np.nan) * signs
        chosen = nondominated(values)
        rows, values = rows[chosen], values[chosen]
        order = np.lexsort((rows["trial_id"].to_numpy(dtype=object), values[:, 0] * signs[0]))
        fronts.append(DecisionFront(study.name, terms, rows.iloc[order].reset_index(drop=True), values[order]))
    return fronts


def of_study(table: ResultTable, name: str) -> NDArray[np.bool_]:
    """Mark the rows of a study, shape (n_trials,)."""
    return np.asarray([(study if isinstance(study, str) else "") == name for study in table.frame["study"].to_list()], dtype=bool)
