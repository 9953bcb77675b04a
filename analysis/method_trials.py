"""The trials behind each line of the table of methods: those of one study and kind, planned or trained."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from analysis.studies import Study, compared_studies
from analysis.table import ResultTable

Preference = tuple[float, ...] | None
"""k with k0 first, as stored; None for a method without one."""
Kind = Literal["none", "dense", "sparse"]
"""No preference, k0 = 0, k0 > 0; in this order."""
State = Literal["ok", "diverged", "error", "missing"]
_NO_SEED = -1


@dataclass(frozen=True)
class LineTrials:
    """What one line is made of."""

    study: Study
    kind: Kind
    seeds: tuple[int, ...]
    """All seeds of the study, in the order of the plan."""
    preferences: tuple[Preference, ...]
    """All of this kind, in the order of the plan; (None,) for a method without."""
    rows: Mapping[tuple[Preference, int], int]
    """(preference, seed) -> row of `table.ok.frame`, of the trials that finished with finite objectives."""
    states: Mapping[tuple[Preference, int], State]
    """Of every trial of the line; `error` also where an objective is not finite."""

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state; all four states are there."""
        found = Counter(self.states.values())
        return {state: found[state] for state in get_args(State)}


def line_trials(table: ResultTable) -> list[LineTrials]:
    """The trials of each line, studies in the manifest's order, of each first those without k, then k0 = 0, then k0 > 0.

    Trials of earlier plans count too. A study that has neither a planned nor a trained trial has no line.
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
    """Trials of the latest plan that have no row; those with a row keep its place, and the row says the rest."""
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
