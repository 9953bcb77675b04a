"""The lock of a results folder in an object store: each run writes a claim, and withdraws it if it sees the claim of another run.

An object store offers neither exclusive creation nor renaming, but a new object is listed at once. If two runs write their claims
and then list them, at least one sees the other, so they cannot both conclude that they are alone. The claim of a dead holder is
removed by the next holder, whose own claim names it. A holder that was only suspended finds itself named there, and ends.
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
_READS, _REREAD_S = 5, 0.05  # number of reads of a claim that seems truncated, and the pause between them
_BACK_OFF_S = (0.2, 1.0)


@dataclass(frozen=True)
class Claim:
    """The claim of a run that holds the folder or wants to."""

    holder: Holder
    is_held: bool = False
    """Whether the run has found itself alone and so holds the folder; until then it may still withdraw."""
    taken_over: tuple[str, ...] = ()
    """The nonces of the dead claims that this one replaces."""

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """Parse the content of an object as a claim; None if it is not one."""
        holder = Holder.parse(data)
        if holder is None:
            return None
        content = json.loads(data)
        nonces = content.get("taken_over")
        return cls(holder, content.get("is_held") is True, tuple(map(str, nonces)) if isinstance(nonces, list) else ())

    def to_bytes(self) -> bytes:
        """Return the claim as it is stored, a JSON object."""
        return json.dumps({**asdict(self.holder), "is_held": self.is_held, "taken_over": self.taken_over}, indent=2).encode()


class Claims(FolderLock):
    """The lock of a results folder in an object store; `path` is the folder of the claims."""

    path: RemotePath

    def __init__(self, path: RemotePath, *, patience: float = 30.0, beat_every: float = 5.0, clock: Clock = time) -> None:
        super().__init__(path, patience=patience, beat_every=beat_every, clock=clock)
        self._claim = Claim(self._holder)

    def current_holder(self, *, include_dead: bool = True) -> Holder | None:
        """Return the holder of the folder, preferring a live one; None if there is none."""
        holders = [claim.holder for claim in read_claims(self.path).values() if claim.is_held]
        living = [holder for holder in holders if not holder.is_known_dead()]
        return next(iter(living or (holders if include_dead else [])), None)

    def _acquire(self) -> None:
        """Claim the folder, and keep the claim if no other run has one.

        Raises:
            LockedError: another run holds the folder, or a competing claim appeared at every try.
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
            time.sleep(random.uniform(*_BACK_OFF_S))  # the run with the shorter pause goes first
        assert rival is not None
        raise LockedError.held_by(rival.holder, self.path)

    def _others(self, dead: set[str]) -> list[Claim]:
        """Return the claims of other runs, except dead ones."""
        return [claim for nonce, claim in read_claims(self.path).items() if nonce != self._holder.nonce and nonce not in dead]

    def _wait_until_dead(self, claims: dict[str, Claim]) -> set[str]:
        """Wait until the claims of other hosts count as dead, and return the nonces of all dead claims.

        Raises:
            LockedError: the holder of a claim is alive.
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
        """Return whether this claim was removed, or the claim of a later holder names it."""
        return self._holder.nonce not in read_claims(self.path)

    def _write_heartbeat(self, holder: Holder) -> None:
        self._put(replace(self._claim, holder=holder))

    def _put(self, claim: Claim) -> None:
        self._path_of(claim.holder.nonce).write_bytes(claim.to_bytes())

    def _path_of(self, nonce: str) -> RemotePath:
        return self.path / f"{nonce}.json"


def read_claims(folder: RemotePath) -> dict[str, Claim]:
    """Return all claims by nonce, except those that a later holder has replaced. Objects that are not claims are ignored."""
    claims = {}
    for path in folder.list():
        claim = _read_claim(path)
        if claim is not None and path.name == f"{claim.holder.nonce}.json":
            claims[claim.holder.nonce] = claim
    replaced = {nonce for claim in claims.values() if claim.is_held for nonce in claim.taken_over}
    return {nonce: claim for nonce, claim in claims.items() if nonce not in replaced}


def _read_claim(path: RemotePath) -> Claim | None:
    """Read the claim in an object; None if the object is not a claim, or if the claim has just been withdrawn.

    A client requests the size of an object first and then that many bytes, so it may read a truncated claim if the object is replaced
    in between. A truncated claim is read again, because ignoring it would hide a competing run.
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
