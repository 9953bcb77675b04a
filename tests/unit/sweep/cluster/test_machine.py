"""What a process may use: small trees of files stand for /proc, /sys/fs/cgroup and /dev."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.cuda import _parse_visible_devices, _transform_uuid_to_ordinals

from sweep.cli.run import plan_lines
from sweep.cluster.machine import Limit, Machine, n_local_cpus, n_mig_instances, this_machine, visible_gpus
from sweep.cluster.slots import worker_kinds, workers_on
from sweep.grid.load import parse_config
from sweep.planning.packs import plan_packs
from sweep.planning.trials import trials_of

V2 = "30 23 0:27 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_CPU = "33 30 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
V1_MEMORY = "34 30 0:30 {root} /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
GB = 10**9


class Tree:
    """A root folder with files of the kernel."""

    def __init__(self, root: Path, cgroup: str = "", mountinfo: str = "") -> None:
        self.root = root
        self.write("proc/self/cgroup", cgroup)
        self.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n" + mountinfo)
        self.write("proc/meminfo", f"MemTotal: {16 * GB // 1024} kB\nMemFree: 1 kB\nMemAvailable: {10 * GB // 1024} kB\n")

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(text))

    def machine(self, n_affine: int = 8, n_cores: int = 8, **environment: str) -> Machine:
        return this_machine(self.root, environment, n_affine, n_cores)


def texts(machine: Machine, resource: str) -> list[str]:
    return [limit.text for limit in machine.holding(resource)]


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    machine = Tree(tmp_path).machine()
    assert machine.resources == {"CPU": 8, "GPU": 0, "memory": pytest.approx(7 * GB, rel=1e-6)}
    assert texts(machine, "CPU") == ["8 cores"]
    assert texts(machine, "memory") == ["memory of this machine: 10.0 of 16.0 GB are free"]


def test_without_proc_memory_is_not_limited(tmp_path: Path) -> None:
    assert this_machine(tmp_path, {}, 2, 2).resources == {"CPU": 2, "GPU": 0, "memory": math.inf}


def test_affinity_is_a_limit(tmp_path: Path) -> None:
    machine = Tree(tmp_path).machine(n_affine=2)
    assert machine.resources["CPU"] == 2
    assert texts(machine, "CPU") == ["CPU affinity of this process: 2 of 8 cores"]


@pytest.mark.parametrize(
    ("quota", "n", "text"),
    [
        ("100000 100000", 1, "CPU quota of this container: 1.0 of 8 cores"),
        ("50000 100000", 1, "CPU quota of this container: 0.5 of 8 cores"),
        ("250000 100000", 2, "CPU quota of this container: 2.5 of 8 cores"),
        ("800000 100000", 8, "8 cores"),
        ("max 100000", 8, "8 cores"),
        ("", 8, "8 cores"),
        ("nonsense", 8, "8 cores"),
    ],
)
def test_a_quota_of_version_2_counts(tmp_path: Path, quota: str, n: int, text: str) -> None:
    tree = Tree(tmp_path, "0::/\n", V2.format(root="/"))
    tree.write("sys/fs/cgroup/cpu.max", quota + "\n")
    machine = tree.machine()
    assert machine.resources["CPU"] == n
    assert texts(machine, "CPU") == [text]


@pytest.mark.parametrize(("quota", "n"), [(100_000, 1), (150_000, 1), (-1, 8)])
def test_a_quota_of_version_1_counts(tmp_path: Path, quota: int, n: int) -> None:
    """Docker without a namespace of its own: the path in /proc/self/cgroup is the host's, and the mount shows that group as its top."""
    tree = Tree(tmp_path, "4:cpu,cpuacct:/docker/abc\n", V1_CPU.format(root="/docker/abc"))
    tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", quota)
    tree.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", 100_000)
    assert tree.machine().resources["CPU"] == n


def test_the_lowest_limit_of_all_enclosing_groups_counts(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "0::/user.slice/job/step\n", V2.format(root="/"))
    top = "sys/fs/cgroup"
    groups = {"user.slice": (300_000, "max"), "user.slice/job": (200_000, 4 * GB), "user.slice/job/step": ("max", 6 * GB)}
    for folder, (quota, memory) in groups.items():
        tree.write(f"{top}/{folder}/cpu.max", f"{quota} 100000")
        tree.write(f"{top}/{folder}/memory.max", memory)
        tree.write(f"{top}/{folder}/memory.current", 2 * GB)
        tree.write(f"{top}/{folder}/memory.stat", f"anon 5\ninactive_file {GB}\n")
    tree.write(f"{top}/other.slice/cpu.max", "100000 100000")
    machine = tree.machine()
    assert machine.resources == {"CPU": 2, "GPU": 0, "memory": pytest.approx(0.7 * 3 * GB)}, "cache that can be dropped is free"
    assert texts(machine, "memory") == ["memory limit of this container: 3.0 of 4.0 GB are free"]


