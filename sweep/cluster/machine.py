"""The processors, GPUs and memory of this machine that the process may use, and the binding limit of each.

The size of the machine is only one of the limits. The CPU affinity of the process, the CPU quota and memory limit of its
container (cgroup v1 and v2, including the limits of enclosing groups) and CUDA_VISIBLE_DEVICES can all be lower. Without /proc,
only the affinity and CUDA_VISIBLE_DEVICES are taken into account.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MEMORY_SHARE = 0.7
"""The fraction of the free memory that workers may use; the rest is left to Ray's object store and its own processes."""
_NAMES = ("CPU", "GPU", "memory")
_NO_LIMIT = 2**60  # bytes; cgroup v1 reports about 2^63 if there is no limit
_INTEGER = re.compile(r"[+-]?[0-9]+")
_GPU_FILE = re.compile(r"nvidia[0-9]+")
_GPU_UUID = re.compile(r"GPU UUID:\s*(GPU-[0-9a-fA-F-]+)\s*")


@dataclass(frozen=True)
class Limit:
    """An upper limit on the amount of a resource that may be used."""

    resource: str
    """`CPU`, `GPU` or `memory`."""
    amount: float
    """The number of processors or GPUs, or the memory for workers in bytes."""
    text: str
    """The limit in words, for example `CPU quota of this container: 1.0 of 2 cores`."""


@dataclass(frozen=True)
class Machine:
    """All limits on the resources that a process may use."""

    limits: tuple[Limit, ...]
    gpu_names: tuple[str, ...] | None = None
    """The valid entries of CUDA_VISIBLE_DEVICES; None if the variable is not set."""

    @property
    def resources(self) -> dict[str, float]:
        """The lowest limit of CPU, GPU and memory (bytes); memory is infinite if it has no limit."""
        return {name: min((limit.amount for limit in self.limits if limit.resource == name), default=math.inf) for name in _NAMES}

    def holding(self, resource: str) -> tuple[Limit, ...]:
        """Return the binding limits of a resource: the lowest one, and every other limit that equals it."""
        amount = self.resources[resource]
        return tuple(limit for limit in self.limits if limit.resource == resource and limit.amount == amount)


def this_machine(
    root: Path = Path("/"), environment: Mapping[str, str] | None = None, n_affine: int | None = None, n_cores: int | None = None
) -> Machine:
    """Return the resources that this process may use now.

    Args:
        root: the folder that contains `proc`, `sys` and `dev`.
        environment: environment variables; None means those of this process.
        n_affine: number of processors in the CPU affinity of this process; None queries the system.
        n_cores: number of processors of the machine; None queries the system.
    """
    n_cores = n_cores or os.cpu_count() or 1
    n_affine = n_affine or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else n_cores)
    visible = (os.environ if environment is None else environment).get("CUDA_VISIBLE_DEVICES")
    files = root / "dev"
    n_gpus = sum(_GPU_FILE.fullmatch(path.name) is not None for path in files.iterdir()) if files.is_dir() else 0
    groups = tuple(_groups(root))
    names = None if visible is None else visible_gpus(visible, n_gpus or None, _gpu_uuids(root))
    limits = (*_of_cpus(groups, n_affine, n_cores), *_of_gpus(n_gpus, visible, names), *_of_memory(groups, root))
    return Machine(limits, names)


def n_local_cpus() -> int:
    """Return the number of processors that this process may use, at least one."""
    return int(this_machine().resources["CPU"])


