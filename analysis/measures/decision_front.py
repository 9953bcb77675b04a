"""The front in the quantities that people decide by, and the trade-offs between neighbouring points on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.labels import label_points
from analysis.measures.studies import compared_studies
from analysis.pareto.dominance import nondominated
from analysis.pareto.neighbors import neighbours, to_unit_range
from analysis.results.columns import SPARSITY_RATE, accuracy_column, is_of, task_of
from analysis.results.table import VALUE, ResultTable


@dataclass(frozen=True)
class Quantity:
    """A quantity by which people choose a model."""

    column: str
    """Its column in the rows."""
    name: str
    """Its display name."""
    is_maximised: bool
    unit: str
    """`points` for a fraction that is shown in percent, otherwise the manifest's unit; may be empty."""

    @property
    def factor(self) -> float:
        """The factor that converts the column's numbers to `unit`."""
        return 100.0 if self.unit == "points" else 1.0


def quantities(table: ResultTable) -> tuple[Quantity, ...]:
    """List the quantities by which people choose among the models of a sweep, sparsity first.

    The sparsity rate takes the place of the sparsity objective, because the norm of an unpruned network says little. A task is represented
    by its accuracy if that was measured, otherwise by its objective.
    """
    frame = table.ok.frame
    found = []
    if table.sparsity_objective is not None:
        found.append(Quantity(SPARSITY_RATE, "sparsity", is_maximised=True, unit="points"))
    for objective in table.task_objectives:
        name, column = str(objective["name"]), objective["column"]
        accuracy = accuracy_column("validation", task_of(column))
        if is_of("loss", column, "validation") and accuracy in frame and frame[accuracy].notna().any():
            found.append(Quantity(accuracy, name, is_maximised=True, unit="points"))
        else:
            is_value = table.metrics.get(task_of(column)) == VALUE or not is_of("loss", column)
            found.append(
                Quantity(column, name if is_value else f"{name} loss", objective.get("sense") == "max", str(objective.get("unit") or ""))
            )
    return tuple(found)


def measure_name(quantity: Quantity) -> str:
    """Return a quantity's display name together with what is measured."""
    if is_of("accuracy", quantity.column):
        return f"{quantity.name} accuracy"
    return "sparsity rate" if quantity.column == SPARSITY_RATE else quantity.name


@dataclass(frozen=True, eq=False)
class DecisionFront:
    """The trials of one study that are non-dominated in the quantities people decide by."""

    study: str
    quantities: tuple[Quantity, ...]
    frame: pd.DataFrame
    """The trials of all seeds, in ascending order of the first quantity."""
    values: NDArray[np.float64]
    """Shape (n_points, n_quantities), minimised; the rows are those of `frame`."""


def decision_fronts(table: ResultTable, labels: pd.DataFrame | None = None) -> list[DecisionFront]:
    """Select for each study the trials on its front that are non-dominated in `quantities`.

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
    """Mark the trials of a study, shape (n_trials,)."""
    return np.asarray([(study if isinstance(study, str) else "") == name for study in table.frame["study"].to_list()], dtype=bool)


@dataclass(frozen=True)
class Step:
    """The step from one point of a front to a neighbour."""

    study: str
    start: str
    """Id of the trial that the step leaves."""
    end: str
    """Id of the trial that the step reaches."""
    quantities: tuple[Quantity, ...]
    changes: tuple[float, ...]
    """Change of each quantity, in its unit and its own sense: an increase is positive, for accuracies and losses alike."""

    def gain_of(self, index: int) -> float:
        """Return the change of a quantity, positive if it is an improvement."""
        return self.changes[index] if self.quantities[index].is_maximised else -self.changes[index]

    def __str__(self) -> str:
        gains = [self._part(i) for i in range(len(self.changes)) if self.gain_of(i) > 0]
        costs = [self._part(i) for i in range(len(self.changes)) if self.gain_of(i) < 0]
        if not gains and not costs:
            return "no difference"
        return f"{_joined(gains) or 'nothing'} cost {_joined(costs) or 'nothing'}"

    def _part(self, index: int) -> str:
        """Write a change with its sign; a decrease of a maximised quantity is written without one."""
        quantity, change = self.quantities[index], self.changes[index]
        is_lost = quantity.is_maximised and change < 0
        size = -change if is_lost else change
        number = f"{size:.1f}" if quantity.unit == "points" and abs(size) >= 0.95 else f"{size:.2g}"
        unit = f" {quantity.unit}" if quantity.unit else ""
        return f"{'+' if change > 0 else ''}{number}{unit} of {measure_name(quantity)}"


def steps(front: DecisionFront) -> list[Step]:
    """List the steps between all neighbours of a front, each in the direction that improves the first quantity that differs.

    Neighbours are determined by `analysis.pareto.neighbors.neighbours`, with every quantity divided by its range on the front.
    """
    found = []
    names = front.frame["trial_id"].to_list()
    for pair in neighbours(to_unit_range(front.values)):
        start, end = _improving(front.values, int(pair[0]), int(pair[1]))
        found.append(_step(front, names, start, end))
    return found


def steps_from(front: DecisionFront, trial_id: str) -> list[Step]:
    """List the steps from one trial of a front to each of its neighbours."""
    names = front.frame["trial_id"].to_list()
    row = names.index(trial_id)
    pairs = neighbours(to_unit_range(front.values))
    others = [int(pair[0] if pair[1] == row else pair[1]) for pair in pairs if row in pair]
    return [_step(front, names, row, other) for other in others]


def trade_offs(table: ResultTable) -> pd.DataFrame:
    """Tabulate the steps between neighbours on each study's front in the quantities that people decide by (`quantities`).

    Args:
        table: any table.

    Returns:
        One row for each step: `study`, `start`, `end` (trial ids), a column `change.<column>` for each quantity, in the column's
        own unit (fractions), `rate.<column>` (change of this quantity for one unit of the first one; NaN where the first one
        does not change), and `text`, which says the same in words.

    Raises:
        ResultsError: trials of one study have different scalings.
    """
    rows = []
    for front in decision_fronts(table):
        for step in steps(front):
            changes = {q.column: change / q.factor for q, change in zip(step.quantities, step.changes, strict=True)}
            first = changes[step.quantities[0].column]
            rates = {column: change / first if first else np.nan for column, change in list(changes.items())[1:]}
            rows.append(
                {"study": step.study, "start": step.start, "end": step.end}
                | {f"change.{column}": change for column, change in changes.items()}
                | {f"rate.{column}": rate for column, rate in rates.items()}
                | {"text": str(step)}
            )
    return pd.DataFrame(rows)


def _improving(values: NDArray[np.float64], one: int, other: int) -> tuple[int, int]:
    differing = np.flatnonzero(values[one] != values[other])
    return (one, other) if values[other, differing[0]] < values[one, differing[0]] else (other, one)


def _step(front: DecisionFront, names: Sequence[str], start: int, end: int) -> Step:
    signs = np.array([-quantity.factor if quantity.is_maximised else quantity.factor for quantity in front.quantities])
    changes = (front.values[end] - front.values[start]) * signs
    return Step(front.study, names[start], names[end], front.quantities, tuple(float(change) for change in changes))


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"
