"""The trials of a sweep and their ids."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.grid.load import Study, SweepConfig
from sweep.grid.resolve import ANCHOR_STUDY, studies_to_start_from
from sweep.planning.inherit import Vector, nearest_dense
from sweep.planning.manifest import fingerprint_of
from trainer.catalog import METHODS, read_by

_ID_LENGTH = 16


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep: one preference vector and one seed of one study."""

    trial_id: str
    study: str
    preference: tuple[float, ...] | None
    """Shape (1 + n_tasks,); None for a method without preferences."""
    seed: int
    warm_start: str | None = None
    """The id of the trial whose network this one starts from (`training.warm_start: neighbour`); None for the initial network."""

    @property
    def is_dense(self) -> bool:
        """Whether k0 = 0, so that nothing is pruned and the schedule differs from that of sparse trials."""
        return self.preference is None or self.preference[0] == 0


def trials_of(config: SweepConfig, limit: int | None = None) -> tuple[Trial, ...]:
    """Return all trials of a sweep, in the order of its studies, seeds and preferences.

    If sparse trials start from dense ones (`training.warm_start: neighbour`), the dense trials of each seed come first.

    A trial's id is a hash of everything that its result depends on (problem, data, model, method, training, scaling,
    reference point, preference, seed) and of nothing else, so a larger grid keeps the ids of a smaller one. For
    `reference_point: auto` the hash contains the anchor runs instead of their results, and for a warm start the id of the dense
    trial instead of its network, so that ids are known before anything is trained. Dense trials have the same ids with and
    without warm starts.

    Of a study whose vectors are placed in rounds, these are the trials placed so far.

    Args:
        config: the sweep.
        limit: return only this many trials, the first ones; None returns all. Vectors that are still to be placed count, too, so that
            the trials of later studies are the same before and after.

    Raises:
        SweepError: the source of a custom problem changed after the config was loaded, or its `fingerprint` fails.
    """
    trials: dict[str, Trial] = {}
    n_left = math.inf if limit is None else limit
    for study, _, of_seed in _by_seed(config):
        new = [trial for trial in of_seed if trial.trial_id not in trials]
        taken = new if len(new) <= n_left else new[: int(n_left)]
        trials |= {trial.trial_id: trial for trial in taken}
        n_left = max(0, n_left - len(taken) - study.n_unplaced)
    return tuple(trials.values())


def n_unplaced(config: SweepConfig, trials: Sequence[Trial], limit: int | None = None) -> int:
    """Return how many trials will follow from vectors that are still to be placed.

    Args:
        config: the sweep.
        trials: its trials so far, from `trials_of` with the same limit.
        limit: train only this many trials.
    """
    total = sum(study.n_unplaced * len(study.seeds) for study in config.resolved_studies)
    return total if limit is None else min(total, max(0, limit - len(trials)))


def trials_of_seed(config: SweepConfig, name: str, seed: int) -> list[Trial]:
    """Return the trials of one study and seed in the order of its vectors; some may belong to an earlier study, too.

    Raises:
        SweepError: as for `trials_of`.
    """
    found = next(of_seed for study, own, of_seed in _by_seed(config) if (study.name, own) == (name, seed))
    place = {vector: index for index, vector in enumerate(next(s for s in config.resolved_studies if s.name == name).preferences)}
    return sorted(found, key=lambda trial: place[trial.preference])


