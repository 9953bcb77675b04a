"""The division of the remaining trials into packs that keep all workers equally busy."""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sweep.grid.load import SweepConfig
from sweep.planning.placing import placing_of
from sweep.planning.trials import Trial, n_unplaced
from sweep.store.store import Checkpoint, Store
from trainer.catalog import METHODS

_SAMPLES_PER_EPOCH = 60_000
_PACKS_PER_WORKER = 2


@dataclass(frozen=True)
class PackPlan:
    """Trials of one study and seed that one worker trains in lockstep."""

    pack_id: str
    trials: tuple[Trial, ...]
    checkpoint: Checkpoint | None = None
    """An unfinished checkpoint that includes these trials."""


@dataclass(frozen=True)
class Plan:
    """All trials of a grid file, and the packs that remain to be trained."""

    trials: tuple[Trial, ...]
    complete: Mapping[str, str]
    """Maps the id of each complete trial to its state."""
    packs: tuple[PackPlan, ...]
    """The packs that can be trained now."""
    n_waiting: int
    """Number of trials that cannot start yet: their study waits for another one, they start from a dense trial that is not complete, or
    another pack is training them."""
    n_unplaced: int = 0
    """Number of trials whose vectors are still to be placed (`preferences: {front: ...}`)."""
    placing: tuple[Mapping[str, Any], ...] = ()
    """How far the placing of each such study has come, see `sweep.planning.placing.placing_of`."""

    @property
    def n_todo(self) -> int:
        """The number of trials that are not complete."""
        return len(self.trials) - len(self.complete) + self.n_unplaced


