"""A check before training on a cluster: every node must have the same installation and see the same results folder."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweep.worker.environment import differences

_PATIENCE_S = 60.0  # a node may have to start a Python process first


def differing_nodes(nodes: Sequence[Mapping[str, Any]], expected: Mapping[str, Any]) -> list[str]:
    """Check all nodes in parallel, each with a small task that is pinned to it.

    Args:
        nodes: the live nodes of `ray.nodes()`. A node that dies during the check is ignored.
        expected: the installation and folders that each node must have (`sweep.worker.environment.expectations`).

    Returns:
        One line for each node that differs; empty if none does.
    """
    # The task is not retried: a node that has died needs no second check.
    look = ray.remote(num_cpus=0, max_retries=0)(differences)
    asked = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(dict(expected)): node
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE_S)
    differing = {asked[reference]["NodeID"]: [f"has not answered within {_PATIENCE_S:.0f} s"] for reference in late}
    for reference in ready:
        try:
            differing[asked[reference]["NodeID"]] = ray.get(reference)
        except Exception as error:  # noqa: BLE001 - the user needs to know whatever keeps the task from running there
            differing[asked[reference]["NodeID"]] = [f"cannot run pareto-sweep: {_last_line(error)}"]
    alive = _alive() if any(differing.values()) else set()
    return [
        f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']}): {'; '.join(differing[node['NodeID']])}"
        for node in nodes
        if differing[node["NodeID"]] and node["NodeID"] in alive
    ]


def _alive() -> set[str]:
    """Return the ids of live nodes after a short wait, because a task's failure is known before the death of its node."""
    time.sleep(0.5)
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
