"""`sweep pick`: the trial that is best in one column among those within the given bounds, and the answer in words."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.formatting import preference_text
from analysis.measures.convergence import unconverged_texts
from analysis.measures.studies import compared_studies
from analysis.pareto.neighbors import to_unit_range
from analysis.results.columns import is_of
from analysis.results.json_text import plain, plain_row
from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable

Bounds = Mapping[str, float] | Iterable[tuple[str, float]]
N_NEIGHBOURS = 5
_MAX_LISTED = 3


@dataclass(frozen=True)
class Bound:
    """A lower or upper bound on a column."""

    column: str
    value: float
    is_least: bool
    """True for a lower bound (at least `value`), False for an upper bound (at most `value`)."""

    def miss(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much each number misses the bound, in the column's unit: 0 if the bound is met, NaN if there is no number."""
        return np.asarray(np.maximum(self.value - values if self.is_least else values - self.value, 0.0))

    def __str__(self) -> str:
        return f"{self.column} {'>=' if self.is_least else '<='} {self.value:g}"


@dataclass(frozen=True)
class Loser:
    """A trial that was not chosen, and the reasons."""

    trial_id: str
    missed: tuple[tuple[Bound, float], ...]
    """The bounds that it misses, and by how much; NaN where the column has no value."""
    worse_by: float | None
    """How much worse it is in the deciding column; negative if it is better but misses a bound; None if it has no value there."""


@dataclass(frozen=True, eq=False)
class Pick:
    """The result of `pick`: the chosen trial and the reasons."""

    column: str
    """The deciding column."""
    is_maximised: bool
    bounds: tuple[Bound, ...]
    chosen: "pd.Series | None"
    """The chosen row of `table.frame`; None if no trial meets every bound."""
    losers: tuple[Loser, ...]
    """At most `N_NEIGHBOURS` trials that were not chosen; without a chosen trial, those nearest to the bounds, nearest first."""
    n_trials: int
    """Number of finished trials that were compared."""
    n_fitting: int
    """How many of them meet every bound."""
    to_relax: tuple[tuple[Bound, float], ...]
    """If no trial fits: the bounds that would each suffice if relaxed alone, with the required value, smallest change first; empty if
    several must be relaxed together."""
    conflicts: tuple[tuple[Bound, float], ...]
    """If no trial fits: the bounds that the nearest trial misses, and by how much."""


def pick(
    table: ResultTable,
    *,
    at_least: Bounds = (),
    at_most: Bounds = (),
    minimise: str | None = None,
    maximise: str | None = None,
) -> Pick:
    """Choose the finished trial that is best in one column among those that meet every bound.

    Args:
        table: any table; `table.frame` has the columns of `docs/store.md`, fractions are never given in percent.
        at_least: column -> smallest allowed value, as a mapping or as pairs.
        at_most: column -> largest allowed value, as a mapping or as pairs.
        minimise: the deciding column if it is to be minimised; give exactly one of `minimise` and `maximise`.
        maximise: the deciding column if it is to be maximised.

    Returns:
        The chosen trial (the first in the table if several are equal), and why others lost: the bound that each misses, or how much worse
        it is. The others are the runner-up, the nearest trial that would be better but misses a bound, and the nearest trials overall.
        Distances are measured in the named columns, each divided by its range. Searches, their candidates and anchor runs are left out.

    Raises:
        ResultsError: a column is unknown or has no numbers (the message names similar ones), a bound is not finite, both or neither of
            `minimise` and `maximise` are given, or no trial has finished.
    """
    if (minimise is None) == (maximise is None):
        raise ResultsError("one column to decide by expected\n  hint: give either `minimise` or `maximise`, with the name of a column")
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
    """The finished trials, except those of searches and anchor runs, which nobody deploys."""
    names = {study.name for study in compared_studies(table)}
    is_compared = [(study if isinstance(study, str) else "") in names for study in table.ok.frame["study"].to_list()]
    return replace(table.ok, frame=table.ok.frame[np.asarray(is_compared, dtype=bool)].reset_index(drop=True))


def _check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise an error that names all columns that do not exist or hold no number."""
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
    """The other trials sorted by distance in these columns, each divided by its range; those without a value come last."""
    values = np.stack([_numbers(frame, name) for name in dict.fromkeys(columns)], axis=1)
    known = np.isfinite(values).all(axis=1)
    distance = np.full(len(values), np.inf)
    scaled = to_unit_range(values[known])
    distance[known] = ((scaled - scaled[np.flatnonzero(known) == row]) ** 2).sum(axis=1)
    distance[row] = np.inf
    order = np.argsort(distance, kind="stable")
    return [int(i) for i in order if i != row]


def _rivals(row: int, nearest: Sequence[int], fits: NDArray[np.bool_], score: NDArray[np.float64]) -> list[int]:
    """The runner-up, the nearest trial that would be better but misses a bound, then the nearest overall; at most `N_NEIGHBOURS`."""
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
    """Divide misses by the column's range over the finished trials, so that misses in different units can be added."""
    ranges = [np.nanmax(numbers) - np.nanmin(numbers) for numbers in (_numbers(frame, bound.column) for bound in bounds)]
    return misses / np.array([length if length > 0 else 1.0 for length in ranges]) if bounds else misses


def _relaxable(
    frame: pd.DataFrame, bounds: Sequence[Bound], misses: NDArray[np.float64], score: NDArray[np.float64]
) -> tuple[tuple[Bound, float], ...]:
    """Each bound that would suffice if relaxed alone, with the value at which the nearest trial fits."""
    relative = _relative(misses, frame, bounds)
    found = []
    for i, bound in enumerate(bounds):
        others_fit = (np.delete(misses, i, axis=1) == 0).all(axis=1) & np.isfinite(misses[:, i]) & np.isfinite(score)
        if others_fit.any():
            row = int(np.flatnonzero(others_fit)[np.argmin(misses[others_fit, i])])
            found.append((relative[row, i], bound, float(_numbers(frame, bound.column)[row])))
    return tuple((bound, value) for _, bound, value in sorted(found, key=lambda one: one[0]))


