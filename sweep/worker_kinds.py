"""The kinds of workers that a sweep may use at once, and how many of each fit on which nodes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweep.grid.models import OtherWorkers, Resources

_ROUNDING = 1e-9  # 1 / 0.1 is 10 workers


@dataclass(frozen=True)
class WorkerKind:
    """What a worker asks Ray for, and what that makes of its pack's job."""

    resources: Mapping[str, float]
    """CPU, GPU, memory in bytes."""
    job: Mapping[str, Any]
    """The fields of `PackJob` that follow from it: device, gpus, n_threads."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, strings and numbers."""
        return asdict(self)


def worker_kinds(resources: Resources) -> tuple[WorkerKind, ...]:
    """The kind that `resources` itself describes, then those of `also`."""
    asked: tuple[Resources | OtherWorkers, ...] = (resources, *resources.also)
    return tuple(_kind(kind, is_mixed=len(asked) > 1) for kind in asked)


def _kind(asked: Resources | OtherWorkers, *, is_mixed: bool) -> WorkerKind:
    # Beside workers with a GPU, one without leaves them alone: Ray does not hide a node's GPUs from who asked for none.
    device = "cpu" if is_mixed and asked.device == "auto" and not asked.gpus else asked.device
    n_threads = max(1, int(asked.cpus)) if asked.gpus else 1
    return WorkerKind(
        {"CPU": asked.cpus, "GPU": asked.gpus, "memory": asked.memory}, {"device": device, "gpus": asked.gpus, "n_threads": n_threads}
    )


def slots_of(kinds: Sequence[WorkerKind], nodes: Iterable[Mapping[str, float]]) -> tuple[int, ...]:
    """How many workers of each kind fit at once, earlier kinds first.

    Args:
        kinds: in the order of preference.
        nodes: what each node has. A resource that a node does not name it has none of.
    """
    slots = [0] * len(kinds)
    for node in nodes:
        left = dict(node)
        for index, kind in enumerate(kinds):
            asked = {name: amount for name, amount in kind.resources.items() if amount}
            n = math.floor(min((left.get(name, 0.0) / amount for name, amount in asked.items()), default=0.0) + _ROUNDING)
            slots[index] += n
            for name, amount in asked.items():
                left[name] = max(0.0, left.get(name, 0.0) - n * amount)
    return tuple(slots)
