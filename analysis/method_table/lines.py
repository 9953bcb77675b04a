"""A line of the method table: its trials, the preference chosen among them, and that preference's numbers over seeds."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.selection import quality
from analysis.measures.studies import Study, compared_studies, method_label
from analysis.method_table.columns import measurements
from analysis.pareto.indicators import Box
from analysis.pareto.intervals import Estimate, estimate
from analysis.results.columns import ACCURACY, DEVICE_SECONDS, is_of, loss_column
from analysis.results.table import ResultTable

Preference = tuple[float, ...] | None
"""k with k0 first, as stored; None for a method without a preference."""
Kind = Literal["none", "dense", "sparse"]
"""No preference, k0 = 0 and k0 > 0, in this order."""
State = Literal["ok", "diverged", "error", "missing"]
_NO_SEED = -1


@dataclass(frozen=True)
class LineTrials:
    """The trials behind one line."""

    study: Study
    kind: Kind
    seeds: tuple[int, ...]
    """All seeds of the study, in the order of the plan."""
    preferences: tuple[Preference, ...]
    """All preferences of this kind, in the order of the plan; (None,) for a method without preferences."""
    rows: Mapping[tuple[Preference, int], int]
    """(preference, seed) -> row of `table.ok.frame`, for the trials that finished with finite objectives."""
    states: Mapping[tuple[Preference, int], State]
    """State of every trial of the line; also `error` if an objective is not finite."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials in each of the four states."""
        counts = Counter(self.states.values())
        return {state: counts[state] for state in get_args(State)}


def line_trials(table: ResultTable) -> list[LineTrials]:
    """Group the trials of a sweep into lines: studies in the manifest's order, each split into no k, k0 = 0 and k0 > 0.

    Trials of earlier plans are included. A study without any planned or trained trial has no line.
    """
    states: dict[str, dict[tuple[Preference, int], State]] = {}
    rows: dict[str, dict[tuple[Preference, int], int]] = {}
    for name, key, state, row in [*_planned(table), *_trained(table)]:
        if states.setdefault(name, {}).get(key) != "ok":
            states[name][key] = state
            if row is not None:
                rows.setdefault(name, {})[key] = row
    has_sparsity = table.sparsity_objective is not None
    lines = []
    for study in compared_studies(table):
        of_study = states.get(study.name, {})
        seeds = tuple(dict.fromkeys(seed for _, seed in of_study))
        for kind in get_args(Kind):
            keys = [key for key in of_study if _kind_of(key[0], has_sparsity) == kind]
            if keys:
                found = rows.get(study.name, {})
                lines.append(
                    LineTrials(
                        study=study,
                        kind=kind,
                        seeds=seeds,
                        preferences=tuple(dict.fromkeys(preference for preference, _ in keys)),
                        rows={key: found[key] for key in keys if key in found},
                        states={key: of_study[key] for key in keys},
                    )
                )
    return lines


_Trial = tuple[str, tuple[Preference, int], State, int | None]


def _planned(table: ResultTable) -> Iterator[_Trial]:
    """Yield the trials of the latest plan as missing; `_trained` later replaces the state of those that have a row."""
    for trial in (table.plan or {}).get("trials", []):
        yield _name_of(trial.get("study")), (_preference_of(trial.get("k")), _seed_of(trial.get("seed"))), "missing", None


def _trained(table: ResultTable) -> Iterator[_Trial]:
    finished: dict[Any, int] = {trial_id: row for row, trial_id in enumerate(table.ok.frame["trial_id"].to_list())}
    columns: Sequence[Any] = [table.frame[name].to_list() for name in ("trial_id", "study", "k", "seed", "state")]
    for trial_id, study, k, seed, ended in zip(*columns, strict=True):
        row = finished.get(trial_id)
        state: State = "ok" if row is not None else "diverged" if ended == "diverged" else "error"
        yield _name_of(study), (_preference_of(k), _seed_of(seed)), state, row


def _kind_of(preference: Preference, has_sparsity: bool) -> Kind:
    if preference is None:
        return "none"
    return "sparse" if has_sparsity and preference[0] > 0 else "dense"


def _name_of(study: Any) -> str:
    return study if isinstance(study, str) else ""


def _preference_of(k: Any) -> Preference:
    return tuple(map(float, k)) if hasattr(k, "__len__") and len(k) else None


def _seed_of(seed: Any) -> int:
    return _NO_SEED if seed is None or pd.isna(seed) else int(seed)


LOSS_BOX = Box((0.0, 0.0), (2.0, 2.0))
"""The box of the test losses, the test cross-entropy of each task in nats, as in the literature; ln 10 = 2.30 is a guess among ten
classes."""
_CROSS_ENTROPY_UNIT = "nats"


def has_loss_hypervolume(table: ResultTable) -> bool:
    """Return whether a sweep has exactly two tasks, both of them classification with cross-entropy loss."""
    units = [o.get("unit") for o in table.task_objectives if is_of("loss", o["column"])]
    return len(table.tasks) == 2 and set(table.metrics.values()) == {ACCURACY} and units == [_CROSS_ENTROPY_UNIT] * 2


def loss_hypervolumes(table: ResultTable, trials: LineTrials) -> list[float]:
    """Compute for each seed the share of `LOSS_BOX` that the test losses of a line's trials dominate.

    This is a quarter of the area of the union over trials i of [L1_i, 2] x [L2_i, 2]; only non-dominated losses contribute.

    Args:
        table: the table of the sweep.
        trials: the trials of one line.

    Returns:
        One share for each seed with a finished trial, in [0, 1]; higher is better.

    Raises:
        ValueError: the sweep does not have two such tasks (`has_loss_hypervolume`).
    """
    if not has_loss_hypervolume(table):
        raise ValueError(f"loss_hypervolumes expects two classification tasks, found {', '.join(table.tasks)}")
    losses = table.ok.frame[[loss_column("test", task) for task in table.tasks]].to_numpy(dtype=np.float64, na_value=np.nan)
    of_seed: dict[int, list[int]] = {}
    for (_, seed), row in trials.rows.items():
        of_seed.setdefault(seed, []).append(row)
    return [LOSS_BOX.hypervolume(losses[rows]) for rows in of_seed.values()]


