"""Nodes at fault: those that get no more packs, as long as another node is there that can take them."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_LOOK_EVERY_S = 5.0


class Avoidance:
    """The nodes that an attempt avoids.

    Args:
        nodes: what `ray.nodes` returns, asked again when needed.
        resources: what one worker needs.
        avoided: ids of nodes from earlier attempts. Where no other node can take a pack they are given another chance.
    """

    def __init__(self, nodes: Callable[[], Iterable[Mapping[str, Any]]], resources: Mapping[str, float], avoided: Iterable[str]) -> None:
        self._nodes = nodes
        self._resources = {name: amount for name, amount in resources.items() if amount}
        self._looked_at = time.monotonic()
        self.avoided: set[str] = set()
        """Ids of nodes; only ever added to."""
        known = set(avoided)
        if self._others(known):
            self.avoided |= known

    def avoid(self, node: str) -> bool:
        """From now on, if another node can take packs. Returns whether one can."""
        if not self._others({*self.avoided, node}):
            return False
        self.avoided.add(node)
        return True

    def leaves_none(self) -> bool:
        """Whether every node that can take a pack is avoided, because others have gone; looks every few seconds."""
        if not self.avoided or time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        return bool(self._others(set())) and not self._others(self.avoided)

    def _others(self, avoided: set[str]) -> list[str]:
        """Living nodes that can take a pack and are not among these."""
        return [
            node["NodeID"]
            for node in self._nodes()
            if node["Alive"] and node["NodeID"] not in avoided and all(node["Resources"].get(n, 0) >= a for n, a in self._resources.items())
        ]
