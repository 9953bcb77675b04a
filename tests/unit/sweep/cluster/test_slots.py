"""The nodes that count: those that are there, or all that an autoscaler may come to."""

from types import SimpleNamespace
from typing import Any

from ray.core.generated import autoscaler_pb2

from sweep.cluster.slots import nodes_to_count

HEAD = {"NodeID": "1", "Alive": True, "Resources": {"CPU": 2.0, "memory": 4e9, "node:10.0.0.1": 1.0}}
DEAD = {"NodeID": "2", "Alive": False, "Resources": {"CPU": 64.0}}


def ray_with(nodes: list[dict[str, Any]], config: autoscaler_pb2.ClusterConfig | None) -> Any:
    state = SimpleNamespace(get_cluster_config=lambda: config)
    return SimpleNamespace(nodes=lambda: nodes, _private=SimpleNamespace(state=SimpleNamespace(state=state)))


def test_ray_still_has_what_is_asked_of_it() -> None:
    """The question about the autoscaler is no public one."""
    from ray._private.state import state

    assert callable(state.get_cluster_config)


def test_only_living_nodes_count() -> None:
    assert nodes_to_count(ray_with([HEAD, DEAD], None)) == [{"CPU": 2.0, "GPU": 0.0, "memory": 4e9}]


def test_with_an_autoscaler_all_count_that_it_may_start() -> None:
    config = autoscaler_pb2.ClusterConfig()
    for name, resources, n_most in (("head", {"CPU": 0}, 1), ("gpu", {"CPU": 8, "GPU": 1, "memory": 10**10}, 3)):
        group = config.node_group_configs.add(name=name, max_count=n_most)
        group.resources.update(resources)
    found = nodes_to_count(ray_with([HEAD], config))
    assert found == [{"CPU": 0.0, "GPU": 0.0, "memory": 0.0}] + 3 * [{"CPU": 8.0, "GPU": 1.0, "memory": 1e10}]


def test_without_a_limit_there_are_many() -> None:
    config = autoscaler_pb2.ClusterConfig()
    config.node_group_configs.add(name="cpu", max_count=-1).resources.update({"CPU": 4})
    assert len(nodes_to_count(ray_with([HEAD], config))) == 10_000
