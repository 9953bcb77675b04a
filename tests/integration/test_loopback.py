"""A local Ray is for this machine and this user: its ports, its token, its sockets."""

import json
import stat
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import listening, session_of
from sweep_process import in_the_middle, sweep_process, write_grid

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="open sockets are read from Linux' /proc"),
]

PARTS = ("gcs_server", "raylet", "dashboard", "DashboardAgent", "RuntimeEnvAgent", "PackTrainable")


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder of the user's own, short, since the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_every_port_is_on_loopback_and_the_token_is_the_owners(tmp_path: Path, private: Path) -> None:
    grid = write_grid(
        tmp_path / "grid.yaml",
        problem={"name": "multidigits", "n_train": 512, "n_validation": 64, "n_test": 64},
        preferences={"list": [[0.1, 0.45, 0.45]]},
        training={"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 100, "epochs": 10}},
        output="out",
    )
    home = tmp_path / "home"
    home.mkdir()
    with sweep_process("run", grid, folder=tmp_path, HOME=str(home), RAY_TMPDIR=str(private)) as process:
        process.until(lambda: in_the_middle(tmp_path / "out", margin=1), "a pack in training")
        # By session, since Ray's agents overwrite their environment with a name.
        driver = process.driver()
        assert driver is not None

        def names() -> dict[int, str]:
            return {pid: _command_line(pid) for pid in session_of(driver)} | process.living()

        def is_complete() -> bool:
            listeners = {pid for _, _, pid in listening(names())}
            return all(any(part in name for pid, name in names().items() if pid in listeners) for part in PARTS)

        process.until(is_complete, f"sockets of all of {PARTS}", timeout=60)
        living = names()
        elsewhere = [(str(address), port, living[pid]) for address, port, pid in listening(living) if not address.is_loopback]
        assert elsewhere == []

        token = home / ".ray" / "auth_token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700

        dashboard = next(line.split()[-1] for line in process.printed().splitlines() if line.startswith("Ray dashboard: "))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{dashboard}/api/jobs/", timeout=30)
        assert refused.value.code == 401
        asked = urllib.request.Request(f"{dashboard}/api/jobs/", headers={"Authorization": f"Bearer {token.read_text()}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert isinstance(json.load(answer), list)

        sockets = [path for pid in living for path in _local_sockets(pid)]
        assert sockets, "no socket of Ray's session was found"
        assert all(path.is_relative_to(private) for path in sockets), "RAY_TMPDIR is what docs/security.md advises"


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _local_sockets(pid: int) -> list[Path]:
    """Paths of the local sockets on the command line of Ray's processes."""
    values = [word.partition("=")[2] for word in _command_line(pid).split() if "socket" in word]
    return [Path(value) for value in values if value.startswith("/") and Path(value).exists()]
