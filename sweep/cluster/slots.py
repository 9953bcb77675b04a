"""Kinds of workers, and how many workers of each kind fit on the nodes of a cluster."""

import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweep.cluster.machine import Machine
from sweep.grid.models import OtherWorkers, Resources

_MOST_NODES = 10_000  # assumed for a node type for which the autoscaler sets no limit
_NAMES = ("CPU", "GPU", "memory")


def nodes_to_count(ray: Any) -> list[dict[str, float]]:
    """Return the CPU, GPU and memory of each node; with an autoscaler, of every node that it may start.

    Args:
        ray: the Ray module, already connected to a cluster.

    Returns:
        One mapping per node: CPU and GPU as counts, memory in bytes.
    """
    alive = [{name: float(node["Resources"].get(name, 0.0)) for name in _NAMES} for node in ray.nodes() if node["Alive"]]
    possible = _possible_nodes(ray)
    return possible if len(possible) > len(alive) else alive


def _possible_nodes(ray: Any) -> list[dict[str, float]]:
    """Return the resources of the nodes that an autoscaler may start. Without one Ray knows no node types, and the list is empty."""
    config = ray._private.state.state.get_cluster_config()
    nodes: list[dict[str, float]] = []
    for group in config.node_group_configs if config is not None else ():
        n_nodes = min(group.max_count, _MOST_NODES) if group.max_count >= 0 else _MOST_NODES
        nodes += n_nodes * [{name: float(group.resources.get(name, 0)) for name in _NAMES}]
    return nodes


_ROUNDING = 1e-9  # so that rounding errors cost no worker: 1 / 0.1 is 10 workers
_PLENTY = 2.0**60  # an amount of any resource that never limits the number of workers


@dataclass(frozen=True)
class WorkerKind:
    """The resources that a worker requests from Ray, and the fields of its pack's job that follow from them."""

    resources: Mapping[str, float]
    """CPU and GPU as counts, memory in bytes."""
    job: Mapping[str, Any]
    """The fields of `PackJob` that follow from the resources: device, gpus and n_threads."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain dictionaries, strings and numbers."""
        return asdict(self)


def worker_kinds(resources: Resources) -> tuple[WorkerKind, ...]:
    """Return the kind of worker that `resources` itself describes, followed by those listed in its `also`."""
    asked: tuple[Resources | OtherWorkers, ...] = (resources, *resources.also)
    return tuple(map(_kind, asked))


def hide_gpus(device: str, environment: MutableMapping[str, str]) -> None:
    """Hide the node's GPUs from a worker that trains on a CPU. Ray does not hide them from workers that requested none.

    Args:
        device: the device of the worker's job.
        environment: the environment variables of the worker's process, which must not have used CUDA yet.
    """
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""


def _kind(asked: Resources | OtherWorkers) -> WorkerKind:
    # A worker that requested no GPU must not use one. Otherwise all workers of a node would use its GPU, and Ray would count none of them.
    device = "cpu" if asked.device == "auto" and not asked.gpus else asked.device
    n_threads = max(1, int(asked.cpus)) if asked.gpus else 1
    return WorkerKind(
        {"CPU": asked.cpus, "GPU": asked.gpus, "memory": asked.memory}, {"device": device, "gpus": asked.gpus, "n_threads": n_threads}
    )


def slots_of(kinds: Sequence[WorkerKind], nodes: Iterable[Mapping[str, float]]) -> tuple[int, ...]:
    """Return how many workers of each kind fit at once when earlier kinds are placed first.

    Args:
        kinds: the kinds of workers, in order of preference.
        nodes: the resources of each node. A resource that a node does not list counts as 0.

    Returns:
        One count per kind, in the order of `kinds`.
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
    """The number of packs that can probably run at once, and what limits it."""

    n: int
    """The number of packs; 0 if no worker fits."""
    why: str
    """The binding limits, in words."""

    @property
    def text(self) -> str:
        """The count and its reason, for example `1 (CPU quota of this container: 1.0 of 2 cores)`."""
        return f"{self.n} ({self.why})"


def workers_on(kinds: Sequence[WorkerKind], machine: Machine) -> WorkerCount:
    """Return how many workers fit on one machine, and which limits would have to be raised to fit more.

    Args:
        kinds: the kinds of workers, in order of preference.
        machine: the resources of the machine that may be used.
    """
    here = machine.resources
    n = sum(slots_of(kinds, [here]))
    asked = {name: [kind.resources[name] for kind in kinds if kind.resources.get(name)] for name in here}
    names = [name for name in here if asked[name]]
    alone = [name for name in names if sum(slots_of(kinds, [dict.fromkeys(here, _PLENTY) | {name: here[name]}])) == n]
    # Different kinds of workers may be limited by different resources.
    lowest = alone or [name for name in names if sum(slots_of(kinds, [here | {name: _PLENTY}])) > n]
    why = [limit.text + _each(name, asked[name], n) for name in lowest for limit in machine.holding(name)]
    return WorkerCount(n, "; ".join(why))


def _each(name: str, asked: Sequence[float], n: int) -> str:
    """Return a note on what one worker requests, if the number of workers does not already show it."""
    if name == "memory":
        return f", a worker needs {min(asked) / 1e9:.1f} GB"
    return "" if n else f", a worker asks for {min(asked):g}"
