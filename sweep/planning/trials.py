"""The trials of a grid file, and their ids."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.grid.load import Study, SweepConfig
from sweep.grid.resolve import ANCHOR_STUDY, dense_givers
from sweep.planning.inherit import Vector, nearest_dense
from sweep.planning.manifest import fingerprint_of
from trainer.catalog import METHODS, read_by

_ID_LENGTH = 16


@dataclass(frozen=True)
class Trial:
    """One preference vector, one seed, one study."""

    trial_id: str
    study: str
    preference: tuple[float, ...] | None
    """None for a method that has none."""
    seed: int
    giver: str | None = None
    """The trial whose network this one starts from (`training.warm_start: neighbour`); None for the initial network."""

    @property
    def is_dense(self) -> bool:
        """k0 = 0: nothing is pruned, so its schedule differs from the others'."""
        return self.preference is None or self.preference[0] == 0


def trials_of(config: SweepConfig, limit: int | None = None) -> tuple[Trial, ...]:
    """All trials of a grid file, in the order of its studies, seeds and preferences; the first `limit` if given. Where sparse
    trials start from dense ones (`training.warm_start: neighbour`), the dense ones of each seed come first.

    A trial's id is a hash of everything its result depends on (problem, data, model, method, training, scaling,
    reference point, preference, seed) and of nothing else, so a larger grid keeps the ids of a smaller one. For
    `reference_point: auto` it says which anchor runs the numbers come from, so that it is known before they are trained; with a
    warm start it says which trial gives the network, which depends on nothing but the grid. The ids of dense trials are the
    same with and without warm starts.
    """
    fingerprint = fingerprint_of(config)
    trials: dict[str, Trial] = {}
    ids: dict[str, dict[int, list[str]]] = {}  # study -> seed -> trial ids
    dense: dict[tuple[str, int], dict[Vector, str]] = {}  # of a study and seed: vector -> trial id
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
        givers = [
            other for other in study.after if by_name[other].candidate_of or by_name[other].method == METHODS[study.method].inherits_from
        ]
        for seed in study.seeds:
            if givers:  # what is taken over depends on all that it is chosen from
                facts["from"] = [ids[other].get(seed, ids[other]) if not by_name[other].candidate_of else ids[other] for other in givers]
            found = list(_trials_of_seed(study, seed, facts, _earlier_dense(study, by_name, dense, seed)))
            trials |= {trial.trial_id: trial for trial in found if trial.trial_id not in trials}
            ids.setdefault(study.name, {})[seed] = [trial.trial_id for trial in found]
            dense[study.name, seed] = {trial.preference: trial.trial_id for trial in found if trial.preference and trial.is_dense}
    return tuple(trials.values())[:limit]


def _earlier_dense(
    study: Study, studies: Mapping[str, Study], dense: Mapping[tuple[str, int], dict[Vector, str]], seed: int
) -> dict[Vector, str]:
    """The dense trials of other studies that may give networks to this one's, vector -> id; of two with one vector the first."""
    found: dict[Vector, str] = {}
    for giver in dense_givers(study, studies):
        found = dense.get((giver.name, seed), {}) | found
    return found


def _trials_of_seed(study: Study, seed: int, facts: dict[str, Any], earlier: Mapping[Vector, str]) -> Iterator[Trial]:
    """Trials of a study, those that start from the initial network first; `earlier`: dense ones of other studies."""
    is_warm = "warm_start" in facts["training"]
    cold = facts | {"training": {key: value for key, value in facts["training"].items() if key != "warm_start"}}
    begun = _begun(cold, seed)
    sparse, givers = [], dict(earlier)
    for preference in study.preferences:
        if is_warm and preference is not None and preference[0] > 0:
            sparse.append(preference)
            continue
        trial = Trial(_digest(begun, preference), study.name, preference if preference is None else tuple(preference), seed)
        if preference is not None:
            givers[tuple(preference)] = trial.trial_id
        yield trial
    for preference in sparse:
        giver = givers[nearest_dense(preference, list(givers))]
        warm = _begun(facts | {"giver": giver}, seed)
        yield Trial(_digest(warm, preference), study.name, tuple(preference), seed, giver)


def _begun(facts: Mapping[str, Any], seed: int) -> Any:
    """The digest of all that trials share, which may be long (the whole grid): hashed once, not for each of them."""
    return hashlib.sha256(f"{json.dumps(facts, sort_keys=True)}|{seed}|".encode())


def _digest(begun: Any, preference: Sequence[float] | None) -> str:
    ended = begun.copy()
    ended.update(json.dumps(preference).encode())
    return str(ended.hexdigest()[:_ID_LENGTH])


def _facts(config: SweepConfig, study: Study, problem: str, fingerprint: str) -> dict[str, Any]:
    """What all results of a study depend on; the reference point is the origin."""
    return {
        "problem": problem,
        "fingerprint": fingerprint,
        "model": study.model,
        "method": study.method,
        "training": read_by(study.method, study.training),
        "scaling": config.scaling,
        "reference_point": None,
    }
