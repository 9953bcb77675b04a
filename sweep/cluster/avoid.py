"""Faulty nodes, which receive no more packs as long as another node can train them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_LOOK_EVERY_S = 5.0


class Avoidance:
    """The set of nodes that an attempt avoids.

    Args:
        nodes: returns the current nodes, like `ray.nodes`.
        kinds: the resources that one worker of each kind needs.
        avoided: ids of nodes that earlier attempts avoided. They are used again if some kind of worker would have no node without them.
        may_grow: whether other nodes may join the cluster; False for a local Ray.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Mapping[str, Any]]],
        kinds: Sequence[Mapping[str, float]],
        avoided: Iterable[str],
        *,
        may_grow: bool,
    ) -> None:
        self._nodes = nodes
        self._kinds = tuple(kinds)
        self._may_grow = may_grow
        self._looked_at = time.monotonic()
        self.avoided: set[str] = set()
        """Ids of the avoided nodes; this set only grows."""
        known = set(avoided)
        if not self._takes_all(known):
            self.avoided |= known

    def avoid(self, node: str, resources: Mapping[str, float]) -> bool:
        """Avoid a node from now on if another node can train a pack that needs these resources.

        Args:
            node: Ray's id of the faulty node.
            resources: what the pack needs.

        Returns:
            Whether another such node exists, and so whether the node is now avoided.
        """
        if not self._others({*self.avoided, node}, resources):
            return False
        self.avoided.add(node)
        return True

    def is_last(self, node: str) -> bool:
        """Return whether no other node can train any pack."""
        return not any(self._others({*self.avoided, node}, kind) for kind in self._kinds)

    def leaves_none(self) -> bool:
        """Return whether Tune might wait forever for a node.

        This happens when every node that a kind of worker could use is avoided, the others having left, or when a local Ray has marked
        its only node as dead. The nodes are checked only every few seconds; in between the result is False.
        """
        if time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        if not self._may_grow and not any(self._others(set(), kind) for kind in self._kinds):
            return True
        return self._takes_all(self.avoided)

    def _takes_all(self, avoided: set[str]) -> bool:
        """Return whether some kind of worker has nodes and `avoided` includes all of them."""
        return any(self._others(set(), kind) and not self._others(avoided, kind) for kind in self._kinds)

    def _others(self, avoided: set[str], resources: Mapping[str, float]) -> list[str]:
        """Return the ids of live nodes that have these resources and are not in `avoided`."""
        alive = [node for node in self._nodes() if node["Alive"] and node["NodeID"] not in avoided]
        return [node["NodeID"] for node in alive if all(node["Resources"].get(name, 0) >= amount for name, amount in resources.items())]
