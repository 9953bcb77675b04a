"""How tests wait: for a state, never for a time, and the longer the busier the machine is."""

import os
import time
from collections.abc import Callable
from typing import Any

_MOST = 5.0


def patience(seconds: float) -> float:
    """A limit for a machine with nothing else to do, in seconds, made longer for the load that this machine has now.

    Args:
        seconds: the limit where every process has a processor to itself.

    Returns:
        `seconds` times the processes per processor that want to run, at least once and at most five times.
    """
    return seconds * min(_MOST, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def until(condition: Callable[[], Any], what: str, seconds: float = 60.0, more: Callable[[], str] = str) -> Any:
    """Wait for a condition.

    Args:
        condition: is asked again and again.
        what: is awaited, for the message.
        seconds: the limit on a quiet machine (`patience`).
        more: what the message says besides, asked when it is raised.

    Returns:
        The first true thing that the condition returns.

    Raises:
        AssertionError: it has not come true in time.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < patience(seconds), f"no {what} within {waited:.0f} s\n{more()}".rstrip()
        time.sleep(0.03)
    return found
