"""Which trial to ship: the best one in one column of all that keep some bounds, and why the others lost."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.manifest import ResultsError
from analysis.neighbours import to_unit_range
from analysis.studies import compared_studies
from analysis.table import ResultTable

Bounds = Mapping[str, float] | Iterable[tuple[str, float]]
N_NEIGHBOURS = 5
_MAX_LISTED = 3


@dataclass(frozen=True)
class Bound:
    """What a column must keep."""

    column: str
    value: float
    is_least: bool
    """True: at least `value`; False: at most."""

    def miss(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much each number misses the bound, in the column's unit: 0 where it is kept, NaN where there is no number."""
        return np.asarray(np.maximum(self.value - found if self.is_least else found - self.value, 0.0))

    def __str__(self) -> str:
        return f"{self.column} {'>=' if self.is_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Loser:
    """A trial that was not chosen."""

    trial_id: str
    missed: tuple[tuple[Bound, float], ...]
    """The bounds that it does not keep, and by how much; NaN where the column has no value."""
    worse_by: float | None
    """How much worse it is in the column that decides, >= 0; negative: better, but it misses a bound. None without a value."""


@dataclass(frozen=True, eq=False)
class Pick:
    """What was chosen, and why."""

    column: str
    """The one that decides."""
    is_maximised: bool
    bounds: tuple[Bound, ...]
    chosen: "pd.Series | None"
    """The row of `table.frame` that was chosen; None when no trial keeps every bound."""
    losers: tuple[Loser, ...]
    """At most `N_NEIGHBOURS`; without a chosen trial those nearest to the bounds, nearest first."""
    n_trials: int
    """Finished ones that were compared."""
    n_fitting: int
    """Of these, those that keep every bound."""
    to_relax: tuple[tuple[Bound, float], ...]
    """When nothing fits: each bound that, relaxed to this value alone, lets a trial fit, the smallest change first; empty when it
    takes more than one."""
    conflicts: tuple[tuple[Bound, float], ...]
    """When nothing fits: the bounds that the nearest trial misses, and by how much."""


def pick(
    table: ResultTable,
    *,
    at_least: Bounds = (),
    at_most: Bounds = (),
    minimise: str | None = None,
    maximise: str | None = None,
) -> Pick:
    """Choose the finished trial that is best in one column among those that keep every bound.

    Args:
        table: any table; `table.frame` has the columns of `docs/store.md`, fractions are never percent.
        at_least: column -> least value, as a mapping or as pairs.
        at_most: column -> largest value, likewise.
        minimise: the column that decides; either this or `maximise`.
        maximise: likewise.

    Returns:
        The chosen trial (of equal ones the first in the table), and why others lost: the bound that each misses or how much
        worse it is. These are the runner-up, the nearest trial that would be better but misses a bound, and the nearest ones of
        all, in the columns named, each divided by its range. Searches, their candidates and anchor runs are left out.

    Raises:
        ResultsError: an unknown column or one without numbers (the message names those that are near), a bound that is not
            finite, both or none of `minimise` and `maximise`, or no finished trial.
    """
    if (minimise is None) == (maximise is None):
        raise ResultsError("one column to decide by expected\n  hint: give exactly one of `minimise` and `maximise`")
    column = minimise if minimise is not None else str(maximise)
    bounds = (
        *(Bound(name, float(value), is_least=True) for name, value in _pairs(at_least)),
        *(Bound(name, float(value), is_least=False) for name, value in _pairs(at_most)),
    )
    ok = _compared(table)
    if ok.frame.empty:
        raise ResultsError(f"{table.place}: no finished trial to pick from\n  hint: `sweep status` says where the sweep stands")
    _check_columns(ok.frame, [column, *(bound.column for bound in bounds)])
    for bound in bounds:
        if not np.isfinite(bound.value):
            raise ResultsError(f"{bound.column}: a finite bound expected, found {bound.value}")
    score = _numbers(ok.frame, column) * (-1.0 if minimise is None else 1.0)
    misses = np.stack([bound.miss(_numbers(ok.frame, bound.column)) for bound in bounds] or [np.zeros(len(ok.frame))], axis=1)
    fits = (misses == 0).all(axis=1) & np.isfinite(score)
    if fits.any():
        row = int(np.flatnonzero(fits)[np.argmin(score[fits])])
        nearest = _nearest(ok.frame, row, [column, *(bound.column for bound in bounds)])
        others = _rivals(row, nearest, fits, score)
        losers = tuple(_loser(ok.frame, other, bounds, misses, score, score[row]) for other in others)
        return Pick(column, minimise is None, bounds, ok.frame.iloc[row], losers, len(score), int(fits.sum()), (), ())
    ranks = _relative(misses, ok.frame, bounds).sum(axis=1)
    order = [int(i) for i in np.lexsort((score, ranks)) if np.isfinite(ranks[i]) and np.isfinite(score[i])][:N_NEIGHBOURS]
    losers = tuple(_loser(ok.frame, other, bounds, misses, score, None) for other in order)
    conflicts = losers[0].missed if losers else ()
    return Pick(column, minimise is None, bounds, None, losers, len(score), 0, _relaxable(ok.frame, bounds, misses, score), conflicts)