def test_a_memory_limit_of_version_1_counts_also_that_of_groups_that_are_not_mounted(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "8:memory:/docker/abc\n", V1_MEMORY.format(root="/docker/abc"))
    folder = "sys/fs/cgroup/memory"
    tree.write(f"{folder}/memory.limit_in_bytes", 2**63 - 4096)
    tree.write(f"{folder}/memory.usage_in_bytes", GB)
    assert tree.machine().resources["memory"] == pytest.approx(7 * GB, rel=1e-6)
    tree.write(f"{folder}/memory.stat", f"hierarchical_memory_limit {2 * GB}\ntotal_inactive_file 0\n")
    assert tree.machine().resources["memory"] == pytest.approx(0.7 * GB)


@pytest.mark.parametrize("path", ["/../../elsewhere", "/not/below/the/mount"])
def test_a_group_outside_of_the_mount_is_read_at_the_mount(tmp_path: Path, path: str) -> None:
    tree = Tree(tmp_path, f"0::{path}\n", V2.format(root="/docker/abc"))
    tree.write("sys/fs/cgroup/cpu.max", "100000 100000")
    assert tree.machine().resources["CPU"] == 1


def test_mount_points_may_have_spaces(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "0::/\n", V2.format(root="/").replace("/sys/fs/cgroup", r"/sys/my\040groups"))
    tree.write("sys/my groups/cpu.max", "100000 100000")
    assert tree.machine().resources["CPU"] == 1


# -- GPUs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        ("0,1,3", ("0", "1", "3")),
        ("", ()),
        ("-1", ()),
        ("0,-1,1", ("0",)),
        ("NoDevFiles", ()),
        (" 1 , 0 ", ("1", "0")),
        ("0,,1", ("0",)),
        ("1,0,1", ()),
        ("GPU-aa,GPU-bb", ("GPU-aa", "GPU-bb")),
        ("GPU-aa,1,GPU-bb", ("GPU-aa",)),
        ("0,GPU-aa", ("0",)),
        ("GPU-aa,GPU-aa", ()),
        ("MIG-GPU-x/1/0", ("MIG-GPU-x/1/0",)),
    ],
)
def test_the_list_of_visible_gpus_ends_where_cuda_ends_it(variable: str, names: tuple[str, ...]) -> None:
    assert visible_gpus(variable) == names


def test_a_number_that_the_machine_does_not_have_ends_the_list(tmp_path: Path) -> None:
    assert visible_gpus("1,2,0", n_gpus=2) == ("1",)
    tree = Tree(tmp_path)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        tree.write(f"dev/{name}", "")
    assert tree.machine().resources["GPU"] == 2
    assert tree.machine(CUDA_VISIBLE_DEVICES="1,2,0").resources["GPU"] == 1
    assert texts(tree.machine(CUDA_VISIBLE_DEVICES="-1"), "GPU") == ["CUDA_VISIBLE_DEVICES=-1: no of 2 GPUs"]


UUIDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8944ab11-0000-4106-c12f-20bd9faed9f6")


@pytest.mark.parametrize(
    "variable",
    [
        ",".join(UUIDS),
        UUIDS[1],
        "GPU-8932",
        "GPU-89",
        "GPU-8932,GPU-8944",
        "GPU-8932f,GPU-8932",
        f"{UUIDS[1]},GPU-1,{UUIDS[0]}",
        "GPU-1",
        "GPU-",
    ],
)
def test_uuids_are_those_of_the_machine(tmp_path: Path, variable: str) -> None:
    """A name may be short but must be clear; PyTorch reads the same."""
    tree = Tree(tmp_path)
    for index, uuid in enumerate(UUIDS):
        tree.write(f"dev/nvidia{index}", "")
        tree.write(f"proc/driver/nvidia/gpus/0000:0{index}:00.0/information", f"Model: \t\t H200\nIRQ:   \t\t 16\nGPU UUID: \t {uuid}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", variable)
        expected = _transform_uuid_to_ordinals(_parse_visible_devices(), list(UUIDS))  # type: ignore[arg-type]
    assert tree.machine(CUDA_VISIBLE_DEVICES=variable).resources["GPU"] == len(expected)


