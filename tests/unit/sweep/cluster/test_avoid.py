"""A node at fault gets no more packs as long as another one can take them."""

from typing import Any

import pytest

from sweep.cluster import avoid as avoidance
from sweep.cluster.avoid import Avoidance


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 2.0, **resources}}


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avoidance, "_LOOK_EVERY_S", 0.0)


CPU, GPU = {"CPU": 1.0, "GPU": 0.0}, {"CPU": 1.0, "GPU": 1.0}


def test_the_last_node_that_can_take_a_pack_is_not_avoided() -> None:
    nodes = [node("a"), node("b"), node("c", alive=False), node("small", CPU=0.5)]
    avoidance = Avoidance(lambda: nodes, [CPU], [], may_grow=True)
    assert not avoidance.is_last("a")
    assert avoidance.avoid("a", CPU)
    assert not avoidance.avoid("b", CPU)
    assert avoidance.is_last("b")
    assert avoidance.avoided == {"a"}
    assert not avoidance.leaves_none()


def test_where_the_others_have_gone_the_attempt_cannot_go_on_and_the_next_gives_another_chance() -> None:
    nodes = [node("a"), node("b")]
    avoidance = Avoidance(lambda: nodes, [CPU], ["a"], may_grow=True)
    assert avoidance.avoided == {"a"}
    assert not avoidance.leaves_none()
    nodes[1] = node("b", alive=False)
    assert avoidance.leaves_none()
    assert Avoidance(lambda: nodes, [CPU], ["a"], may_grow=True).avoided == set()
    nodes[0] = node("a", alive=False)
    assert not avoidance.leaves_none(), "no node at all: another one may join"


def test_a_node_with_the_only_device_is_not_avoided_by_packs_that_need_one() -> None:
    nodes = [node("gpu", GPU=1.0), node("cpu")]
    avoidance = Avoidance(lambda: nodes, [GPU, CPU], [], may_grow=True)
    assert not avoidance.avoid("gpu", GPU), "they would wait for ever"
    assert not avoidance.is_last("gpu"), "there is a node for the others"
    nodes.append(node("gpu-2", GPU=1.0))
    assert avoidance.avoid("gpu", GPU)
    nodes.pop()
    assert avoidance.leaves_none()


def test_a_ray_of_this_machine_whose_node_is_dead_is_given_up_and_a_cluster_is_not() -> None:
    nodes = [node("a")]
    own, cluster = (Avoidance(lambda: nodes, [CPU], [], may_grow=may_grow) for may_grow in (False, True))
    assert not own.leaves_none()
    nodes[0] = node("a", alive=False)
    assert own.leaves_none()
    assert not cluster.leaves_none()
