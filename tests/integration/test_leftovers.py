"""What a run with a real local Ray leaves in the temporary folder: nothing of its own, whatever ended its driver."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep_process import in_the_middle, sweep_process, write_grid
from test_sweep_run import GRID

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="l-", dir="/tmp") as folder:
        yield Path(folder)


def left(temporary: Path) -> list[str]:
    """All but the list for Prometheus, which watches that file over many runs."""
    paths = (path for path in temporary.rglob("*") if path.name != "prom_metrics_service_discovery.json")
    return [str(path) for path in paths if path != temporary / "ray"]


def test_nothing_is_left_after_a_killed_driver_and_after_a_good_end(tmp_path: Path, temporary: Path) -> None:
    write_grid(tmp_path / "grid.yaml", **GRID)
    out = tmp_path / "out"
    with sweep_process("run", "grid.yaml", folder=tmp_path, TMPDIR=str(temporary), RAY_TMPDIR="") as process:
        process.until(lambda: in_the_middle(out), "running packs")
        assert any((temporary / "ray").glob("session_*_*"))
        os.kill(process.driver() or 0, signal.SIGKILL)
        process.until(lambda: (out / "logs/2.log").exists(), "another attempt")
        first = (out / "logs/1.log").read_text()
        ended = process.wait()
    assert ended.code == 0, ended.stderr
    assert "--- Ray's" in first, "the logs of the attempt that failed are kept"
    assert left(temporary) == []
