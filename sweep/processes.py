"""Ending what a process leaves behind, and nothing else."""

import contextlib
import os
import signal
from pathlib import Path


def kill_session(leader: int) -> None:
    """Kill every process in the session that `leader` began, but not the calling one.

    Ray's agents outlive a killed driver or raylet by up to a minute. They stay in the driver's session, where nobody else
    is. Without /proc (macOS) this does nothing.

    Args:
        leader: process id of the session's leader, alive or dead.
    """
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)
