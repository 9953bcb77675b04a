"""Kills processes at random moments of one sweep after another, and runs each sweep again until it is complete."""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.store.store import Store
from tests.chaos.journal import Repeated, read_journal, repeated
from tests.chaos.victims import KINDS, find, hit
from tests.chaos.workplace import GONE_WITHIN_S, Workplace
from tests.integration.sweep_process import SweepProcess, live_of, plans_of

SHARES = {"worker": 0.52, "driver": 0.12, "supervisor": 0.12, "raylet": 0.12, "gcs": 0.12}
SHARE_AT_ANY_TIME = 0.25
"""Share of the kills that may happen while the run is starting; the others happen while packs train."""
LONGEST_DELAY_S = {"any": 10.0, "training": 2.5}
PATIENCE_S = 120.0
RUNS_AT_MOST = 60
_POLL_S = 0.05


@dataclass
class Kill:
    """One kill and its consequences."""

    kind: str
    moment: str
    """`training` or `any`."""
    at: float
    attempt: int = 0
    """The newest attempt of the run at that time."""
    noticed_s: float | None = None
    """Seconds until the replacement of the lost process began; None if the next kill or the end of the run came first."""
    again_s: float | None = None
    """Seconds until a pack that began after the kill had finished an epoch."""
    work: Repeated = field(default_factory=lambda: Repeated(0, 0.0))


@dataclass
class Sweep:
    """One sweep, from its first run until it is complete."""

    folder: Path
    kills: list[Kill] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether every trial exists once with the undisturbed result, and nothing else is left."""
        return self.exit_codes[-1:] == [0] and not self.differences and not self.leftovers


def schedule(n_kills: int, seed: int) -> list[tuple[str, str]]:
    """Return kinds and moments in random order; each kind gets its share, rounded up for all but workers."""
    chance = random.Random(seed)
    counts = {kind: -(-n_kills * round(100 * SHARES[kind]) // 100) for kind in KINDS if kind != "worker"}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    kinds += ["worker"] * max(1, n_kills - len(kinds))
    chance.shuffle(kinds)
    return [(kind, "any" if chance.random() < SHARE_AT_ANY_TIME else "training") for kind in kinds[:n_kills]]


def kill_sweeps(
    folder: Path,
    n_trials: int,
    planned: Sequence[tuple[str, str]],
    reference: dict[str, dict[str, Any]],
    seed: int,
    tell: Callable[[str], None],
    seconds: float = math.inf,
) -> Iterator[Sweep]:
    """Run sweeps of `n_trials` until every planned kill has been made.

    Args:
        folder: the folder of the sweeps.
        n_trials: of each sweep.
        planned: kinds and moments, from `schedule`.
        reference: the result of `undisturbed`.
        seed: seed of the moments.
        tell: called with a line of progress from time to time.
        seconds: time after which no more kills are made; the current sweep is completed.
    """
    chance, left = random.Random(seed + 1), list(planned)
    deadline, number = time.monotonic() + seconds, 0
    while left and time.monotonic() < deadline:
        number += 1
        sweep = Sweep(folder / f"sweep{number}")
        _disturb(sweep, Workplace.make(sweep.folder, n_trials), left, reference, chance, deadline)
        tell(f"sweep {number}: {len(sweep.kills)} kills, {len(sweep.exit_codes)} runs, {sweep.seconds:.0f} s, {len(left)} kills left")
        yield sweep


def _disturb(
    sweep: Sweep,
    place: Workplace,
    left: list[tuple[str, str]],
    reference: dict[str, dict[str, Any]],
    chance: random.Random,
    deadline: float,
) -> None:
    """Run, kill and run again until the sweep is complete; the kills are taken from `left`."""
    started = time.monotonic()
    while 0 not in sweep.exit_codes and len(sweep.exit_codes) < RUNS_AT_MOST:
        with place.run() as process:
            while left and process.process.poll() is None and time.monotonic() < deadline:
                kill = _kill_next(process, place, *left[0], sweep.kills, chance)
                if kill is None:
                    break
                left.pop(0)
                sweep.kills.append(kill)
                if kill.kind == "supervisor":
                    break
            _watch(process, place, sweep.kills, lambda: False, 10 * PATIENCE_S)
            sweep.exit_codes.append(process.wait(1).code)
            process.until_all_are_gone(GONE_WITHIN_S)
            if sweep.kills and sweep.kills[-1].kind == "supervisor" and sweep.kills[-1].noticed_s is None:
                sweep.kills[-1].noticed_s = time.monotonic() - sweep.kills[-1].at
    sweep.seconds = time.monotonic() - started
    sweep.leftovers = place.leftovers()
    sweep.differences = place.differences(reference)
    for kill, work in zip(sweep.kills, repeated(read_journal(place.journal), [kill.at for kill in sweep.kills]), strict=True):
        kill.work = work


def _kill_next(
    process: SweepProcess, place: Workplace, kind: str, moment: str, kills: Sequence[Kill], chance: random.Random
) -> Kill | None:
    """Wait for the moment, then kill; return None if the run ended first."""
    seen_at = time.monotonic()
    if moment == "training" and not _watch(process, place, kills, lambda: _trains(place, kills), PATIENCE_S):
        return None
    delay = chance.uniform(0, LONGEST_DELAY_S[moment])
    ready = time.monotonic() + delay if moment == "training" else seen_at + delay
    _watch(process, place, kills, lambda: time.monotonic() >= ready, PATIENCE_S)
    victim: list[int] = []

    def is_found() -> bool:
        victim[:] = [pid for pid in [find(process, kind, chance)] if pid is not None]
        return bool(victim)

    while _watch(process, place, kills, is_found, PATIENCE_S):
        kill = Kill(kind, moment, time.monotonic(), max(plans_of(place.out), default=0))
        if hit(victim[0]):
            return kill
    return None


def _watch(process: SweepProcess, place: Workplace, kills: Sequence[Kill], condition: Callable[[], Any], patience: float) -> bool:
    """Wait until the condition holds (True) or the run has ended (False), and meanwhile observe the consequences of the last kill.

    Raises:
        AssertionError: neither happened in time.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if kills:
            _look(place, kills[-1])
        if condition():
            return True
        if process.process.poll() is not None:
            return False
        time.sleep(_POLL_S)
    raise AssertionError(f"nothing happened for {patience:.0f} s after {kills[-1:]}\n{process.printed()}\n{process.living()}")


def _trains(place: Workplace, kills: Sequence[Kill]) -> bool:
    """Return whether a pack trains, if possible one that began after the last kill."""
    if kills and kills[-1].again_s is None and time.monotonic() - kills[-1].at < PATIENCE_S / 4:
        return False
    return bool(live_of(place.out))


def _look(place: Workplace, kill: Kill) -> None:
    """Record whether the run has noticed the kill, and whether a replacement pack has finished an epoch."""
    since = time.monotonic() - kill.at
    wall = time.time() - since
    packs = [live for live in Store(place.out).live() if live["started"] > wall]
    if kill.kind == "worker":
        packs = [live for live in packs if live["retry"] > 0 or live["attempt"] > kill.attempt]
    is_replaced = bool(packs) if kill.kind == "worker" else max(plans_of(place.out), default=0) > kill.attempt
    if kill.noticed_s is None and is_replaced and kill.kind != "supervisor":
        kill.noticed_s = since
    if kill.again_s is None and any("epoch" in live for live in packs):
        kill.again_s = since