def _by_seed(config: SweepConfig) -> Iterator[tuple[Study, int, list[Trial]]]:
    """Yield the trials of each study and seed."""
    fingerprint = fingerprint_of(config)
    ids: dict[str, dict[int, list[str]]] = {}  # study -> seed -> trial ids
    dense: dict[tuple[str, int], dict[Vector, str]] = {}  # (study, seed) -> vector -> trial id
    by_name = {study.name: study for study in config.resolved_studies}
    reference: Any = config.given_reference if any(config.given_reference or ()) else None
    for study in config.resolved_studies:
        facts = _facts(config, study, config.problem.name, fingerprint)
        if study.name == ANCHOR_STUDY:
            reference = {"auto": facts | {"seed": study.seeds[0]}}
        else:
            facts["reference_point"] = reference if study.preferences != (None,) else None
        if METHODS[study.method].depends_on_grid:
            facts["grid"] = study.preferences
        sources = [
            other for other in study.after if by_name[other].candidate_of or by_name[other].method == METHODS[study.method].inherits_from
        ]
        for seed in study.seeds:
            if sources:  # the inherited network or settings depend on every trial that they may be chosen from
                facts["from"] = [ids[other].get(seed, ids[other]) if not by_name[other].candidate_of else ids[other] for other in sources]
            of_seed = list(_trials_of_seed(study, seed, facts, _earlier_dense(study, by_name, dense, seed)))
            ids.setdefault(study.name, {})[seed] = [trial.trial_id for trial in of_seed]
            dense[study.name, seed] = {trial.preference: trial.trial_id for trial in of_seed if trial.preference and trial.is_dense}
            yield study, seed, of_seed


def _earlier_dense(
    study: Study, studies: Mapping[str, Study], dense: Mapping[tuple[str, int], dict[Vector, str]], seed: int
) -> dict[Vector, str]:
    """Return the dense trials of other studies whose networks this study may start from, as a mapping from vector to id.

    If several studies have a dense trial with the same vector, the first one is used.
    """
    earlier: dict[Vector, str] = {}
    for other in studies_to_start_from(study, studies):
        earlier = dense.get((other.name, seed), {}) | earlier
    return earlier


def _trials_of_seed(study: Study, seed: int, facts: dict[str, Any], earlier: Mapping[Vector, str]) -> Iterator[Trial]:
    """Yield the trials of a study and seed, first those that start from the initial network.

    `earlier` maps the vectors of dense trials of other studies to their ids.
    """
    is_warm = "warm_start" in facts["training"]
    cold = facts | {"training": {key: value for key, value in facts["training"].items() if key != "warm_start"}}
    shared = _shared_digest(cold, seed)
    sparse, dense = [], dict(earlier)
    rounds = study.placing.rounds if study.placing is not None else (0,) * len(study.preferences)
    round_of = dict(zip(study.preferences, rounds, strict=True))
    for preference in study.preferences:
        if is_warm and preference is not None and preference[0] > 0:
            sparse.append(preference)
            continue
        trial = Trial(_digest(shared, preference), study.name, preference if preference is None else tuple(preference), seed)
        if preference is not None:
            dense[tuple(preference)] = trial.trial_id
        yield trial
    for preference in sparse:
        # A dense network of a later round must not change the start, and so the id, of an earlier trial.
        usable = [vector for vector in dense if round_of.get(vector, 0) < max(2, round_of[preference])]
        start = dense[nearest_dense(preference, usable)]
        warm = _shared_digest(facts | {"giver": start}, seed)  # this key is part of the hash, and so of every id
        yield Trial(_digest(warm, preference), study.name, tuple(preference), seed, start)


def _shared_digest(facts: Mapping[str, Any], seed: int) -> Any:
    """Return the digest of everything that the trials share, which may be long (the whole grid) and is therefore hashed only once."""
    return hashlib.sha256(f"{json.dumps(facts, sort_keys=True)}|{seed}|".encode())


def _digest(shared: Any, preference: Sequence[float] | None) -> str:
    digest = shared.copy()
    digest.update(json.dumps(preference).encode())
    return str(digest.hexdigest()[:_ID_LENGTH])


def _facts(config: SweepConfig, study: Study, problem: str, fingerprint: str) -> dict[str, Any]:
    """Return everything that the results of a study depend on, with the origin as the reference point."""
    return {
        "problem": problem,
        "fingerprint": fingerprint,
        "model": study.model,
        "method": study.method,
        "training": read_by(study.method, study.training),
        "scaling": config.scaling,
        "reference_point": None,
    }
