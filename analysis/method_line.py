"""One line of the table of methods, computed from its trials."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.choosing import quality
from analysis.chosen_preference import chosen_preference
from analysis.intervals import Estimate, estimate
from analysis.loss_hypervolume import has_loss_hypervolume, loss_hypervolumes
from analysis.method_columns import measurements
from analysis.method_trials import Kind, Preference, line_trials
from analysis.own_seconds import TOTAL
from analysis.studies import Study, method_label
from analysis.table import ResultTable


@dataclass(frozen=True)
class Line:
    """A method that trained one architecture, as one preference over all seeds shows it."""

    sweep: str
    """Name of the sweep that it is from."""
    study: Study
    kind: Kind
    label: str
    """The method, for people; unlike every other label of the same architecture."""
    preference: Preference
    """k with k0 first; None for a method without one."""
    values: Mapping[str, Estimate]
    """Column's name -> mean over seeds and interval; fractions, ratios and seconds."""
    n_seeds: int
    """Seeds that finished with this preference."""
    n_seeds_planned: int
    """All seeds of the study."""
    counts: Mapping[str, int]
    """Trials of the line by state: ok, diverged, error, missing; all preferences."""
    n_incomplete: int
    """Preferences that some seed has no result for; they could not be chosen while others are complete."""
    hypervolume: Estimate | None
    """Of test losses (`loss_hypervolumes`), one value a seed; None where the sweep has other tasks."""
    taken_over_s: Estimate | None
    """Seconds of the trials that these began from, which are in no other number of the line; None when there were none."""
    taken_from: tuple[str, ...] = ()
    """Names of those trials' studies."""
    boxed: frozenset[str] = frozenset()
    """Columns in which it is the best of its architecture."""
    bold: frozenset[str] = frozenset()
    """Columns in which it is the best of its dataset."""

    @property
    def is_complete(self) -> bool:
        """Whether the shown preference has a result for every seed."""
        return self.n_seeds == self.n_seeds_planned


def lines_of(table: ResultTable, confidence: float) -> list[Line]:
    """The lines of a sweep, in the order of `line_trials`; nothing is marked yet.

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
    return table.frame[TOTAL].to_numpy(dtype=np.float64, na_value=np.nan)
