"""`sweep rm`: remove trials from a results folder, so that the next run trains them again."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from sweep.errors import SweepError
from sweep.store.remote.path import StorePath
from sweep.store.store import Store, StoreError


class Forgotten(NamedTuple):
    """A trial that was removed."""

    trial_id: str
    state: str | None
    """The state in which the trial had ended; None if it was not complete."""


def forget_trials(folder: str | StorePath, trial_ids: Sequence[str]) -> list[Forgotten]:
    """Remove the rows and curves of these trials, all or none, under the folder's lock. Their weights stay in `blobs/`.

    Args:
        folder: the results folder, as a path or an address.
        trial_ids: the full ids of the trials; duplicates are ignored.

    Returns:
        The removed trials in the order of `trial_ids`.

    Raises:
        LockedError: a run holds the folder's lock.
        StoreError: this is not a results folder.
        SweepError: a trial is unknown; the message suggests similar ids.
    """
    store = Store(folder)
    store.check_reachable()
    if store.manifest() is None:
        raise StoreError("not a results folder (no manifest.json)", store.root, "name the results folder of a run")
    wanted = list(dict.fromkeys(trial_ids))
    with store.lock():
        states = store.complete()
        planned = [trial["trial_id"] for trial in (store.latest_plan() or {"trials": []})["trials"]]
        known = list(dict.fromkeys([*states, *planned]))
        unknown = [trial_id for trial_id in wanted if trial_id not in known]
        if unknown:
            raise SweepError("\n".join(f"{store.root}: no trial {_unknown(trial_id, known)}" for trial_id in unknown))
        store.forget([trial_id for trial_id in wanted if trial_id in states])
    return [Forgotten(trial_id, states.get(trial_id)) for trial_id in wanted]


def _unknown(trial_id: str, known: Sequence[str]) -> str:
    near = get_close_matches(trial_id, known, n=3) or [other for other in known if trial_id and other.startswith(trial_id)][:3]
    hint = f"did you mean {' or '.join(near)}?" if near else "`sweep front DIR` and the report show the ids"
    return f"{trial_id!r}; nothing was removed\n  hint: {hint}"
