"""Processor time used by this process, and by all processes on the machine."""

import os
import time
from pathlib import Path

PROC_STAT = Path("/proc/stat")
_IDLE_FIELDS = (3, 4)  # idle, iowait
_N_FIELDS = 8  # user, nice, system, idle, iowait, irq, softirq, steal; user and nice already include guests


def own_cpu_s() -> float:
    """Return the processor seconds that all threads of this process have used so far."""
    return time.process_time()


def busy_cpu_s(path: Path = PROC_STAT) -> float:
    """Return the total busy seconds of all processors of the machine so far, in steps of 10 ms.

    Args:
        path: Linux's `/proc/stat`.

    Raises:
        OSError, ValueError: the file cannot be read, or has another format.
    """
    name, *fields = path.read_text(encoding="ascii").partition("\n")[0].split()
    ticks = [int(field) for field in fields[:_N_FIELDS]]
    if name != "cpu" or len(ticks) < 4:
        raise ValueError(f"{path}: a first line `cpu` and at least four counts expected, found {name} and {len(ticks)}")
    busy = sum(count for place, count in enumerate(ticks) if place not in _IDLE_FIELDS)
    return busy / os.sysconf("SC_CLK_TCK")
