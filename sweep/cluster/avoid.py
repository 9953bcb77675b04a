"""Faulty nodes, which get no more packs as long as another node can take them."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_LOOK_EVERY_S = 5.0


class Avoidance:
    """The nodes that an attempt avoids.

    Args:
        nodes: what `ray.nodes` returns, asked again when needed.
        kinds: what one worker of each kind needs.
        avoided: ids of nodes that earlier attempts avoided. They get another chance if some kind would have no node without them.
        may_grow: whether other nodes may join; a local Ray stays as it is.
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
        """Ids of nodes; only ever added to."""
        known = set(avoided)
        if not self._takes_all(known):
            self.avoided |= known

    def avoid(self, node: str, resources: Mapping[str, float]) -> bool:
        """Avoid a node from now on if another one can take a pack that needs these resources; returns whether one can."""
        if not self._others({*self.avoided, node}, resources):
            return False
        self.avoided.add(node)
        return True

    def is_last(self, node: str) -> bool:
        """Whether no other node can take any pack."""
        return not any(self._others({*self.avoided, node}, kind) for kind in self._kinds)

    def leaves_none(self) -> bool:
        """Whether Tune might wait for ever, because the other nodes of a kind have gone or Ray takes this machine's own node for dead.

        Looks every few seconds.
        """
        if time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        if not self._may_grow and not any(self._others(set(), kind) for kind in self._kinds):
            return True
        return self._takes_all(self.avoided)

    def _takes_all(self, avoided: set[str]) -> bool:
        """Whether there are nodes for some kind, and these include all of them."""
        return any(self._others(set(), kind) and not self._others(avoided, kind) for kind in self._kinds)

    def _others(self, avoided: set[str], resources: Mapping[str, float]) -> list[str]:
        """Living nodes that can take such a pack and are not among these."""
        alive = [node for node in self._nodes() if node["Alive"] and node["NodeID"] not in avoided]
        return [node["NodeID"] for node in alive if all(node["Resources"].get(name, 0) >= amount for name, amount in resources.items())]
