"""Preference vectors that are placed in rounds (`preferences: {front: ...}`): the rounds of a results folder, and the next one.

The rounds are records of the results folder. A study's vectors are those of its rounds, cut at `n` and where `until` ends the placing;
neither changes what a record holds, so that a larger n or another `until` continues the same sequence. A round is placed when every
trial of the earlier rounds is complete for the study's first seed; its vectors are then trained for all seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.pareto.placing import N_PROMISED, Placed, Results, Round, end_vectors, next_round
from sweep.grid.load import Study, SweepConfig
from sweep.grid.study import Placing
from sweep.planning.trials import Trial, trials_of_seed
from sweep.store.store import Store

_COLUMNS = ("k", "sparsity_rate", "objective.sparsity", "anchors", "reference_point")


def with_placed(config: SweepConfig, store: Store) -> SweepConfig:
    """Return the sweep with the vectors that its results folder says were placed so far. A folder need not exist yet.

    Raises:
        StoreError: the record of a round cannot be read.
    """
    placed = [_with_rounds(study, store.placements(study.name)) if study.placing else study for study in config.resolved_studies]
    return config.model_copy(update={"resolved_studies": tuple(placed)})


def place_rounds(config: SweepConfig, store: Store, *, writes: bool) -> tuple[SweepConfig, list[str]]:
    """Place every round whose earlier rounds are complete.

    Args:
        config: the sweep.
        store: its results folder; if `writes`, it must exist, and the caller must hold its lock.
        writes: whether to store the rounds; without it, the result says what a run would do.

    Returns:
        The sweep with all vectors placed so far, and a message for each new round and each end of a placing.

    Raises:
        StoreError: a record or a row cannot be read, or a record cannot be written.
        SweepError: as for `trials_of`.
    """
    messages: list[str] = []
    placed = list(config.resolved_studies)
    for index, asked in enumerate(placed):
        if asked.placing is None:
            continue
        records = store.placements(asked.name)
        while True:
            study = placed[index] = _with_rounds(asked, records)
            assert study.placing is not None
            if records and not study.n_unplaced:
                break
            whole = config.model_copy(update={"resolved_studies": tuple(placed)})
            following = _next_round(whole, study, len(records), store)
            if following is None:
                break
            record = _record(following, study.placing)
            number = len(records) + 1
            records = [*records, store.write_placement(study.name, number, record) if writes else {"round": number, **record}]
            messages.append(_message(_with_rounds(asked, records), records))
    return config.model_copy(update={"resolved_studies": tuple(placed)}), messages


def _next_round(config: SweepConfig, study: Study, n_rounds: int, store: Store) -> Round | None:
    """Return the round that follows `n_rounds` earlier ones; None while trials of these are not complete."""
    placing = study.placing
    assert placing is not None
    if not n_rounds:
        return Round("ends", end_vectors(placing.objectives, placing.has_sparsity))
    trials = trials_of_seed(config, study.name, study.seeds[0])
    complete = store.complete() if store.manifest() is not None else {}
    if any(trial.trial_id not in complete for trial in trials):
        return None
    return next_round(placing.objectives, placing.has_sparsity, n_rounds, _results(config, placing, trials, store))


def _results(config: SweepConfig, placing: Placing, trials: Sequence[Trial], store: Store) -> Results:
    """Return what the trials of the earlier rounds measured, in the order in which they were placed."""
    tasks = config.problem.facts.tasks
    losses = [f"loss.validation.{task}" for task in tasks]
    rows = {row["trial_id"]: row for row in store.read_rows([trial.trial_id for trial in trials], [*_COLUMNS, *losses]).to_pylist()}
    first = 0 if placing.has_sparsity else 1
    names = ["objective.sparsity", *losses][first:]
    values = [[_number(rows[trial.trial_id], name) for name in names] for trial in trials]
    rates = [_number(rows[trial.trial_id], "sparsity_rate") for trial in trials]
    has_rates = placing.has_sparsity and all(np.isfinite(rate) for rate, row in zip(rates, values, strict=True) if np.isfinite(row).all())
    scale, origin = (_vector(rows, name, 1 + len(tasks), default) for name, default in (("anchors", 1.0), ("reference_point", 0.0)))
    return Results(
        preferences=[(trial.preference or ())[first:] for trial in trials],
        values=values,
        rates=rates if has_rates else None,
        origin=(origin * scale)[first:],
        scale=scale[first:],
        names=[trial.trial_id[:8] for trial in trials],
    )


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return float(value) if row["state"] == "ok" and value is not None else float("nan")


def _vector(rows: Mapping[str, Mapping[str, Any]], name: str, length: int, default: float) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return a vector that all rows share, from the first row that has it; 0 and missing values do not divide anything."""
    stored = next((row[name] for _, row in sorted(rows.items()) if row.get(name) is not None and len(row[name]) == length), None)
    found = np.full(length, default) if stored is None else np.asarray(stored, dtype=np.float64)
    return np.where(np.isfinite(found) & ((found > 0) | (name != "anchors")), found, default)


