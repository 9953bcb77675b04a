"""A node at fault gets no more packs as long as another one can take them."""

from typing import Any

import pytest

from sweep import avoidance
from sweep.avoidance import Avoidance


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 2.0, **resources}}


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avoidance, "_LOOK_EVERY_S", 0.0)


def test_the_last_node_that_can_take_a_pack_is_not_avoided() -> None:
    nodes = [node("a"), node("b"), node("c", alive=False), node("small", CPU=0.5)]
    avoided = Avoidance(lambda: nodes, {"CPU": 1.0, "GPU": 0.0}, [])
    assert avoided.avoid("a")
    assert not avoided.avoid("b")
    assert avoided.avoided == {"a"}
    assert not avoided.leaves_none()


def test_where_the_others_have_gone_the_attempt_cannot_go_on_and_the_next_gives_another_chance() -> None:
    nodes = [node("a"), node("b")]
    avoided = Avoidance(lambda: nodes, {"CPU": 1.0}, ["a"])
    assert avoided.avoided == {"a"}
    assert not avoided.leaves_none()
    nodes[1] = node("b", alive=False)
    assert avoided.leaves_none()
    assert Avoidance(lambda: nodes, {"CPU": 1.0}, ["a"]).avoided == set()
    nodes[0] = node("a", alive=False)
    assert not avoided.leaves_none(), "no node at all: another one may join"


def test_only_nodes_with_what_a_worker_needs_count() -> None:
    nodes = [node("gpu", GPU=1.0), node("cpu")]
    assert not Avoidance(lambda: nodes, {"CPU": 1.0, "GPU": 1.0}, []).avoid("gpu")
