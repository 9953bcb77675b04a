"""`ray job submit -- sweep run`: the run joins the cluster that the job is in, and ends as the job's stop asks."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import SMALL, Cluster, cluster, free_port
from sweep_process import SweepProcess, epochs_in_checkpoints, live_of, rows_of, sweep_command, write_grid
from waiting import until

from sweep.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200)]
LONG = {"sparsify": {"outer_iterations": 4, "epochs": 20}, "retrain": {"outer_iterations": 4, "epochs": 20}}


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that takes jobs."""
    port = free_port()
    folder = tmp_path_factory.mktemp("cluster")
    with cluster(folder, "--num-cpus=2", f"--dashboard-port={port}", "--dashboard-host=127.0.0.1") as made:
        made.environment["RAY_ADDRESS"] = f"http://127.0.0.1:{port}"
        # A node takes jobs some time after it has started.
        until(lambda: job(made, folder, "submit", "--", "true").wait().code == 0, "cluster that takes jobs", 400)
        yield made


def job(joined: Cluster, folder: Path, *arguments: object) -> SweepProcess:
    """A `ray job` command."""
    return SweepProcess(("-m", "ray.scripts.scripts", "job", *map(str, arguments)), folder, joined.environment)


def submit(joined: Cluster, folder: Path, name: str, *arguments: object) -> SweepProcess:
    """Submit `sweep run` with a working directory that holds no more than the grid file."""
    work = folder / "work"
    command = (sys.executable, "-P", "-m", "sweep", "run", *arguments)
    return job(joined, folder, "submit", f"--submission-id={name}", f"--working-dir={work}", "--", *command)


def grid_in(folder: Path, **changes: Any) -> Path:
    (folder / "work").mkdir()
    return write_grid(folder / "work" / "grid.yaml", **SMALL | {"preferences": {"list": [[0.1, 0.45, 0.45]]}} | changes)


def test_a_job_joins_the_cluster_it_is_in(joined: Cluster, tmp_path: Path) -> None:
    grid_in(tmp_path)
    submitted = submit(joined, tmp_path, "complete", "grid.yaml", "--out", tmp_path / "out")
    try:
        ended = submitted.wait(400)
    finally:
        submitted.end()
    printed = ended.stdout + ended.stderr
    assert ended.code == 0, printed
    assert "a submitted job: joining the cluster at " in printed
    assert {row["state"] for row in rows_of(tmp_path / "out").values()} == {"ok"}
    log = (tmp_path / "out" / "logs" / "1.log").read_text()
    assert "Started a local Ray instance" not in log


def test_results_in_the_jobs_own_folder_are_refused(joined: Cluster, tmp_path: Path) -> None:
    grid_in(tmp_path)
    submitted = submit(joined, tmp_path, "refused", "grid.yaml")
    try:
        ended = submitted.wait(400)
    finally:
        submitted.end()
    assert "temporary folder, which Ray removes" in ended.stdout + ended.stderr
    assert "exit code 2" in ended.stdout + ended.stderr


def test_a_stopped_job_keeps_its_epochs_and_goes_on(joined: Cluster, tmp_path: Path) -> None:
    grid_in(tmp_path, training=LONG, resources={"checkpoint_s": 600})  # so a checkpoint there is, was kept at the stop
    out = tmp_path / "out"
    submitted = submit(joined, tmp_path, "stopped", "grid.yaml", "--out", out)
    try:
        submitted.until(lambda: any(live["epoch"] >= 3 for live in live_of(out)), "a few epochs", timeout=400)
        assert not epochs_in_checkpoints(out)
        stop = job(joined, tmp_path, "stop", "stopped")
        assert stop.wait(120).code == 0
        submitted.wait(120)
    finally:
        submitted.end()
    (epoch,) = until(lambda: epochs_in_checkpoints(out), "checkpoint").values()
    assert epoch >= 3
    assert not Store(out).complete()
    ended = sweep_command(
        "run", tmp_path / "work" / "grid.yaml", "--out", out, "--address", joined.address, folder=tmp_path, **joined.environment
    )
    assert ended.code == 0, ended.stderr
    assert {row["state"] for row in rows_of(out).values()} == {"ok"}
