"""Kinds of workers, and how many of each fit on a cluster of unlike machines."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.cluster.slots import WorkerKind, hide_gpus, slots_of, worker_kinds
from sweep.grid.load import parse_config


def kinds_of(**resources: object) -> tuple[WorkerKind, ...]:
    return worker_kinds(parse_config({"problem": "multidigits", "resources": resources}).resources)


GPU_NODE = {"CPU": 8.0, "GPU": 1.0, "memory": 32e9}
CPU_NODE = {"CPU": 4.0, "memory": 16e9}


def test_kinds_follow_the_grid_file() -> None:
    first, second = kinds_of(gpus=0.25, cpus=2, also=[{"cpus": 1}])
    assert first.resources == {"CPU": 2.0, "GPU": 0.25, "memory": 1_500_000_000}
    assert first.job == {"device": "auto", "gpus": 0.25, "n_threads": 2}
    assert second.resources == {"CPU": 1.0, "GPU": 0.0, "memory": 1_500_000_000}
    assert second.job == {"device": "cpu", "gpus": 0.0, "n_threads": 1}, "it leaves the GPUs of its node to the others"


def test_a_single_kind_takes_what_is_there() -> None:
    (only,) = kinds_of(gpus=1)
    assert only.job == {"device": "auto", "gpus": 1.0, "n_threads": 1}


@pytest.mark.parametrize(
    ("resources", "device"), [({}, "cpu"), ({"gpus": 0}, "cpu"), ({"gpus": 0.5}, "auto"), ({"device": "cuda"}, "cuda")]
)
def test_workers_that_ask_for_no_gpu_use_none_by_themselves(resources: dict[str, object], device: str) -> None:
    (only,) = kinds_of(**resources)
    assert only.job["device"] == device


@pytest.mark.parametrize(("device", "visible"), [("cpu", ""), ("auto", "0,1"), ("cuda", "0,1")])
def test_gpus_are_hidden_from_workers_on_cpus(device: str, visible: str) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
    hide_gpus(device, environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": visible}


def test_a_node_is_shared_by_the_kinds() -> None:
    kinds = kinds_of(gpus=0.25, cpus=1, also=[{"cpus": 1}])
    assert slots_of(kinds, [GPU_NODE, CPU_NODE]) == (4, 4 + 4)
    assert slots_of(kinds, [CPU_NODE]) == (0, 4)
    assert slots_of(kinds, []) == (0, 0)
    assert slots_of(kinds, [{"CPU": 0.0, "memory": 16e9}]) == (0, 0), "a head that trains nothing"


def test_memory_counts() -> None:
    assert slots_of(kinds_of(memory="4GB"), [CPU_NODE]) == (4,)
    assert slots_of(kinds_of(memory="8GB"), [CPU_NODE]) == (2,)


def test_tenths_of_a_gpu_are_ten() -> None:
    for share in (0.1, 0.2, 0.05):
        assert slots_of(kinds_of(gpus=share, cpus=0.01), [GPU_NODE]) == (round(1 / share),)


@given(
    cpus=st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=3),
    nodes=st.lists(st.integers(0, 9), max_size=4),
)
@settings(deadline=None, derandomize=True)
def test_kinds_never_ask_for_more_than_a_node_has(cpus: list[float], nodes: list[int]) -> None:
    """And nothing that the last kind could use is left."""
    kinds = [WorkerKind({"CPU": amount, "GPU": 0.0, "memory": 1.0}, {}) for amount in cpus]
    for n_cpus in nodes:
        slots = slots_of(kinds, [{"CPU": float(n_cpus), "memory": 1e9}])
        used = sum(n * amount for n, amount in zip(slots, cpus, strict=True))
        assert used <= n_cpus < used + min(cpus)