def visible_gpus(variable: str, n_gpus: int | None = None, uuids: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the devices that CUDA_VISIBLE_DEVICES names, parsed in the way of CUDA and PyTorch.

    The list ends at the first entry that is not a device (-1, NoDevFiles, an empty entry). If a device is named twice, no device is
    visible. Numbers and UUIDs (`GPU-...`, `MIG-...`) cannot be mixed: the first entry decides which of them are accepted. A `GPU-` UUID
    may be shortened as long as it names one device. Each MIG instance counts as a device.

    Args:
        variable: the value of the variable.
        n_gpus: number of devices of the machine, if known; a device number that is too high also ends the list.
        uuids: the UUIDs of the machine's devices, if known; a UUID that is not among them also ends the list.

    Returns:
        The names in the order of the variable.
    """
    names: list[str] = []
    prefix = next((prefix for prefix in ("GPU-", "MIG-") if variable.startswith(prefix)), "")
    for entry in variable.split(","):
        if not prefix:
            number = _INTEGER.match(entry.strip())
            if number is None or int(number[0]) < 0:
                break
            name = str(int(number[0]))
        else:
            name = entry
        if name in names:
            return ()
        if not entry.startswith(prefix) or (not prefix and n_gpus is not None and int(name) >= n_gpus):
            break
        names.append(name)
    return _existing(names, n_gpus, uuids) if prefix == "GPU-" else tuple(names)


def _existing(names: Sequence[str], n_gpus: int | None, uuids: Sequence[str]) -> tuple[str, ...]:
    """Return the names up to the first that is not the beginning of exactly one UUID; no names if two of them mean the same device."""
    if not uuids:
        return tuple(names[:n_gpus])
    known = [[uuid for uuid in uuids if uuid.startswith(name)] for name in names]
    n_known = next((index for index, found in enumerate(known) if len(found) != 1), len(names))
    devices = {found[0] for found in known[:n_known]}
    return tuple(names[:n_known]) if len(devices) == n_known else ()


def _gpu_uuids(root: Path) -> list[str]:
    """Return the UUIDs of the devices as NVIDIA's driver lists them on Linux; an empty list if one of them is not known."""
    files = sorted(root.glob("proc/driver/nvidia/gpus/*/information"))
    uuids = [match[1] for file in files for match in map(_GPU_UUID.fullmatch, _lines(file)) if match is not None]
    return uuids if len(uuids) == len(files) else []


def n_mig_instances(visible: str | None) -> int | None:
    """Return how many GPUs to declare to a local Ray if CUDA_VISIBLE_DEVICES lists MIG instances; otherwise None, so that Ray counts them.

    By itself Ray counts no more devices than there are whole GPUs. Each worker uses one instance, since CUDA allows a process no more.

    Args:
        visible: the value of the variable; None if it is not set.
    """
    return len(visible.split(",")) if visible is not None and visible.startswith("MIG-") else None


@dataclass(frozen=True)
class _Group:
    """A control group: its folder of interface files, and the cgroup version that they follow."""

    folder: Path
    is_v2: bool
    controllers: frozenset[str]

    def number(self, name: str) -> int | None:
        """Return the number in a file; None if the file does not exist or contains `max`."""
        words = self.words(name)
        return int(words[0]) if words and words[0].lstrip("-").isdigit() else None

    def words(self, name: str) -> list[str]:
        """Return the words of a file; empty if the file cannot be read."""
        try:
            return (self.folder / name).read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError):
            return []

    def statistic(self, name: str) -> int | None:
        """Return one value of the file memory.stat, or None if it is missing."""
        words = self.words("memory.stat")
        return next((int(value) for key, value in zip(words[::2], words[1::2], strict=False) if key == name and value.isdigit()), None)


