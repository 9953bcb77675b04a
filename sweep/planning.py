"""From a grid file to trials, and from trials that are not complete to packs."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from sweep.config import Study, SweepConfig
from sweep.grid.studies import ANCHOR_STUDY, dense_givers
from sweep.outcome import SweepError
from sweep.schema import SCHEMA_VERSION
from sweep.storage.remote import StorePath
from sweep.store import Checkpoint, Store, StoreError
from sweep.warm_starts import Vector, nearest_dense
from trainer.catalog import METHODS
from trainer.facts import SPARSITY
from trainer.own_problem import OwnProblem
from trainer.own_source import ProblemError, changed_modules
from trainer.settings import read_by

_ID_LENGTH = 16
_SAMPLES_PER_EPOCH = 60_000
_PACKS_PER_WORKER = 2


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


@dataclass(frozen=True)
class PackPlan:
    """Trials of one study and seed that one worker trains in lockstep."""

    pack_id: str
    trials: tuple[Trial, ...]
    checkpoint: Checkpoint | None = None
    """An unfinished checkpoint that includes these trials."""


@dataclass(frozen=True)
class Plan:
    """What a grid file asks for, and what is left to do."""

    trials: tuple[Trial, ...]
    complete: Mapping[str, str]
    """trial_id -> state, of the trials asked for."""
    packs: tuple[PackPlan, ...]
    """What can be trained now."""
    n_waiting: int
    """Trials of studies whose `after` is not complete, and those whose giver is not."""

    @property
    def n_todo(self) -> int:
        """Trials that are not complete."""
        return len(self.trials) - len(self.complete)


def fingerprint_of(config: SweepConfig) -> str:
    """SHA-256 over all that the problem's data and networks depend on.

    Raises:
        SweepError: the source of an own problem changed after the config was loaded, or its `fingerprint` fails.
    """
    try:
        return config.problem.entry.fingerprint(config.problem.options)
    except ProblemError as error:
        raise SweepError(str(error)) from error


def refuse_changed_source(stored: Mapping[str, Any], asked: Mapping[str, Any], root: StorePath) -> None:
    """Say it clearly when of two manifests only what an own problem consists of differs; other differences are told elsewhere.

    Raises:
        StoreError: the same problem with the same options, whose source or data changed.
    """
    old, new = stored.get("problem"), asked["problem"]
    if not isinstance(old, dict) or "sources" not in new or any(old.get(key) != new[key] for key in ("name", "options")):
        return
    changed = changed_modules(old.get("sources") or {}, new["sources"])
    hint = "choose another `output`, or undo the change: trials of both would not be comparable"
    if changed:
        raise StoreError(f"the source of {new['name']} changed since this folder was begun ({', '.join(changed)})", root, hint)
    if old.get("fingerprint") != new["fingerprint"]:
        raise StoreError(f"the data of {new['name']} changed since this folder was begun (its `fingerprint` says so)", root, hint)


def manifest_of(config: SweepConfig, created: str) -> dict[str, Any]:
    """The identity of the sweep, as `manifest.json` holds it (docs/store.md).

    With `reference_point: auto`, `reference_point_values` is None until the anchor runs are complete.
    """
    name, facts = config.problem.name, config.problem.facts
    problem = {"name": name, "options": asdict(config.problem.options), "fingerprint": fingerprint_of(config)}
    if isinstance(config.problem.entry, OwnProblem):
        problem["sources"] = dict(config.problem.entry.source.digests)
    reference = list(config.given_reference or [0.0] * len(facts.objectives))
    sparsity = [{"name": SPARSITY, "column": "objective.sparsity", "sense": "min", "unit": "GrOWL norm"}] if facts.has_sparsity else []
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "created": created,
        "problem": problem,
        "tasks": list(facts.tasks),
        "metrics": dict(facts.metrics),
        "studies": [_study_identity(study) for study in config.resolved_studies],
        "scaling": config.scaling,
        "reference_point": config.reference_point if config.has_auto_reference else reference,
        "reference_point_values": None if config.has_auto_reference else reference,
        "objectives": [
            *sparsity,
            *(
                {"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": unit}
                for task, unit in zip(facts.tasks, facts.loss_units, strict=True)
            ),
        ],
        "hypervolume_reference": list(config.hypervolume_reference) if config.hypervolume_reference else None,
        "hypervolume_reference_given": config.hypervolume_reference is not None,
        "true_front": [list(point) for point in facts.true_front()] if facts.true_front else None,
    }


def _study_identity(study: Study) -> dict[str, Any]:
    """What the manifest says of a study; most of them wait for none or one, which is no list there."""
    after = (None, *study.after)[-1] if len(study.after) < 2 else list(study.after)
    identity: dict[str, Any] = {"name": study.name, "model": study.model, "method": study.method, "after": after}
    identity["training"] = read_by(study.method, study.training)
    if study.name == ANCHOR_STUDY:
        identity["seed"] = study.seeds[0]  # another one would be another reference point
    return identity | {key: getattr(study, key) for key in ("candidate_of", "tuned_by") if getattr(study, key)}


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
        givers = [other for other in study.after if by_name[other].candidate_of or by_name[other].method == METHODS[study.method].giver]
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


def plan_packs(
    config: SweepConfig,
    trials: Sequence[Trial],
    states: Mapping[str, str],
    checkpoints: Iterable[Checkpoint],
    n_workers: int,
    n_sweeps: int = 1,
) -> Plan:
    """Divide what is not complete into packs.

    Unfinished checkpoints are adopted first, so another pack size loses nothing. New packs hold trials of one study,
    seed and kind (dense or sparse), evenly filled; the largest come first. A trial that starts from another one's network
    waits until that is complete.

    Args:
        config: the grid file.
        trials: all trials asked for.
        states: trial_id -> state of every complete row of the store.
        checkpoints: what the store holds of unfinished packs.
        n_workers: how many packs can run at once (an estimate is enough).
        n_sweeps: how many unfinished sweeps share the workers.
    """
    complete = {trial.trial_id: states[trial.trial_id] for trial in trials if trial.trial_id in states}
    waits_for = {study.name: study.after for study in config.resolved_studies}
    unfinished = {trial.study for trial in trials if trial.trial_id not in complete}
    ready, n_waiting = {}, 0
    for trial in trials:
        if trial.trial_id in complete:
            continue
        if not unfinished.isdisjoint(waits_for[trial.study]) or (trial.giver is not None and trial.giver not in states):
            n_waiting += 1
        else:
            ready[trial.trial_id] = trial
    packs = []
    for checkpoint in sorted(checkpoints, key=lambda c: (-c.epoch, c.pack_id)):
        by_study: dict[str, list[Trial]] = {}
        for trial in [ready.pop(trial_id) for trial_id in checkpoint.trial_ids if trial_id in ready]:
            by_study.setdefault(trial.study, []).append(trial)  # a trial may have come to another study since
        packs += [PackPlan(_pack_id(part), tuple(part), checkpoint) for part in by_study.values()]
    groups: dict[tuple[str, int, bool], list[Trial]] = {}
    for trial in ready.values():
        groups.setdefault((trial.study, trial.seed, trial.is_dense), []).append(trial)
    size = pack_size(config, len(ready), n_workers, n_sweeps)
    # A few groups must fill the workers evenly; many do by themselves.
    multiple = max(1, n_workers // n_sweeps) if config.resources.pack == "auto" and len(groups) < 4 * n_workers else 1
    whole = {study.name for study in config.resolved_studies if METHODS[study.method].shares_network}
    parts = [[tuple(group)] if key[0] in whole else _even_parts(group, size, multiple) for key, group in groups.items()]
    fresh = [PackPlan(_pack_id(part), part) for of_group in parts for part in of_group]
    fresh.sort(key=lambda pack: -len(pack.trials))
    return Plan(tuple(trials), complete, (*packs, *fresh), n_waiting)


def plan_sweeps(sweeps: Sequence[tuple[SweepConfig, Sequence[Trial], Store]], n_workers: int) -> tuple[Plan, ...]:
    """Plan sweeps that share the workers, each from its results folder, which need not exist.

    Raises:
        StoreError: a folder cannot be read.
    """
    found = []
    for _, _, store in sweeps:
        is_new = store.manifest() is None
        found.append(({}, []) if is_new else (store.complete(), store.checkpoints()))
    unfinished = [any(trial.trial_id not in states for trial in trials) for (_, trials, _), (states, _) in zip(sweeps, found, strict=True)]
    n_sweeps = max(1, sum(unfinished))
    return tuple(
        plan_packs(config, trials, states, checkpoints, n_workers, n_sweeps)
        for (config, trials, _), (states, checkpoints) in zip(sweeps, found, strict=True)
    )


def pack_size(config: SweepConfig, n_trials: int, n_workers: int, n_sweeps: int = 1) -> int:
    """The largest number of trials in a new pack.

    `auto` on a CPU: few enough that every worker gets at least two packs (of this sweep, or of those that share the
    workers) and one epoch of a pack stays in the seconds (60,000 samples), so that progress is visible and a fault
    repeats little. On GPUs as many as there are workers for, in one pack each: a step takes about as long for one trial as
    for many, and a worker divides what its memory is not enough for.
    """
    if config.resources.pack != "auto":
        return int(config.resources.pack)
    if config.resources.uses_gpus:
        return max(1, math.ceil(n_trials / max(1, n_workers // n_sweeps)))
    by_epoch = _SAMPLES_PER_EPOCH // config.problem.facts.n_train
    n_packs = math.ceil(max(1, n_workers) * _PACKS_PER_WORKER / n_sweeps)
    return max(1, min(by_epoch, math.ceil(n_trials / n_packs)))


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


def _even_parts(group: Sequence[Trial], size: int, multiple: int) -> list[tuple[Trial, ...]]:
    """Parts of at most `size` and of nearly the same length, their number a multiple of `multiple` if there are enough trials."""
    n_parts = math.ceil(len(group) / size)
    n_parts = min(len(group), math.ceil(n_parts / multiple) * multiple)
    bounds = [round(i * len(group) / n_parts) for i in range(n_parts + 1)]
    return [tuple(group[start:stop]) for start, stop in pairwise(bounds)]


def _pack_id(trials: Sequence[Trial]) -> str:
    digest = hashlib.sha256("|".join(trial.trial_id for trial in trials).encode()).hexdigest()[:8]
    return f"pack-{digest}-{len(trials)}"