def _record(placed: Round, placing: Placing) -> dict[str, Any]:
    def k(one: Placed) -> list[float]:  # a trial's vector begins with k0, also where sparsity is not an objective
        return [*([] if placing.has_sparsity else [0.0]), *one.preference]

    vectors = [{"k": k(one), "reason": one.reason} for one in placed.placed]
    return {"kind": placed.kind, "vectors": vectors, "promised": placed.promised}


def _with_rounds(study: Study, records: Sequence[Mapping[str, Any]]) -> Study:
    """Return the study with the vectors of its rounds, cut at n and where the placing ends; without rounds, with those of the first."""
    placing = study.placing
    assert placing is not None
    if not records:
        return study
    vectors: list[tuple[float, ...]] = []
    rounds: list[int] = []
    end = None
    for record in records:
        end = _end(record, placing, len(vectors))
        if end is not None:
            break
        vectors += [tuple(float(share) for share in vector["k"]) for vector in record["vectors"]]
        rounds += [int(record["round"])] * len(record["vectors"])
    placed = replace(placing, rounds=tuple(rounds[: placing.n]), end=end if len(vectors) < placing.n else None)
    return replace(study, preferences=tuple(vectors[: placing.n]), placing=placed)


def _end(record: Mapping[str, Any], placing: Placing, n_placed: int) -> str | None:
    """Return why the placing ends before a round, as a clause; None if it goes on."""
    promised = record["promised"]
    if promised is not None and placing.gain is not None and promised < placing.gain:
        return (
            f"ended after {n_placed} of {placing.n} vectors: the {N_PROMISED} best gaps promise {100 * promised:.3g} % of the hypervolume, "
            f"less than {100 * placing.gain:.3g} %"
        )
    if not record["vectors"]:
        return f"ended after {n_placed} of {placing.n} vectors: no vector is left that differs by more than 5 % from all that were tried"
    return None


def _message(study: Study, records: Sequence[Mapping[str, Any]]) -> str:
    placing = study.placing
    assert placing is not None
    if placing.end is not None:
        return f"front {study.name}: {placing.end}"
    number, n_placed = len(records), len(placing.rounds)
    n_new = placing.rounds.count(number)
    return f"front {study.name}: round {number} ({records[-1]['kind']}) places {n_new} networks, {n_placed} of {placing.n} so far"


def placing_of(config: SweepConfig) -> list[dict[str, Any]]:
    """Return how far the placing of each study has come, as a plan stores it."""
    return [
        {
            "study": study.name,
            "n": study.placing.n,
            "n_placed": len(study.placing.rounds),
            "n_rounds": max(study.placing.rounds, default=0),
            "end": study.placing.end,
        }
        for study in config.resolved_studies
        if study.placing is not None
    ]


def placing_text(placing: Mapping[str, Any]) -> str:
    """Return one line on how far the placing of a study has come, from an entry of `placing_of`."""
    if placing["end"] is not None:
        return f"front {placing['study']}: {placing['end']}"
    n_left = placing["n"] - placing["n_placed"]
    later = ", later rounds follow from its results" if n_left else ""
    return f"front {placing['study']}: {placing['n_placed']} of {placing['n']} networks placed, round {placing['n_rounds']}{later}"
