"""The lock of a results folder in an object store: every run that wants to work puts a claim, and withdraws it when it sees another's.

An object store offers neither exclusive creation nor renaming, but it lists at once what was put. Of two runs that put their
claims and then list, at least one sees the other, so two never both see nobody. A claim whose holder is dead is removed by the
next holder, whose own claim names it: a holder that only slept finds itself named there, and ends.
"""

import contextlib
import json
import random
import time
from dataclasses import asdict, dataclass, replace
from typing import Self

from sweep.store.errors import StoreError
from sweep.store.lock.folder_lock import Clock, FolderLock, Holder, LockedError
from sweep.store.remote.path import RemotePath

_TRIES = 8
_READS, _REREAD_S = 5, 0.05  # of a claim that seems torn
_BACK_OFF_S = (0.2, 1.0)


@dataclass(frozen=True)
class Claim:
    """A run that wants to hold, or holds, the folder."""

    holder: Holder
    is_held: bool = False
    """It was alone when it looked; until then it may still withdraw."""
    taken_over: tuple[str, ...] = ()
    """Nonces of the dead claims that this one replaces."""

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """The claim in an object; None for anything else."""
        holder = Holder.parse(data)
        if holder is None:
            return None
        content = json.loads(data)
        nonces = content.get("taken_over")
        return cls(holder, content.get("is_held") is True, tuple(map(str, nonces)) if isinstance(nonces, list) else ())

    def to_bytes(self) -> bytes:
        """The claim as it is stored: a JSON object."""
        return json.dumps({**asdict(self.holder), "is_held": self.is_held, "taken_over": self.taken_over}, indent=2).encode()


class Claims(FolderLock):
    """The lock of a results folder in an object store; `path` is the folder of the claims."""

    path: RemotePath

    def __init__(self, path: RemotePath, *, patience: float = 30.0, beat_every: float = 5.0, clock: Clock = time) -> None:
        super().__init__(path, patience=patience, beat_every=beat_every, clock=clock)
        self._claim = Claim(self._holder)

    def current_holder(self, *, include_dead: bool = True) -> Holder | None:
        """Who holds the folder; None where nobody does. A living holder goes before a dead one."""
        holders = [claim.holder for claim in read_claims(self.path).values() if claim.is_held]
        living = [holder for holder in holders if not holder.is_known_dead()]
        return next(iter(living or (holders if include_dead else [])), None)

    def _acquire(self) -> None:
        """Claim the folder, and keep the claim if nobody else has one.

        Raises:
            LockedError: another run holds the folder, or again and again began at the same moment.
        """
        rival = None
        for _ in range(_TRIES):
            dead = self._wait_until_dead(read_claims(self.path))
            self._holder = Holder.myself()
            self._claim = Claim(self._holder, taken_over=tuple(dead))
            try:
                self._put(self._claim)
                others = self._others(dead)
                if not others:
                    self._claim = replace(self._claim, is_held=True)
                    self._put(self._claim)
            except BaseException:
                with contextlib.suppress(StoreError):
                    self._release()
                raise
            if not others:
                for nonce in dead:
                    self._path_of(nonce).unlink(missing_ok=True)
                return
            self._release()
            rival = others[0]
            if rival.is_held and not rival.holder.is_known_dead():
                raise LockedError.held_by(rival.holder, self.path)
            time.sleep(random.uniform(*_BACK_OFF_S))  # whoever sleeps less goes first
        assert rival is not None
        raise LockedError.held_by(rival.holder, self.path)

    def _others(self, dead: set[str]) -> list[Claim]:
        """Claims beside this one, without the dead ones."""
        return [claim for nonce, claim in read_claims(self.path).items() if nonce != self._holder.nonce and nonce not in dead]

    def _wait_until_dead(self, claims: dict[str, Claim]) -> set[str]:
        """The nonces of all dead claims among these, once no claim of another host may be alive any more.

        Raises:
            LockedError: one that holds the folder is alive.
        """
        elsewhere = {nonce: claim for nonce, claim in claims.items() if not claim.holder.is_here()}
        for nonce, claim in claims.items():
            if nonce not in elsewhere and claim.is_held and not claim.holder.is_known_dead():
                raise LockedError.held_by(claim.holder, self.path)
        deadline = self._clock.monotonic() + self.patience
        while elsewhere and self._clock.monotonic() < deadline:
            self._clock.sleep(min(2.0, max(0.1, self.patience / 10)))
            now = read_claims(self.path)
            for nonce, claim in list(elsewhere.items()):
                later = now.get(nonce)
                if later is None:
                    del elsewhere[nonce]  # released
                elif later.holder.heartbeat != claim.holder.heartbeat:
                    raise LockedError.held_by(later.holder, self.path)
        here = {nonce for nonce, claim in claims.items() if claim.holder.is_known_dead()}
        return here | elsewhere.keys()

    def _release(self) -> None:
        self._path_of(self._holder.nonce).unlink(missing_ok=True)

    def _is_replaced(self) -> bool:
        """Whether this claim is gone, or a later holder's claim names it."""
        return self._holder.nonce not in read_claims(self.path)

    def _write_heartbeat(self, holder: Holder) -> None:
        self._put(replace(self._claim, holder=holder))

    def _put(self, claim: Claim) -> None:
        self._path_of(claim.holder.nonce).write_bytes(claim.to_bytes())

    def _path_of(self, nonce: str) -> RemotePath:
        return self.path / f"{nonce}.json"


def read_claims(folder: RemotePath) -> dict[str, Claim]:
    """All claims by nonce, without those that a later holder has replaced; objects that are no claims are left out."""
    claims = {}
    for path in folder.list():
        claim = _read_claim(path)
        if claim is not None and path.name == f"{claim.holder.nonce}.json":
            claims[claim.holder.nonce] = claim
    replaced = {nonce for claim in claims.values() if claim.is_held for nonce in claim.taken_over}
    return {nonce: claim for nonce, claim in claims.items() if nonce not in replaced}


def _read_claim(path: RemotePath) -> Claim | None:
    """The claim in an object; None for anything else, and for a claim that was just withdrawn.

    A client asks for an object's size first and then for so many bytes, so it gets half of a claim that is replaced in between.
    Such a half must not be taken for no claim, as a rival would go unseen; it is read again.
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