def test_there_are_no_more_gpus_than_the_machine_has(tmp_path: Path) -> None:
    """Where the driver does not say its UUIDs, or hides them."""
    tree = Tree(tmp_path)
    tree.write("dev/nvidia0", "")
    assert tree.machine(CUDA_VISIBLE_DEVICES="GPU-aa,GPU-bb").resources["GPU"] == 1
    tree.write("proc/driver/nvidia/gpus/0000:01:00.0/information", "GPU UUID: \t GPU-????????-????-????-????-????????????\n")
    assert tree.machine(CUDA_VISIBLE_DEVICES="GPU-aa,GPU-bb").resources["GPU"] == 1


def test_each_instance_of_a_divided_gpu_counts(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("dev/nvidia0", "")
    machine = tree.machine(CUDA_VISIBLE_DEVICES="MIG-aa,MIG-bb,MIG-GPU-cc/1/0")
    assert machine.resources["GPU"] == 3
    assert machine.gpu_names is not None
    assert n_mig_instances(",".join(machine.gpu_names)) == 3
    assert [n_mig_instances(visible) for visible in ("0,1", "GPU-aa", "", None)] == [None] * 4


# A sign alone makes PyTorch's own reader fail.
ENTRIES = st.sampled_from(["0", "1", "2", "10", "-1", "-0", "+1", "", " ", "1a", "x", "GPU-a", "GPU-b", "MIG-c", "NoDevFiles", " 2"])


@pytest.mark.full
@settings(deadline=None, derandomize=True, max_examples=300)
@given(entries=st.lists(ENTRIES, max_size=4))
def test_visible_gpus_are_those_of_pytorch(entries: list[str]) -> None:
    variable = ",".join(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", variable)
        assert visible_gpus(variable) == tuple(map(str, _parse_visible_devices()))


# -- workers -------------------------------------------------------------------------------------------------------------------


def count(machine: Machine, **resources: Any) -> str:
    config = parse_config({"problem": "multidigits", "resources": resources, "output": "x"})
    return workers_on(worker_kinds(config.resources), machine).text


def limited(cpu: float = 8, gpu: float = 0, memory: float = math.inf) -> Machine:
    limits = [Limit("CPU", cpu, "C"), Limit("GPU", gpu, "G"), Limit("memory", memory, "M")]
    return Machine(tuple(limits))


def test_the_plan_says_which_limit_holds() -> None:
    assert count(limited(cpu=1)) == "1 (C)"
    assert count(limited(memory=4 * GB)) == "2 (M, a worker needs 1.5 GB)"
    assert count(limited(cpu=2, memory=4 * GB)) == "2 (C; M, a worker needs 1.5 GB)"
    assert count(limited(gpu=2), gpus=0.5) == "4 (G)"
    assert count(limited(gpu=2), gpus=1, also=[{"cpus": 2}]) == "5 (C; G)"


def test_where_no_worker_fits_the_plan_says_none() -> None:
    assert count(limited(gpu=0), gpus=1) == "0 (G, a worker asks for 1)"
    assert count(limited(), cpus=16) == "0 (C, a worker asks for 16)"
    assert count(limited(memory=GB)) == "0 (M, a worker needs 1.5 GB)"


def test_equal_limits_are_all_named() -> None:
    machine = Machine((Limit("CPU", 8, "cores"), Limit("CPU", 1, "affinity"), Limit("CPU", 1, "quota")))
    assert count(machine) == "1 (affinity; quota)"


def test_a_plan_with_a_quota_of_one_has_one_worker(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "0::/\n", V2.format(root="/"))
    tree.write("sys/fs/cgroup/cpu.max", "100000 100000")
    config = parse_config({"problem": "multidigits", "output": str(tmp_path / "out")})
    workers = workers_on(worker_kinds(config.resources), tree.machine(2, 2))
    lines = list(plan_lines([config], [plan_packs(config, trials_of(config), {}, [], workers.n)], workers))
    assert "workers: 1 (CPU quota of this container: 1.0 of 2 cores)" in lines
    none = workers_on(worker_kinds(config.resources), limited(cpu=0.5))
    assert "  no worker fits here: lower `resources` in the grid file, or join a larger cluster with --address" in list(
        plan_lines([config], [plan_packs(config, trials_of(config), {}, [], none.n)], none)
    )


def test_this_process_has_a_processor() -> None:
    assert n_local_cpus() >= 1