_ABOUT = ("study", "seed", "k", "sparsity_rate", "compression_rate")


def pick_text(table: ResultTable, choice: Pick) -> str:
    """Write the chosen trial with its numbers and why its neighbours lost; without a chosen trial, which bound to relax.

    Args:
        table: the table that `pick` chose from.
        choice: what `pick` returned for it.
    """
    return _chosen_text(table, choice, choice.chosen) if choice.chosen is not None else _nothing_text(choice)


def pick_json(choice: Pick) -> str:
    """Write a JSON object with `chosen` (a row, or null), `column`, `sense`, `bounds`, `n_trials`, `n_fitting`, `losers`, `to_relax`,
    `nearest_misses`.
    """
    row = None if choice.chosen is None else plain_row(choice.chosen.to_dict())
    return json.dumps(
        {
            "chosen": row,
            "column": choice.column,
            "sense": "max" if choice.is_maximised else "min",
            "bounds": [_bound(bound) for bound in choice.bounds],
            "n_trials": choice.n_trials,
            "n_fitting": choice.n_fitting,
            "losers": [
                {
                    "trial_id": loser.trial_id,
                    "missed": [_bound(bound) | {"by": plain(by)} for bound, by in loser.missed],
                    "worse_by": loser.worse_by,
                }
                for loser in choice.losers
            ],
            "to_relax": [_bound(bound) | {"to": to} for bound, to in choice.to_relax],
            "nearest_misses": [_bound(bound) | {"by": plain(by)} for bound, by in choice.conflicts],
        },
        indent=1,
    )


def _bound(bound: Bound) -> dict[str, Any]:
    return {"column": bound.column, "rule": "min" if bound.is_least else "max", "value": bound.value}


def _chosen_text(table: ResultTable, choice: Pick, row: "pd.Series") -> str:
    superlative = "largest" if choice.is_maximised else "least"
    lines = [f"trial {row['trial_id']}: the {superlative} {choice.column} of {_fitting(choice)}"]
    names = [
        choice.column,
        *(bound.column for bound in choice.bounds),
        *_ABOUT,
        *(n for n in row.index if is_of("accuracy", str(n), "test")),
    ]
    for name in dict.fromkeys(str(name) for name in names):
        value = row[name]
        text = preference_text(value, table.sparsity_objective is not None) if name == "k" else _value(value)
        if text:
            lines.append(f"  {name} = {text}")
    of_trial = zip(table.ok.frame["trial_id"].to_list(), unconverged_texts(table.ok), strict=True)
    lines += [f"  unconverged: {text}" for trial_id, text in of_trial if text and trial_id == row["trial_id"]]
    if choice.losers:
        lines.append("why its neighbours lost:")
        lines += [f"  {loser.trial_id}: {_why(choice, loser)}" for loser in choice.losers]
    return "\n".join(lines)


def _fitting(choice: Pick) -> str:
    if not choice.bounds:
        return f"{choice.n_trials} finished trials"
    satisfy = "satisfies" if choice.n_fitting == 1 else "satisfy"
    which = f"{choice.n_fitting} of {choice.n_trials} finished trials that {satisfy} {', '.join(map(str, choice.bounds))}"
    return f"the {which}"


def _why(choice: Pick, loser: Loser) -> str:
    parts = [_missed(bound, by) for bound, by in loser.missed]
    if loser.worse_by is None:
        parts.append(f"{choice.column} is not known")
    elif loser.worse_by >= 0 and not loser.missed:
        direction = "lower" if choice.is_maximised else "higher"
        parts.append(
            f"{choice.column} is {loser.worse_by:.4g} {direction}" if loser.worse_by else f"the same {choice.column}, later in the plan"
        )
    elif loser.worse_by < 0:
        parts.append(f"though its {choice.column} is {-loser.worse_by:.4g} better")
    return ", ".join(parts)


def _missed(bound: Bound, by: float) -> str:
    return f"{bound.column} is not known" if math.isnan(by) else f"misses {bound} by {by:.4g}"


def _nothing_text(choice: Pick) -> str:
    lines = [f"none of {choice.n_trials} finished trials satisfies {' and '.join(map(str, choice.bounds)) or choice.column}"]
    for bound, to in choice.to_relax:
        relaxed = f"{bound.column} {'>=' if bound.is_least else '<='} {_outwards(to, bound.is_least)}"
        lines.append(f"  hint: with {relaxed} one trial fits (other bounds unchanged)")
    if not choice.to_relax:
        lines.append("  hint: relax more than one bound: no single one is in the way")
    if choice.losers:
        lines.append(f"  nearest: trial {choice.losers[0].trial_id} {', '.join(_missed(bound, by) for bound, by in choice.conflicts)}")
    return "\n".join(lines)


def _outwards(value: float, is_least: bool) -> str:
    """Round to four digits, in the direction that keeps a trial with this value within the bound."""
    text = f"{value:.4g}"
    if (float(text) > value) if is_least else (float(text) < value):
        digit = 10.0 ** (math.floor(math.log10(abs(value))) - 3) if value else 0.0
        text = f"{float(text) + (-digit if is_least else digit):.4g}"
    return text


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = plain(value)
    if isinstance(number, float):
        return f"{number:.6g}"
    return "" if number is None else str(number)