@dataclass(frozen=True)
class Chosen:
    """The preference whose numbers a line shows."""

    preference: Preference
    rows: tuple[int, ...]
    """Its rows of `table.ok.frame`, one for each finished seed."""
    n_incomplete: int
    """Number of the line's preferences without a result for some seed."""


def chosen_preference(trials: LineTrials, quality: NDArray[np.float64]) -> Chosen:
    """Choose the preference with the highest mean quality over seeds.

    Only preferences with a result for every seed of the study are compared, because means over different seeds are not comparable.
    Where none is complete, those with the most seeds are compared; `n_incomplete` counts the others.

    Args:
        trials: the trials of one line.
        quality: `analysis.measures.selection.quality` of `table.ok.frame` on *validation* data, shape (n_rows,), higher is better.

    Returns:
        The best preference; the first in the order of the plan where several are equal.
    """
    rows = {
        preference: tuple(trials.rows[preference, seed] for seed in trials.seeds if (preference, seed) in trials.rows)
        for preference in trials.preferences
    }
    most = max(len(found) for found in rows.values())
    compared = [preference for preference, found in rows.items() if len(found) == most]
    best = max(compared, key=lambda preference: _mean(quality, rows[preference]))  # max keeps the first of several equal ones
    return Chosen(best, rows[best], sum(len(found) < len(trials.seeds) for found in rows.values()))


def _mean(quality: NDArray[np.float64], rows: tuple[int, ...]) -> float:
    """Mean over seeds, independent of their order; -inf where a value was not measured, so that it is never best."""
    values = [float(quality[row]) for row in rows]
    return math.fsum(values) / len(values) if values and all(map(math.isfinite, values)) else -math.inf


@dataclass(frozen=True)
class Line:
    """One method on one architecture, represented by one preference over all seeds."""

    sweep: str
    """Name of its sweep."""
    study: Study
    kind: Kind
    label: str
    """The method's display name, unique among the lines of its architecture."""
    preference: Preference
    """k with k0 first; None for a method without one."""
    values: Mapping[str, Estimate]
    """Column's name -> mean over seeds and interval; fractions, ratios and seconds."""
    n_seeds: int
    """Number of seeds that finished with this preference."""
    n_seeds_planned: int
    """Number of seeds of the study."""
    counts: Mapping[str, int]
    """Number of trials by state (ok, diverged, error, missing), over all preferences of the line."""
    n_incomplete: int
    """Number of preferences without a result for some seed; they are not chosen as long as others are complete."""
    hypervolume: Estimate | None
    """Hypervolume of the test losses over seeds (`loss_hypervolumes`); None if the sweep has other tasks."""
    taken_over_s: Estimate | None
    """Seconds of the trials that these trials inherited from, which no other number of the line includes; None without inheritance."""
    taken_from: tuple[str, ...] = ()
    """Names of the studies that they inherited from."""
    boxed: frozenset[str] = frozenset()
    """Columns in which it is best among the lines of its architecture."""
    bold: frozenset[str] = frozenset()
    """Columns in which it is best among the lines of its dataset."""

    @property
    def is_complete(self) -> bool:
        """Whether the preference has a result for every seed."""
        return self.n_seeds == self.n_seeds_planned


def lines_of(table: ResultTable, confidence: float) -> list[Line]:
    """Build the lines of a sweep in the order of `line_trials`, without marks.

    Args:
        table: the table of the sweep.
        confidence: confidence level of the intervals over seeds, between 0 and 1.

    Raises:
        ValueError: the confidence is not between 0 and 1.
    """
    qualities, measured = quality(table, table.ok.frame), measurements(table)
    seconds = {str(trial): float(own) for trial, own in zip(table.frame["trial_id"].to_list(), _seconds(table), strict=True)}
    named = zip(table.frame["trial_id"].to_list(), table.frame["study"].to_list(), strict=True)
    studies = {str(trial): str(study) for trial, study in named}
    given = table.ok.frame["taken_over"].to_list()
    has_hypervolume = has_loss_hypervolume(table)
    lines = []
    for trials in line_trials(table):
        chosen = chosen_preference(trials, qualities)
        givers = [[str(trial) for trial in given[row] if str(trial) in studies] for row in chosen.rows if hasattr(given[row], "__len__")]
        sums = [sum(seconds[trial] for trial in of_row) for of_row in givers if of_row]
        lines.append(
            Line(
                sweep=table.name,
                study=trials.study,
                kind=trials.kind,
                label=method_label(trials.study, prunes=trials.kind == "sparse"),
                preference=chosen.preference,
                values={name: estimate(measured[name].iloc[list(chosen.rows)], confidence) for name in measured.columns},
                n_seeds=len(chosen.rows),
                n_seeds_planned=len(trials.seeds),
                counts=trials.counts,
                n_incomplete=chosen.n_incomplete,
                hypervolume=estimate(loss_hypervolumes(table, trials), confidence) if has_hypervolume else None,
                taken_over_s=estimate(sums, confidence) if sums else None,
                taken_from=tuple(dict.fromkeys(studies[trial] for of_row in givers for trial in of_row)),
            )
        )
    return lines


def _seconds(table: ResultTable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return table.frame[DEVICE_SECONDS].to_numpy(dtype=np.float64, na_value=np.nan)
