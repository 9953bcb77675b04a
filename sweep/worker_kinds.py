"""The kinds of workers that a sweep may use at once, and how many of each fit on which nodes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweep.grid.models import OtherWorkers, Resources
from sweep.machine import Machine

_ROUNDING = 1e-9  # 1 / 0.1 is 10 workers
_PLENTY = 2.0**60  # of any resource


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


@dataclass(frozen=True)
class WorkerCount:
    """How many packs can probably run at once, and what limits it."""

    n: int
    """0 where no worker fits."""
    why: str
    """For people: the limits that hold."""

    @property
    def text(self) -> str:
        """For example `1 (CPU quota of this container: 1.0 of 2 cores)`."""
        return f"{self.n} ({self.why})"


def workers_on(kinds: Sequence[WorkerKind], machine: Machine) -> WorkerCount:
    """How many workers fit on one machine, and which of its limits would have to be higher for more of them.

    Args:
        kinds: in the order of preference.
        machine: what may be used of it.
    """
    here = machine.resources
    n = sum(slots_of(kinds, [here]))
    asked = {name: [kind.resources[name] for kind in kinds if kind.resources.get(name)] for name in here}
    names = [name for name in here if asked[name]]
    alone = [name for name in names if sum(slots_of(kinds, [dict.fromkeys(here, _PLENTY) | {name: here[name]}])) == n]
    # Of several kinds of workers each may be limited by something else.
    lowest = alone or [name for name in names if sum(slots_of(kinds, [here | {name: _PLENTY}])) > n]
    why = [limit.text + _each(name, asked[name], n) for name in lowest for limit in machine.holding(name)]
    return WorkerCount(n, "; ".join(why))


def _each(name: str, asked: Sequence[float], n: int) -> str:
    """What a worker asks for, where that is not plain from the number of workers."""
    if name == "memory":
        return f", a worker needs {min(asked) / 1e9:.1f} GB"
    return "" if n else f", a worker asks for {min(asked):g}"
