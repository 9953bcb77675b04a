"""What neighbours on a front cost each other: "+10 points of sparsity cost 0.3 points of right"."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.deciding import DecisionFront, Quantity, decision_fronts, measure_name
from analysis.neighbours import neighbours, to_unit_range
from analysis.table import ResultTable


@dataclass(frozen=True)
class Step:
    """From one point of a front to a neighbour."""

    study: str
    start: str
    """Id of the trial that the step leaves."""
    end: str
    """Id of the trial that it reaches."""
    quantities: tuple[Quantity, ...]
    changes: tuple[float, ...]
    """What changes in each quantity, in its unit and own sense (more accuracy is positive, and so is more loss)."""

    def gain_of(self, index: int) -> float:
        """The change of a quantity, positive when it is for the better."""
        return self.changes[index] if self.quantities[index].is_maximised else -self.changes[index]

    def __str__(self) -> str:
        gains = [self._part(i) for i in range(len(self.changes)) if self.gain_of(i) > 0]
        costs = [self._part(i) for i in range(len(self.changes)) if self.gain_of(i) < 0]
        if not gains and not costs:
            return "no difference"
        return f"{_joined(gains) or 'nothing'} cost {_joined(costs) or 'nothing'}"

    def _part(self, index: int) -> str:
        """A change with its sign; what is lost of a quantity that is maximised needs none."""
        quantity, change = self.quantities[index], self.changes[index]
        is_lost = quantity.is_maximised and change < 0
        size = -change if is_lost else change
        number = f"{size:.1f}" if quantity.unit == "points" and abs(size) >= 0.95 else f"{size:.2g}"
        unit = f" {quantity.unit}" if quantity.unit else ""
        return f"{'+' if change > 0 else ''}{number}{unit} of {measure_name(quantity)}"


def steps(front: DecisionFront) -> list[Step]:
    """The steps between all neighbours of a front, each in the direction in which its first quantity that differs improves.

    Neighbours are those of `neighbours`, every quantity divided by its range on the front.
    """
    found = []
    names = front.frame["trial_id"].to_list()
    for pair in neighbours(to_unit_range(front.values)):
        start, end = _improving(front.values, int(pair[0]), int(pair[1]))
        found.append(_step(front, names, start, end))
    return found


def steps_from(front: DecisionFront, trial_id: str) -> list[Step]:
    """The steps that leave one trial of a front, to each of its neighbours."""
    names = front.frame["trial_id"].to_list()
    row = names.index(trial_id)
    pairs = neighbours(to_unit_range(front.values))
    others = [int(pair[0] if pair[1] == row else pair[1]) for pair in pairs if row in pair]
    return [_step(front, names, row, other) for other in others]


def trade_offs(table: ResultTable) -> pd.DataFrame:
    """The steps between neighbours on each study's front, in the terms that people decide by (`quantities`).

    Args:
        table: any table.

    Returns:
        One row a step: `study`, `start`, `end` (trial ids), a column `change.<column>` for each quantity, in the column's
        own unit (fractions), `rate.<column>` (change of this quantity for one unit of the first one; NaN where the first one
        does not change), and `text`, which says the same to people.

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
