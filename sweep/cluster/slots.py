"""Kinds of workers, and how many of each the nodes of a cluster have room for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweep.cluster.machine import Machine
from sweep.grid.models import OtherWorkers, Resources

_MOST_NODES = 10_000  # of one type, where the autoscaler has no limit
_NAMES = ("CPU", "GPU", "memory")


def nodes_to_count(ray: Any) -> list[dict[str, float]]:
    """The resources of each node, as far as workers ask for them; with an autoscaler, of all nodes that it may start.

    Args:
        ray: the module, connected.
    """
    alive = [{name: float(node["Resources"].get(name, 0.0)) for name in _NAMES} for node in ray.nodes() if node["Alive"]]
    possible = _possible_nodes(ray)
    return possible if len(possible) > len(alive) else alive


def _possible_nodes(ray: Any) -> list[dict[str, float]]:
    """Empty without an autoscaler, which alone describes the cluster's node types to Ray."""
    config = ray._private.state.state.get_cluster_config()
    nodes: list[dict[str, float]] = []
    for group in config.node_group_configs if config is not None else ():
        n_nodes = min(group.max_count, _MOST_NODES) if group.max_count >= 0 else _MOST_NODES
        nodes += n_nodes * [{name: float(group.resources.get(name, 0)) for name in _NAMES}]
    return nodes


_ROUNDING = 1e-9  # 1 / 0.1 is 10 workers
_PLENTY = 2.0**60  # of any resource


@dataclass(frozen=True)
class WorkerKind:
    """What a worker asks Ray for, and the fields of its pack's job that follow from it."""

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
    """What a worker asks for, where the number of workers does not show it."""
    if name == "memory":
        return f", a worker needs {min(asked) / 1e9:.1f} GB"
    return "" if n else f", a worker asks for {min(asked):g}"
