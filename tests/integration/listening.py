"""Which addresses the processes of a run listen on, from Linux' /proc."""

import contextlib
import os
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTEN = "0A"


def listening(pids: Iterable[int]) -> list[tuple[IPv4Address | IPv6Address, int, int]]:
    """(address, port, pid) of every TCP socket that these processes listen on; an IPv4 address in IPv6 is one of IPv4."""
    sockets = _listening_sockets()
    found = []
    for pid in pids:
        for inode in _inodes(pid):
            if inode in sockets:
                found.append((*sockets[inode], pid))
    return found


def session_of(leader: int) -> list[int]:
    """The processes in the session that `leader` began."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


def _listening_sockets() -> dict[str, tuple[IPv4Address | IPv6Address, int]]:
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                found[fields[9]] = (_address(address), int(port, 16))
    return found


def _address(text: str) -> IPv4Address | IPv6Address:
    """Words of four bytes, each in the machine's order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _inodes(pid: int) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                    found.append(match[1])
    return found
