"""Which kind of worker trains which pack: settled when one has room, not before."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ray
from ray.tune.experiment import Trial
from ray.tune.search.basic_variant import BasicVariantGenerator

from sweep.cluster_nodes import nodes_to_count
from sweep.worker import PackTrainable
from sweep.worker_kinds import WorkerKind, slots_of

_LOOK_AGAIN_S = 1.0


class PackQueue(BasicVariantGenerator):
    """Tune's list of packs, given out one at a time to the first kind of worker that has room.

    A pack that waits for a slow worker cannot move to a fast one, so it is held back while every kind is busy. With one kind
    nothing is held back.

    Args:
        kinds: in the order of preference.
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
        """Its worker has room again."""
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