def _groups(root: Path) -> Iterator[_Group]:
    """Yield the control groups of this process, each followed by the enclosing groups that are mounted here."""
    paths: dict[str, str] = {}  # controller, or "" for version 2 -> the group's path
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        paths |= dict.fromkeys(names.split(","), path)
    for line in _lines(root / "proc/self/mountinfo"):
        fields, _, described = line.partition(" - ")
        kind, *_ = described.split() or [""]
        options = described.split()[-1].split(",") if described else []
        place = fields.split()
        controllers = frozenset({""} if kind == "cgroup2" else {"cpu", "memory"} & set(options) if kind == "cgroup" else ())
        group = next((paths[name] for name in controllers if name in paths), None)
        if group is None or len(place) < 5:
            continue
        mounted, top = PurePosixPath(place[3]), root / _unescaped(place[4]).lstrip("/")
        inside = PurePosixPath(group)
        below = inside.relative_to(mounted) if inside.is_relative_to(mounted) and ".." not in inside.parts else PurePosixPath()
        for part in (below, *below.parents):
            yield _Group(top / part, kind == "cgroup2", controllers)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _unescaped(path: str) -> str:
    """Undo the kernel's escapes in a mount point, for example \\040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)


def _of_cpus(groups: tuple[_Group, ...], n_affine: int, n_cores: int) -> Iterator[Limit]:
    yield Limit("CPU", n_cores, f"{n_cores} core{'s' * (n_cores != 1)}")
    if n_affine < n_cores:
        yield Limit("CPU", n_affine, f"CPU affinity of this process: {n_affine} of {n_cores} cores")
    quota = min((quota for quota in map(_quota, groups) if quota is not None), default=math.inf)
    if quota < n_cores:
        # The quota is rounded down to whole processors, but to at least one, since nothing could be trained otherwise.
        yield Limit("CPU", max(1, math.floor(quota)), f"CPU quota of this container: {round(quota, 2)} of {n_cores} cores")


def _quota(group: _Group) -> float | None:
    """Return the number of processors that a group may keep busy; None if it has no quota."""
    if group.is_v2:
        used, period = (*group.words("cpu.max"), "", "")[:2]
    else:
        used, period = (*group.words("cpu.cfs_quota_us"), "")[0], (*group.words("cpu.cfs_period_us"), "")[0]
    return int(used) / int(period) if used.isdigit() and period.isdigit() and int(period) and int(used) else None


def _of_gpus(n_gpus: int, visible: str | None, names: tuple[str, ...] | None) -> Iterator[Limit]:
    here = f"{n_gpus or 'no'} GPU{'s' * (n_gpus != 1)}"
    if names is None:
        yield Limit("GPU", n_gpus, here)
    else:  # without device files, as under WSL, only the variable is known
        of = f" of {n_gpus}" if n_gpus else ""
        yield Limit("GPU", len(names), f"CUDA_VISIBLE_DEVICES={visible}: {len(names) or 'no'}{of} GPU{'s' * (len(names) != 1)}")


def _of_memory(groups: tuple[_Group, ...], root: Path) -> Iterator[Limit]:
    of_machine = {key: value for key, _, value in (line.partition(":") for line in _lines(root / "proc/meminfo"))}
    total, free = (_kilobytes(of_machine.get(name, "")) for name in ("MemTotal", "MemAvailable"))
    if free is not None and total is not None:
        yield Limit("memory", MEMORY_SHARE * free, f"memory of this machine: {_gigabytes(free)} of {_gigabytes(total)} GB are free")
    for group in groups:
        limit, used = _memory(group)
        if limit is not None and limit < min(_NO_LIMIT, total or _NO_LIMIT):
            left = max(0, limit - used)
            text = f"memory limit of this container: {_gigabytes(left)} of {_gigabytes(limit)} GB are free"
            yield Limit("memory", MEMORY_SHARE * left, text)


def _memory(group: _Group) -> tuple[int | None, int]:
    """Return the memory limit of a group and how much memory is in use and cannot be freed at once, both in bytes."""
    if group.is_v2:
        return group.number("memory.max"), max(0, (group.number("memory.current") or 0) - (group.statistic("inactive_file") or 0))
    limits = (group.number("memory.limit_in_bytes"), group.statistic("hierarchical_memory_limit"))
    used = (group.number("memory.usage_in_bytes") or 0) - (group.statistic("total_inactive_file") or 0)
    return min((limit for limit in limits if limit is not None), default=None), max(0, used)


def _kilobytes(text: str) -> int | None:
    words = text.split()
    return 1024 * int(words[0]) if words and words[0].isdigit() else None


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f}"
