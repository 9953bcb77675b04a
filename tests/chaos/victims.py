"""Choosing the process of a run to hit. Only processes with the mark of the run in their environment are ever found."""

import os
import random
import signal

from tests.integration.sweep_process import SweepProcess

KINDS = ("worker", "driver", "supervisor", "raylet", "gcs")


def find(process: SweepProcess, kind: str, chance: random.Random | None = None) -> int | None:
    """Return the process id of a living victim, or None if there is none now."""
    if kind == "supervisor":
        return process.process.pid if process.process.poll() is None else None
    if kind == "driver":
        return process.driver()
    living = process.living()
    found = sorted(pid for pid, command in living.items() if _is(kind, command))
    return (chance or random).choice(found) if found else None


def hit(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send a signal; return False if the process had just ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _is(kind: str, command: str) -> bool:
    if kind == "worker":
        return command.startswith("ray::PackTrainable")
    program = command.partition(" ")[0]
    return program.endswith({"raylet": "/raylet", "gcs": "/gcs_server"}[kind])
