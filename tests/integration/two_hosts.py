"""Two hosts on one machine: network namespaces with a cable between them that can be cut. They share files, processes and the clock.

Needs root and iproute2. Whatever it made is removed at the end, and only that.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clusters import started_node
from sweep_process import SweepProcess

# A node that cannot be reached counts as dead after about 3 s; one that cannot reach the head goes on for minutes.
NOTICE_SOON = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
}

TOKEN = uuid.uuid4().hex
"""Of the cluster; who joins it needs it as RAY_AUTH_TOKEN."""


def reason_to_skip() -> str | None:
    """Why there can be no two hosts here; None when there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2 (Debian: apt install iproute2)"
    try:
        with two_hosts():
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()}"


@dataclass(frozen=True)
class Host:
    """One end of the cable."""

    namespace: str
    address: str
    device: str

    def command(self, *arguments: str) -> list[str]:
        """The command, to be run on this host."""
        return ["ip", "netns", "exec", self.namespace, *arguments]

    def pids(self) -> list[int]:
        """Its processes."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def cut(self) -> None:
        """Pull the cable out at this end."""
        _ip("-n", self.namespace, "link", "set", self.device, "down")

    def mend(self) -> None:
        """Put it in again."""
        _ip("-n", self.namespace, "link", "set", self.device, "up")


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """A near and a far one, connected."""
    mark = uuid.uuid4().hex[:6]
    near = Host(f"sweep-near-{mark}", "10.77.0.1", f"swn{mark}")
    far = Host(f"sweep-far-{mark}", "10.77.0.2", f"swf{mark}")
    made: list[Host] = []
    try:
        for host in (near, far):
            _ip("netns", "add", host.namespace)
            made.append(host)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        _ip("-n", near.namespace, "link", "add", near.device, "type", "veth", "peer", "name", far.device, "netns", far.namespace)
        for host in (near, far):
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.device)
            host.mend()
        yield near, far
    finally:
        for host in made:
            for pid in host.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _ip("netns", "del", host.namespace)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=20).stdout


@dataclass
class HostProcess(SweepProcess):
    """A Python command on one of the hosts."""

    host: Host | None = field(default=None)

    def command_line(self) -> list[str]:
        """With the host's network around it."""
        assert self.host is not None
        return self.host.command(*super().command_line())


@contextlib.contextmanager
def ray_node(host: Host, folder: Path, temporary: str, *arguments: str) -> Iterator[HostProcess]:
    """`ray start --block` on a host, ended with the block. Both hosts share `temporary`, as they share all files."""
    options = (f"--node-ip-address={host.address}", "--disable-usage-stats", "--block")
    environment = NOTICE_SOON | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_TMPDIR": temporary}
    command = ("-m", "ray.scripts.scripts", "start", *arguments, *options)
    node = started_node(lambda: HostProcess(command, folder, environment, host=host))
    try:
        yield node
    finally:
        node.end()
