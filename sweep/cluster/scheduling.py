"""The order in which packs start, with several kinds of workers and while a sweep is paused or stopping."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
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


def _without_supervisor(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"_further": None, "_experiment": None}


_LOOK_AGAIN_S = 1.0
_PATIENCE_S = 10.0


class PackQueue(BasicVariantGenerator):
    """A search algorithm for Tune that hands out one pack at a time, to the first kind of worker that has a free slot.

    A pack that is queued for a slow worker cannot move to a fast one, so packs are held back while every kind is busy. With a
    single kind of worker nothing is held back.

    Args:
        kinds: the kinds of workers, in order of preference.
        further: waits for some seconds and returns Tune's configuration of further packs, None if there are none yet, and an empty
            configuration if none will follow. None: the queue holds all packs from the beginning.
    """

    def __init__(self, kinds: Sequence[WorkerKind], further: Callable[[float], dict[str, Any] | None] | None = None) -> None:
        super().__init__()
        self._further = further
        self._experiment: Any = None
        self._kinds = tuple(kinds)
        self._given: dict[str, int] = {}  # Tune's trial id -> index of the kind, for trials that have not ended
        self._slots: tuple[int, ...] = ()
        self._looked_at = -_LOOK_AGAIN_S

    def next_trial(self) -> Trial | None:
        """Return the next pack as a Tune trial, or None while no pack can start."""
        kind = self._free_kind()
        trial = None if kind is None else super().next_trial()
        if trial is None and kind is not None and self._further is not None:
            self._add_further()
            trial = super().next_trial()
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

    def add_configurations(self, experiments: Any) -> None:
        """Add the packs of an experiment. Tune calls this once, before the fit."""
        self._experiment = experiments[0] if isinstance(experiments, list) else experiments
        super().add_configurations(experiments)

    def set_finished(self) -> None:
        """Record that no pack is left, unless some may follow."""
        if self._further is None:
            super().set_finished()

    def get_state(self) -> Any:
        """Return what Tune stores about the queue at the end of a fit, which is never read."""
        state = super().get_state()
        return _without_supervisor(state) if state else state

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its search algorithm with its own state; an unpickled copy has no supervisor to wait for.
        return _without_supervisor(self.__dict__)

    def _add_further(self) -> None:
        """Add the packs that were handed over. Waits for them while nothing runs, since Tune would only ask again a second later."""
        assert self._further is not None
        configuration = self._further(0.0 if self._given else _PATIENCE_S)
        if configuration == {}:
            self._further = None
        elif configuration is not None:
            experiment = copy(self._experiment)
            experiment.spec = {**experiment.spec, "config": configuration}
            super().add_configurations([experiment])

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
