"""One run at a time in an object store: every run that wants to work puts a claim, and whoever sees another's withdraws.

There is neither exclusive creation nor renaming there, but what was put is listed at once. Of two that put their claims and
then list, at least one sees the other, so two never both see nobody. A claim whose holder is dead is removed by the next
holder, whose own claim says so: a holder that only slept finds itself there, and ends.
"""

import contextlib
import json
import random
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sweep.store.errors import StoreError
from sweep.store.lock import Holder, locked
from sweep.store.remote.path import RemotePath

_TRIES = 8
_READS, _REREAD_S = 5, 0.05  # of a claim that seems torn
_BACK_OFF_S = (0.2, 1.0)


@dataclass(frozen=True)
class Claim:
    """Who claims the folder."""

    holder: Holder
    is_held: bool = False
    """It was alone when it looked; until then it may still withdraw."""
    taken_over: tuple[str, ...] = ()
    """Nonces of dead claims that this one came after."""

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """None when it is no claim."""
        holder = Holder.parse(data)
        if holder is None:
            return None
        found = json.loads(data)
        nonces = found.get("taken_over")
        return cls(holder, found.get("is_held") is True, tuple(map(str, nonces)) if isinstance(nonces, list) else ())

    def to_bytes(self) -> bytes:
        """As it is kept: a JSON object."""
        return json.dumps({**asdict(self.holder), "is_held": self.is_held, "taken_over": self.taken_over}, indent=2).encode()


class Claims:
    """The right to plan, compact and write plans in one results folder, while inside `with`.

    Args:
        path: the folder of the claims.
        patience: seconds without a heartbeat after which a holder on another host counts as dead; several heartbeats.
        beat_every: seconds between heartbeats.
    """

    def __init__(self, path: RemotePath, *, patience: float = 30.0, beat_every: float = 5.0) -> None:
        self.path = path
        self.patience = patience
        self.beat_every = beat_every
        self._claim = Claim(Holder.myself())
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Has someone taken it over, or deleted it? Known one heartbeat later at the latest."""
        return self._lost.is_set()

    def __enter__(self) -> Self:
        self._acquire()
        self._heart = threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        with contextlib.suppress(StoreError):  # left behind, it is a dead run's claim
            self._withdraw()

    def _acquire(self) -> None:
        """Claim, and stay if nobody else does.

        Raises:
            LockedError: another run holds the folder, or again and again began at the same moment.
        """
        rival = None
        for _ in range(_TRIES):
            dead = self._wait_until_dead(read_claims(self.path))
            self._claim = Claim(Holder.myself(), taken_over=tuple(dead))
            try:
                self._put(self._claim)
                others = self._others(dead)
                if not others:
                    self._claim = replace(self._claim, is_held=True)
                    self._put(self._claim)
            except BaseException:
                with contextlib.suppress(StoreError):
                    self._withdraw()
                raise
            if not others:
                for nonce in dead:
                    self._place(nonce).unlink(missing_ok=True)
                return
            self._withdraw()
            rival = others[0]
            if rival.is_held and self._is_alive(rival):
                raise locked(self.path, rival.holder)
            time.sleep(random.uniform(*_BACK_OFF_S))  # whoever sleeps less goes first
        assert rival is not None
        raise locked(self.path, rival.holder)

    def _others(self, dead: set[str]) -> list[Claim]:
        """Claims beside this one, without those that were judged."""
        mine = self._claim.holder.nonce
        return [claim for nonce, claim in read_claims(self.path).items() if nonce != mine and nonce not in dead]

    def _wait_until_dead(self, claims: dict[str, Claim]) -> set[str]:
        """The nonces of all these claims, once nobody stands behind them any more.

        Raises:
            LockedError: one that holds the folder is alive.
        """
        elsewhere = {}
        for nonce, claim in claims.items():
            if claim.holder.is_here():
                if claim.is_held and not claim.holder.is_dead():
                    raise locked(self.path, claim.holder)
            else:
                elsewhere[nonce] = claim
        deadline = time.monotonic() + self.patience
        now = claims
        while elsewhere and time.monotonic() < deadline:
            time.sleep(min(2.0, max(0.1, self.patience / 10)))
            now = read_claims(self.path)
            for nonce, claim in list(elsewhere.items()):
                later = now.get(nonce)
                if later is None:
                    del elsewhere[nonce]  # released
                elif later.holder.heartbeat != claim.holder.heartbeat:
                    raise locked(self.path, later.holder)
        here = {nonce for nonce, claim in claims.items() if claim.holder.is_here() and claim.holder.is_dead()}
        return here | elsewhere.keys()

    def _is_alive(self, claim: Claim) -> bool:
        return not (claim.holder.is_here() and claim.holder.is_dead())

    def _beat(self) -> None:
        n_beats = 0
        while not self._ended.wait(self.beat_every):
            try:
                if self._is_replaced():
                    self._lost.set()
                    return
                n_beats += 1
                now = datetime.now(UTC).isoformat(timespec="seconds")
                self._put(replace(self._claim, holder=replace(self._claim.holder, heartbeat=n_beats, alive_at=now)))
            except (StoreError, FileNotFoundError):
                continue  # a network pause: whoever takes over is seen at the next look

    def _is_replaced(self) -> bool:
        """Is this claim gone, or does a later holder's name it?"""
        return self._claim.holder.nonce not in read_claims(self.path)

    def _withdraw(self) -> None:
        self._place(self._claim.holder.nonce).unlink(missing_ok=True)

    def _put(self, claim: Claim) -> None:
        self._place(claim.holder.nonce).write_bytes(claim.to_bytes())

    def _place(self, nonce: str) -> RemotePath:
        return self.path / f"{nonce}.json"


def read_claims(folder: RemotePath) -> dict[str, Claim]:
    """nonce -> claim, without those that a later holder took over and what is no claim."""
    found = {}
    for path in folder.list():
        claim = _read_claim(path)
        if claim is not None and path.name == f"{claim.holder.nonce}.json":
            found[claim.holder.nonce] = claim
    replaced = {nonce for claim in found.values() if claim.is_held for nonce in claim.taken_over}
    return {nonce: claim for nonce, claim in found.items() if nonce not in replaced}


def _read_claim(path: RemotePath) -> Claim | None:
    """None for what is no claim, and for one that was just withdrawn.

    A client asks for a file's size first and then for so many bytes: of a claim that is replaced in between it gets half. Taken for
    no claim, a rival would go unseen, so it is read again.
    """
    for _ in range(_READS):
        try:
            claim = Claim.parse(path.read_bytes())
        except FileNotFoundError:
            return None
        if claim is not None:
            return claim
        time.sleep(_REREAD_S)
    return None


def claim_holder(folder: RemotePath, *, certainly_dead: bool = True) -> dict[str, Any] | None:
    """Who holds the folder; None when nobody does. With `certainly_dead` off, None too when it was on this machine and is gone."""
    held = [claim.holder for claim in read_claims(folder).values() if claim.is_held]
    alive = [holder for holder in held if not (holder.is_here() and holder.is_dead())]
    chosen = next(iter(alive or (held if certainly_dead else [])), None)
    return None if chosen is None else asdict(chosen)
