"""Printing a measured figure with its limit, and the state of the machine. It imports little, since a process that measures the memory of a
child must be small itself."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

N_TRIALS = 100_000
"""Trials of a large sweep."""


def show(name: str, value: float, unit: str, limit: float | None = None, note: str = "") -> None:
    """Print one line: what was measured, its limit if there is one, and whether it is kept."""
    verdict = "" if limit is None else f"limit {limit:,.4g} {unit}: {'kept' if value < limit else 'MISSED'}"
    print(f"  {name:60s} {value:9,.2f} {unit:3s} {verdict:26s} {note}".rstrip(), flush=True)


def machine() -> str:
    """Return the number of cores and the load, as the figures depend on both."""
    return f"{os.cpu_count()} cores, load {', '.join(f'{value:.1f}' for value in os.getloadavg())}, Python {sys.version.split()[0]}"


def seconds(function: Callable[[], object], rounds: int = 1) -> float:
    """Return the wall time of one call, the least of some rounds, because others use the machine too."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def run(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run a command and return its seconds and the largest resident size of its process in MB (1e6 bytes).

    The size is at least this process's own when the command starts, so call this before importing anything large.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return time.perf_counter() - started, peak_mb(usage)


def peak_mb(usage: resource.struct_rusage) -> float:
    """Return the largest resident size of this process in MB (1e6 bytes)."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
