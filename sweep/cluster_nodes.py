"""The nodes of a Ray cluster: those that are there, and those that its autoscaler may add."""

from typing import Any

_MOST_NODES = 10_000  # of one type, where the autoscaler has no limit
_NAMES = ("CPU", "GPU", "memory")


def nodes_to_count(ray: Any) -> list[dict[str, float]]:
    """What each node has, as far as workers ask for it; with an autoscaler all nodes that it may come to.

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
