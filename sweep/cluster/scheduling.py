"""The order in which packs start, with several kinds of workers and while a sweep is paused or stopping."""

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
    """A first-in, first-out scheduler that drops the pending packs of a held sweep (one that is paused or stopping) from the fit.

    Tune cannot keep a pack waiting, and a pack that waits in its worker would occupy the worker's resources. The fit therefore
    ends with the packs that are running, and the supervisor plans the others again once the sweep is no longer held. Workers
    whose packs end earlier stay idle, unless another sweep of the fit has packs for them.

    Args:
        roots: the results folders of the fit's sweeps.
    """

    def __init__(self, roots: list[str]) -> None:
        super().__init__()
        self._stores = {root: Store(root) for root in roots}  # kept, because each remembers when it last queried its object store

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Drop the pending packs of held sweeps, then choose the next trial. Tune calls this in every iteration of its loop."""
        held = {root for root, store in self._stores.items() if store.control.is_held()}
        if held:
            for trial in tune_controller.get_trials():
                if trial.status == Trial.PENDING and trial.config["pack"]["job"]["root"] in held:
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)


_LOOK_AGAIN_S = 1.0


class PackQueue(BasicVariantGenerator):
    """A search algorithm for Tune that hands out one pack at a time, to the first kind of worker that has a free slot.

    A pack that is queued for a slow worker cannot move to a fast one, so packs are held back while every kind is busy. With a
    single kind of worker nothing is held back.

    Args:
        kinds: the kinds of workers, in order of preference.
    """

    def __init__(self, kinds: Sequence[WorkerKind]) -> None:
        super().__init__()
        self._kinds = tuple(kinds)
        self._given: dict[str, int] = {}  # Tune's trial id -> index of the kind, for trials that have not ended
        self._slots: tuple[int, ...] = ()
        self._looked_at = -_LOOK_AGAIN_S

    def next_trial(self) -> Trial | None:
        """Return the next pack as a Tune trial, or None while no pack can start."""
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
        """Record that the pack's slot is free again."""
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
        # If nothing runs and there is no free slot, Tune would call this in a busy loop; with a pack it can wait for a node instead.
        return next(free, None if self._given else 0)
