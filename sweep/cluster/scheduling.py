"""The order in which packs start: packs that wait for a kind of worker, and packs that a pause or a stop holds back."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from sweep.cluster.slots import WorkerKind, nodes_to_count, slots_of
from sweep.cluster.trainable import PackTrainable
from sweep.store.store import Store


class LetGoWhileHeld(FIFOScheduler):
    """First come, first served, except that packs of a held sweep that have not begun leave the fit.

    Tune cannot keep a pack waiting, and one that waits in its worker would hold the worker's resources. So the fit ends
    with the packs that were running, and whoever started it plans the others again once the sweep is held no more.
    Workers whose packs end before that stay idle, unless another sweep of the fit has packs for them.

    Args:
        roots: the results folders of the fit's sweeps.
    """

    def __init__(self, roots: list[str]) -> None:
        super().__init__()
        self._stores = {root: Store(root) for root in roots}  # kept: each knows when it last looked into an object store

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Called at each turn of Tune's loop, before it starts anything."""
        held = {root for root, store in self._stores.items() if store.control.is_held()}
        if held:
            for trial in tune_controller.get_trials():
                if trial.status == Trial.PENDING and trial.config["pack"]["job"]["root"] in held:
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)


_LOOK_AGAIN_S = 1.0


class PackQueue(BasicVariantGenerator):
    """Tune's list of packs, handed out one at a time to the first kind of worker that has room.

    A pack that waits for a slow worker cannot move to a fast one, so it is held back while every kind is busy. With one kind
    nothing is held back.

    Args:
        kinds: the kinds of workers, in the order of preference.
    """

    def __init__(self, kinds: Sequence[WorkerKind]) -> None:
        super().__init__()
        self._kinds = tuple(kinds)
        self._given: dict[str, int] = {}  # trial id -> kind, of those that have not ended
        self._slots: tuple[int, ...] = ()
        self._looked_at = -_LOOK_AGAIN_S

    def next_trial(self) -> Trial | None:
        """The next pack, or None while none can start."""
        kind = self._free_kind()
        trial = None if kind is None else super().next_trial()
        if trial is not None:
            assert kind is not None
            pack = trial.config["pack"]
            job = pack["job"] | dict(self._kinds[kind].job)
            trial.config["pack"] = pack | {"job": job, "resources": dict(self._kinds[kind].resources)}
            trial.update_resources(PackTrainable.default_resource_request(trial.config))
            self._given[trial.trial_id] = kind
        return trial

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note that the pack's worker has room again."""
        self._given.pop(trial_id, None)
        super().on_trial_complete(trial_id, result, error)

    def _free_kind(self) -> int | None:
        if len(self._kinds) == 1:
            return 0
        if time.monotonic() - self._looked_at >= _LOOK_AGAIN_S:  # nodes come and go
            self._slots = slots_of(self._kinds, nodes_to_count(ray))
            self._looked_at = time.monotonic()
        busy = Counter(self._given.values())
        free = (index for index, slots in enumerate(self._slots) if busy[index] < slots)
        # With nothing running and no room Tune would ask again and again, and do nothing else: it may wait for a node instead.
        return next(free, None if self._given else 0)