def _pairs(bounds: Bounds) -> Iterable[tuple[str, float]]:
    return bounds.items() if isinstance(bounds, Mapping) else bounds


def _compared(table: ResultTable) -> ResultTable:
    """The finished trials without those of searches and anchor runs, which nobody ships."""
    names = {study.name for study in compared_studies(table)}
    is_compared = [(study if isinstance(study, str) else "") in names for study in table.ok.frame["study"].to_list()]
    return replace(table.ok, frame=table.ok.frame[np.asarray(is_compared, dtype=bool)].reset_index(drop=True))


def _check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse columns that are not there or hold no number, all at once."""
    known = [str(name) for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()]
    messages = []
    for column in dict.fromkeys(columns):
        if column in known:
            continue
        near = difflib.get_close_matches(column, known, n=_MAX_LISTED, cutoff=0.5)
        reason = "no finished trial has a number there" if column in frame.columns else "no such column"
        meant = f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else "docs/store.md lists the columns"
        messages.append(f"{column}: {reason}\n  hint: {meant}")
    if messages:
        raise ResultsError("\n".join(messages))


def _numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    return np.asarray(frame[column].to_numpy(dtype=np.float64, na_value=np.nan))


def _nearest(frame: pd.DataFrame, row: int, columns: Sequence[str]) -> list[int]:
    """The other trials by their distance in these columns, each divided by its range; those without a value last."""
    values = np.stack([_numbers(frame, name) for name in dict.fromkeys(columns)], axis=1)
    known = np.isfinite(values).all(axis=1)
    distance = np.full(len(values), np.inf)
    scaled = to_unit_range(values[known])
    distance[known] = ((scaled - scaled[np.flatnonzero(known) == row]) ** 2).sum(axis=1)
    distance[row] = np.inf
    order = np.argsort(distance, kind="stable")
    return [int(i) for i in order if i != row]


def _rivals(row: int, nearest: Sequence[int], fits: NDArray[np.bool_], score: NDArray[np.float64]) -> list[int]:
    """The runner-up, the nearest one that would be better but misses a bound, then the nearest of all; `N_NEIGHBOURS` of them."""
    behind = sorted((i for i in nearest if fits[i]), key=lambda i: float(score[i]))
    better = [i for i in nearest if not fits[i] and score[i] < score[row]]
    return list(dict.fromkeys([*behind[:1], *better[:1], *nearest]))[:N_NEIGHBOURS]


def _loser(
    frame: pd.DataFrame, row: int, bounds: Sequence[Bound], misses: NDArray[np.float64], score: NDArray[np.float64], best: float | None
) -> Loser:
    missed = tuple((bound, float(misses[row, i])) for i, bound in enumerate(bounds) if misses[row, i] != 0)
    worse_by = None if best is None or not np.isfinite(score[row]) else float(score[row] - best)
    return Loser(str(frame["trial_id"].iloc[row]), missed, worse_by)


def _relative(misses: NDArray[np.float64], frame: pd.DataFrame, bounds: Sequence[Bound]) -> NDArray[np.float64]:
    """Misses as shares of the column's range over the finished trials, so that bounds of different units can be added."""
    ranges = [np.nanmax(numbers) - np.nanmin(numbers) for numbers in (_numbers(frame, bound.column) for bound in bounds)]
    return misses / np.array([length if length > 0 else 1.0 for length in ranges]) if bounds else misses


def _relaxable(
    frame: pd.DataFrame, bounds: Sequence[Bound], misses: NDArray[np.float64], score: NDArray[np.float64]
) -> tuple[tuple[Bound, float], ...]:
    """Each bound that alone is in the way, with the value at which the nearest trial fits."""
    relative = _relative(misses, frame, bounds)
    found = []
    for i, bound in enumerate(bounds):
        others_fit = (np.delete(misses, i, axis=1) == 0).all(axis=1) & np.isfinite(misses[:, i]) & np.isfinite(score)
        if others_fit.any():
            row = int(np.flatnonzero(others_fit)[np.argmin(misses[others_fit, i])])
            found.append((relative[row, i], bound, float(_numbers(frame, bound.column)[row])))
    return tuple((bound, value) for _, bound, value in sorted(found, key=lambda one: one[0]))
