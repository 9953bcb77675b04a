"""Which kind of worker gets a pack, without a cluster: the nodes are the test's own."""

import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import grid_search
from ray.tune.experiment import Experiment
from ray.tune.search.basic_variant import BasicVariantGenerator

from sweep.cluster import scheduling as pack_queue
from sweep.cluster.scheduling import PackQueue
from sweep.cluster.slots import worker_kinds
from sweep.grid.load import parse_config

GPU_NODE, CPU_NODE = {"CPU": 2.0, "GPU": 1.0, "memory": 1e12}, {"CPU": 1.0, "memory": 1e12}
MIXED = {"gpus": 0.5, "cpus": 1, "also": [{"cpus": 1}]}


class Packs:
    """Tune's trials, as far as the queue knows them."""

    def __init__(self, resources: dict[str, Any], nodes: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes = nodes
        numbers: Iterator[int] = iter(range(1000))

        def next_trial(generator: BasicVariantGenerator) -> Any:
            config = {
                "pack": {
                    "job": {"pack_id": "pack-1", "trials": [{"trial_id": "a", "k": None, "start": None}], "method": "stl", "device": "?"},
                    "expected": None,
                    "resources": {},
                }
            }
            return SimpleNamespace(trial_id=str(next(numbers)), config=config, update_resources=lambda asked: None)

        monkeypatch.setattr(BasicVariantGenerator, "next_trial", next_trial)
        monkeypatch.setattr(pack_queue, "nodes_to_count", lambda ray: self.nodes)
        monkeypatch.setattr(pack_queue, "_LOOK_AGAIN_S", 0.0)
        self.queue = PackQueue(worker_kinds(parse_config({"problem": "multidigits", "resources": resources}).resources))

    def take(self) -> Any:
        return self.queue.next_trial()

    def gpus(self, trial: Any) -> float:
        """What it asks for, which its job says too."""
        pack = trial.config["pack"]
        assert pack["job"]["gpus"] == pack["resources"]["GPU"]
        return float(pack["resources"]["GPU"])


def test_the_first_kind_with_room_gets_the_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Packs(MIXED, [GPU_NODE, CPU_NODE], monkeypatch)
    taken = [packs.take() for _ in range(3)]
    assert [packs.gpus(trial) for trial in taken] == [0.5, 0.5, 0.0]
    assert taken[2].config["pack"]["job"]["device"] == "cpu"
    assert packs.take() is None, "every kind is busy, and nothing waits for a slow one"
    packs.queue.on_trial_complete(taken[1].trial_id)
    assert packs.gpus(packs.take()) == 0.5
    assert packs.take() is None


def test_a_node_that_joins_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Packs(MIXED, [CPU_NODE], monkeypatch)
    assert packs.gpus(packs.take()) == 0.0
    assert packs.take() is None
    packs.nodes = [CPU_NODE, GPU_NODE]
    assert packs.gpus(packs.take()) == 0.5


def test_with_nothing_running_a_pack_may_wait_for_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Packs(MIXED, [], monkeypatch)
    assert packs.take() is not None
    assert packs.take() is None


def test_one_kind_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Packs({"cpus": 1}, [CPU_NODE], monkeypatch)
    assert all(packs.take() is not None for _ in range(5))


def test_a_pack_that_failed_for_good_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    packs = Packs(MIXED, [CPU_NODE], monkeypatch)
    packs.queue.on_trial_complete(packs.take().trial_id, error=True)
    assert packs.take() is not None


def test_a_queue_that_may_grow_waits_until_it_is_told_that_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune asks again and again: the queue is finished only after the end, and a pickled copy waits for nobody."""
    answers: list[dict[str, Any] | None] = [None, {"pack": grid_search([{"job": {"pack_id": "b"}}])}, None, {}]
    waited: list[float] = []

    def further(seconds: float) -> dict[str, Any] | None:
        waited.append(seconds)
        return answers.pop(0)

    queue = PackQueue(worker_kinds(parse_config({"problem": "multidigits"}).resources), further)
    queue.add_configurations(Experiment("e", lambda config: None, config={"pack": grid_search([{"job": {"pack_id": "a"}}])}))
    monkeypatch.setattr(PackQueue, "_free_kind", lambda self: 0)
    monkeypatch.setattr(pack_queue.PackTrainable, "default_resource_request", lambda config: None)
    monkeypatch.setattr("ray.tune.experiment.Trial.update_resources", lambda self, asked: None)
    handed: list[Any] = []

    def take() -> str | None:
        trial = queue.next_trial()
        if trial is None:
            return None
        handed.append(trial)
        return str(trial.config["pack"]["job"]["pack_id"])

    assert (take(), take(), queue.is_finished()) == ("a", None, False)
    assert waited == [0.0], "a pack is running, so Tune's loop must go on"
    queue.on_trial_complete(handed[0].trial_id)
    assert (take(), waited[-1] > 0, queue.is_finished()) == ("b", True, False)
    assert (take(), take(), queue.is_finished()) == (None, None, True)
    assert pickle.loads(pickle.dumps(PackQueue((), further)))._further is None