def plan_packs(
    config: SweepConfig,
    trials: Sequence[Trial],
    states: Mapping[str, str],
    checkpoints: Iterable[Checkpoint],
    n_workers: int,
    n_sweeps: int = 1,
    *,
    limit: int | None = None,
    running: Collection[str] = (),
) -> Plan:
    """Divide the trials that are not complete into packs.

    Unfinished checkpoints are adopted first, so a change of the pack size loses no epoch. A new pack holds trials of one study,
    seed and kind (dense or sparse). New packs are equally filled, and the largest come first. Those of a study whose vectors are placed
    in rounds give each worker equally many trials, at most one more or less, so that no worker waits for the end of a round longer than
    one trial takes. A trial that starts from another trial's network waits until that trial is complete.

    Args:
        config: the sweep.
        trials: all trials of the sweep.
        states: maps the id of every complete trial in the store to its state.
        checkpoints: the checkpoints of unfinished packs in the store.
        n_workers: how many packs can run at once (an estimate is enough).
        n_sweeps: how many unfinished sweeps share the workers.
        limit: the limit with which `trials` were listed.
        running: the ids of trials that are being trained, which no pack of the plan contains.

    Returns:
        The plan, with the packs in the order in which they should start.
    """
    complete = {trial.trial_id: states[trial.trial_id] for trial in trials if trial.trial_id in states}
    waits_for = {study.name: study.after for study in config.resolved_studies}
    unfinished = {trial.study for trial in trials if trial.trial_id not in complete}
    to_place = n_unplaced(config, trials, limit)
    if to_place:
        unfinished |= {study.name for study in config.resolved_studies if study.n_unplaced}
    ready, n_waiting = {}, 0
    for trial in trials:
        if trial.trial_id in complete:
            continue
        if (
            trial.trial_id in running
            or not unfinished.isdisjoint(waits_for[trial.study])
            or (trial.warm_start is not None and trial.warm_start not in states)
        ):
            n_waiting += 1
        else:
            ready[trial.trial_id] = trial
    packs = []
    for checkpoint in sorted(checkpoints, key=lambda c: (-c.epoch, c.pack_id)):
        by_study: dict[str, list[Trial]] = {}
        for trial in [ready.pop(trial_id) for trial_id in checkpoint.trial_ids if trial_id in ready]:
            by_study.setdefault(trial.study, []).append(
                trial
            )  # a trial may belong to a different study than when the checkpoint was written
        packs += [PackPlan(_pack_id(part), tuple(part), checkpoint) for part in by_study.values()]
    groups: dict[tuple[str, int, bool], list[Trial]] = {}
    for trial in ready.values():
        groups.setdefault((trial.study, trial.seed, trial.is_dense), []).append(trial)
    size = pack_size(config, len(ready), n_workers, n_sweeps)
    # A small number of groups must be divided so that all workers get equally many packs; many groups balance out by themselves.
    multiple = max(1, n_workers // n_sweeps) if config.resources.pack == "auto" and len(groups) < 4 * n_workers else 1
    whole = {study.name for study in config.resolved_studies if METHODS[study.method].shares_network}
    in_rounds = {study.name for study in config.resolved_studies if study.placing is not None}
    parts = [
        [tuple(group)]
        if key[0] in whole
        else _even_parts(group, _size_in_round(config, len(group), size, n_workers) if key[0] in in_rounds else size, multiple)
        for key, group in groups.items()
    ]
    fresh = [PackPlan(_pack_id(part), part) for of_group in parts for part in of_group]
    fresh.sort(key=lambda pack: -len(pack.trials))
    return Plan(tuple(trials), complete, (*packs, *fresh), n_waiting, to_place, tuple(placing_of(config)))


def plan_sweeps(
    sweeps: Sequence[tuple[SweepConfig, Sequence[Trial], Store]],
    n_workers: int,
    *,
    limit: int | None = None,
    running: Collection[str] = (),
) -> tuple[Plan, ...]:
    """Plan sweeps that share the workers. A results folder need not exist yet.

    Args:
        sweeps: each sweep with its trials and its store.
        n_workers: how many packs can run at once (an estimate is enough).
        limit: the limit with which the trials of each sweep were listed.
        running: as for `plan_packs`.

    Returns:
        One plan per sweep.

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
        plan_packs(config, trials, states, checkpoints, n_workers, n_sweeps, limit=limit, running=running)
        for (config, trials, _), (states, checkpoints) in zip(sweeps, found, strict=True)
    )


def pack_size(config: SweepConfig, n_trials: int, n_workers: int, n_sweeps: int = 1) -> int:
    """Return the largest number of trials in a new pack.

    With `pack: auto` on a CPU, packs are small enough that every worker gets at least two (of this sweep, or of all that share the
    workers) and that one epoch of a pack takes seconds (60,000 samples), so that progress is visible and little is repeated after an
    error. On GPUs each worker gets one pack, because a step takes about as long for many trials as for one; a worker divides a pack
    that does not fit into its memory.

    Args:
        config: the sweep.
        n_trials: number of trials that can be trained now.
        n_workers: how many packs can run at once.
        n_sweeps: how many unfinished sweeps share the workers.
    """
    if config.resources.pack != "auto":
        return int(config.resources.pack)
    if config.resources.uses_gpus:
        return max(1, math.ceil(n_trials / max(1, n_workers // n_sweeps)))
    by_epoch = _SAMPLES_PER_EPOCH // config.problem.facts.n_train
    n_packs = math.ceil(max(1, n_workers) * _PACKS_PER_WORKER / n_sweeps)
    return max(1, min(by_epoch, math.ceil(n_trials / n_packs)))


def _even_parts(group: Sequence[Trial], size: int, multiple: int) -> list[tuple[Trial, ...]]:
    """Split a group into parts of nearly equal length, at most `size`; their number is a multiple of `multiple` if possible."""
    n_parts = math.ceil(len(group) / size)
    n_parts = min(len(group), math.ceil(n_parts / multiple) * multiple)
    bounds = [round(i * len(group) / n_parts) for i in range(n_parts + 1)]
    return [tuple(group[start:stop]) for start, stop in pairwise(bounds)]


def _size_in_round(config: SweepConfig, n_trials: int, size: int, n_workers: int) -> int:
    """Return the largest number of trials in a pack of a round, whose trials all start and end together.

    Each worker gets one pack, if an epoch of it takes no longer than seconds: a second pack would cost the start of one more process.
    """
    if config.resources.pack != "auto" or config.resources.uses_gpus:
        return size
    return max(1, min(_SAMPLES_PER_EPOCH // config.problem.facts.n_train, math.ceil(n_trials / max(1, n_workers))))


def _pack_id(trials: Sequence[Trial]) -> str:
    digest = hashlib.sha256("|".join(trial.trial_id for trial in trials).encode()).hexdigest()[:8]
    return f"pack-{digest}-{len(trials)}"
