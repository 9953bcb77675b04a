"""Kills at random moments of one sweep after another, each sweep run again until it is complete."""

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
"""Of the kills: while the run may be starting; the others happen while packs train."""
LONGEST_DELAY_S = {"any": 10.0, "training": 2.5}
PATIENCE_S = 120.0
RUNS_AT_MOST = 60
_POLL_S = 0.05


@dataclass
class Kill:
    """One kill and what came of it."""

    kind: str
    moment: str
    """`training` or `any`."""
    at: float
    attempt: int = 0
    """The run's newest attempt then."""
    noticed_s: float | None = None
    """Until something began to replace what was lost; None where the next kill or the end came before."""
    again_s: float | None = None
    """Until a pack that began after the kill had finished an epoch."""
    work: Repeated = field(default_factory=lambda: Repeated(0, 0.0))


@dataclass
class Sweep:
    """One sweep, from its first run until it was complete."""

    folder: Path
    kills: list[Kill] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_well(self) -> bool:
        """Every trial once, as undisturbed, and nothing else there."""
        return self.exit_codes[-1:] == [0] and not self.differences and not self.leftovers


def schedule(n_kills: int, seed: int) -> list[tuple[str, str]]:
    """Kinds and moments in random order; each kind has its share, rounded up for all but workers."""
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
    """Sweeps of `n_trials` until every planned kill has been made.

    Args:
        folder: where they live.
        n_trials: of each sweep.
        planned: kinds and moments, from `schedule`.
        reference: what `undisturbed` returned.
        seed: of the moments.
        tell: called with a line now and then.
        seconds: after which no kill is made any more; the sweep that is on is completed.
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
    """Run, kill and run again until the sweep is complete; takes the kills that it makes from `left`."""
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
    """Wait for the moment, then kill; None where the run ended before there was one."""
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
    """Until the condition holds (True) or the run has ended (False); meanwhile see what came of the last kill.

    Raises:
        AssertionError: neither came.
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
    """Does a pack train, if possible one that began after the last kill?"""
    if kills and kills[-1].again_s is None and time.monotonic() - kills[-1].at < PATIENCE_S / 4:
        return False
    return bool(live_of(place.out))


def _look(place: Workplace, kill: Kill) -> None:
    """Has the run noticed; has a pack that replaces a lost one finished an epoch?"""
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
