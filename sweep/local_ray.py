"""What keeps a local Ray to this machine and this user: loopback and the token.

Imports no Ray: both have to be settled before Ray is imported. A cluster that is joined with
`--address` was set up by somebody else, and none of this applies to it but `private_token`.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import MutableMapping
from pathlib import Path

# Ray takes the machine's own address for its node even when it is told 127.0.0.1, and then listens on every interface. This
# switch, meant for macOS and Windows where it is off by default, makes the node's address 127.0.0.1, and every port follows it.
_CLUSTER_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_TOKEN_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keep_to_loopback(environment: MutableMapping[str, str]) -> None:
    """Make a Ray that starts with this environment listen on loopback only, and ask for its token.

    What the user has set stays: `RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=1` opens the ports, `RAY_AUTH_MODE=disabled` drops the token.
    """
    environment.setdefault(_CLUSTER_SWITCH, "0")
    environment.setdefault("RAY_AUTH_MODE", "token")


def private_token(home: Path, *, is_needed: bool) -> None:
    """See to it that `~/.ray/auth_token` is readable for its owner only: whoever has it runs code as that user.

    Ray makes the file readable for everybody. A file that is there keeps its content. Where the home folder does not take
    files nothing happens, and Ray says what it needs.

    Args:
        home: the user's home folder.
        is_needed: make a token where there is none.
    """
    path = home / ".ray" / "auth_token"
    with contextlib.suppress(OSError):
        if is_needed and not path.exists():
            _create(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)


def _create(path: Path) -> None:
    """Write aside and link: of two runs that start at the same moment both use the first one's token."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_TOKEN_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)
