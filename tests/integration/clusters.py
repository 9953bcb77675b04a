"""Ray clusters of a test's own on this machine, ended with it."""

import contextlib
import os
import shlex
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sweep_process import SweepProcess

SMALL: dict[str, Any] = {
    "problem": {"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64},
    "training": {"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 1}},
}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class ShellProcess(SweepProcess):
    """A command line of the shell in place of a Python command; `{python}` in it is this Python."""

    shell: str = field(default="")

    def command_line(self) -> list[str]:
        """What is run."""
        return ["bash", "-c", self.shell.replace("{python}", shlex.quote(sys.executable))]


def ray_folder() -> "tempfile.TemporaryDirectory[str]":
    """Where a cluster keeps its sockets and its address, as RAY_TMPDIR: other clusters of this machine are no business of its own.

    A short path, since a socket's may have 107 characters.
    """
    return tempfile.TemporaryDirectory(prefix="sw-", ignore_cleanup_errors=True)


NodeProcess = TypeVar("NodeProcess", bound=SweepProcess)


def started_node(begin: Callable[[], NodeProcess]) -> NodeProcess:
    """A Ray node that has started. Ray itself gives up after 30 s, which a busy machine may need: then it begins once more."""
    n_left = 3
    while True:
        node, n_left = begin(), n_left - 1
        try:
            node.until(partial(_has_started, node), "a Ray node", timeout=180)
            return node
        except AssertionError:
            node.end()
            if not n_left or "timed out during startup" not in node.printed():
                raise


def _has_started(node: SweepProcess) -> bool:
    return "Ray runtime started" in node.printed()


class Cluster:
    """A head on 127.0.0.1 with a token of its own, and nodes beside it.

    Args:
        folder: what its processes print goes there.
        head: options of `ray start --head`.
    """

    def __init__(self, folder: Path, *head: str, **environment: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._temporary = ray_folder()
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex, "RAY_TMPDIR": self._temporary.name}
        self.environment = own | environment
        """What who joins it needs."""
        self._folder = folder
        self.nodes: list[SweepProcess] = []
        self.start("--head", f"--port={self.address.rpartition(':')[2]}", *head)

    def start(self, *options: str, before: str = "", **environment: str) -> SweepProcess:
        """One more node.

        Args:
            options: of `ray start`.
            before: a shell command that runs before it, in a mount namespace of its own.
        """
        own = ("--node-ip-address=127.0.0.1", f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats", "--block")
        arguments = ("-m", "ray.scripts.scripts", "start", *options, *own)
        variables = self.environment | environment
        if before:
            inner = f"{before} && exec {{python}} {shlex.join(arguments)}"
            shell = f"exec unshare --mount bash -c {shlex.quote(inner)}"
            return self._started(lambda: ShellProcess((), self._folder, variables, shell=shell))
        return self._started(lambda: SweepProcess(arguments, self._folder, variables))

    def _started(self, begin: Callable[[], SweepProcess]) -> SweepProcess:
        node = started_node(begin)
        self.nodes.append(node)
        return node

    def add(self, *options: str, before: str = "", **environment: str) -> SweepProcess:
        """One more node that joins the head."""
        return self.start(f"--address={self.address}", *options, before=before, **environment)

    def end(self) -> None:
        """Of all nodes."""
        for node in reversed(self.nodes):
            node.end()
        self._temporary.cleanup()


@contextlib.contextmanager
def cluster(folder: Path, *head: str, **environment: str) -> Iterator[Cluster]:
    """A cluster, ended with the block."""
    made = None
    try:
        made = Cluster(folder, *head, **environment)
        yield made
    finally:
        if made is not None:
            made.end()


def is_root() -> bool:
    """Mount namespaces need root."""
    return os.geteuid() == 0
