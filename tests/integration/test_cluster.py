"""Joining a cluster that runs already: `--address`, with Ray's token authentication on."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep_process import SweepProcess, rows_of, sweep_command, write_grid

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def cluster(folder: Path, port: int) -> Iterator[SweepProcess]:
    """A head with two CPUs, ended with the block."""
    arguments = ("start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", "--block")
    head = SweepProcess(("-m", "ray.scripts.scripts", *arguments), folder)
    try:
        head.until(lambda: "Ray runtime started" in head.printed(), "a cluster", timeout=120)
        yield head
    finally:
        head.end()


def test_a_cluster_is_joined_and_stays(tmp_path: Path) -> None:
    grid = write_grid(
        tmp_path / "grid.yaml",
        problem={"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64},
        preferences={"list": [[0, 0.5, 0.5], [0.1, 0.45, 0.45]]},
        training={"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 1}},
        output="out",
    )
    port = free_port()
    with cluster(tmp_path, port) as head:
        ended = sweep_command("run", grid, "--address", f"127.0.0.1:{port}", folder=tmp_path)
        assert ended.code == 0, ended.stderr
        assert "dashboard" not in ended.stderr
        assert {row["state"] for row in rows_of(tmp_path / "out").values()} == {"ok"}
        assert len(rows_of(tmp_path / "out")) == 2
        assert any("gcs_server" in command for command in head.living().values()), "the cluster is not ours to stop"
