"""configs/cluster/slurm.sh with stand-ins for Slurm's own commands, and everything else real: Ray nodes, the sweep, signals."""

import os
import shlex
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import SMALL, ShellProcess, ray_folder
from sweep_process import REPOSITORY, epochs_in_checkpoints, live_of, rows_of, write_grid

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200)]
SCRIPT = REPOSITORY / "configs" / "cluster" / "slurm.sh"
LONG = {"sparsify": {"outer_iterations": 4, "epochs": 20}, "retrain": {"outer_iterations": 4, "epochs": 20}}

# `srun` runs its command here, on "node" after "node"; `scontrol` names two nodes that are this machine, and notes what it is asked.
STAND_INS = {
    "srun": 'while [[ "$1" == --* ]]; do shift; done\nexec "$@"',
    "scontrol": 'echo "$@" >> "$STAND_IN_LOG"\nif [ "$1" = show ]; then printf "localhost\\nlocalhost\\n"; fi',
    "sweep": f'exec {shlex.quote(sys.executable)} -P -m sweep "$@"',
    "ray": f'exec {shlex.quote(sys.executable)} -m ray.scripts.scripts "$@"',
}


@pytest.fixture
def batch(tmp_path: Path) -> Iterator["Batch"]:
    made = Batch(tmp_path)
    yield made
    made.end()


class Batch:
    """Jobs that the batch file is submitted as."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "scontrol.log"
        commands = folder / "bin"
        commands.mkdir()
        for name, text in STAND_INS.items():
            (commands / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
            (commands / name).chmod(0o755)
        self._temporary = ray_folder()
        self._jobs: list[ShellProcess] = []
        self._environment = {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "RAY_TMPDIR": self._temporary.name,
            "STAND_IN_LOG": str(self.log),
            "SLURM_JOB_ID": str(int(uuid.uuid4()) % 10**6),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
        }

    def submit(self, *arguments: object) -> ShellProcess:
        """Start the batch file as Slurm would."""
        shell = f"exec bash {shlex.quote(str(SCRIPT))} {shlex.join(map(str, arguments))}"
        self._jobs.append(ShellProcess((), self.folder, self._environment, shell=shell))
        return self._jobs[-1]

    def requeued(self) -> bool:
        """Whether the job was put back into the queue."""
        return f"requeue {self._environment['SLURM_JOB_ID']}" in self.log.read_text().splitlines()

    def end(self) -> None:
        """Leave nothing behind."""
        for job in self._jobs:
            job.end()
        self._temporary.cleanup()


def test_a_job_whose_time_is_up_is_requeued_and_goes_on(batch: Batch, tmp_path: Path) -> None:
    out = tmp_path / "out"
    grid = write_grid(
        tmp_path / "grid.yaml",
        **SMALL | {"training": LONG},
        preferences={"list": [[0.1, 0.45, 0.45], [0.1, 0.3, 0.6]]},
        resources={"pack": 1, "memory": "100MB", "checkpoint_s": 600},
    )
    job = batch.submit(grid, "--out", out)
    job.until(lambda: len({live["pid"] for live in live_of(out) if live["epoch"] >= 2}) == 2, "a pack on each node", timeout=500)
    assert not epochs_in_checkpoints(out)
    os.kill(job.process.pid, signal.SIGUSR1)  # what `#SBATCH --signal=B:USR1@120` does: the batch shell alone
    ended = job.wait(120)
    assert ended.code == 130, ended.stderr
    assert batch.requeued()
    assert len(epochs_in_checkpoints(out)) == 2
    assert min(epochs_in_checkpoints(out).values()) >= 2
    assert "stopping: running epochs end and are kept" in ended.stderr
    job.until_all_are_gone(30)

    batch.log.unlink()
    again = batch.submit(grid, "--out", out)
    ended = again.wait(400)
    assert ended.code == 0, ended.stderr
    assert not batch.requeued()
    assert [row["state"] for row in rows_of(out).values()] == ["ok", "ok"]
    again.until_all_are_gone(30)


def test_a_job_that_is_cancelled_stays_so_and_a_mistake_is_told(batch: Batch, tmp_path: Path) -> None:
    """The sweep's exit code is the job's."""
    (tmp_path / "grid.yaml").write_text("problem: multidigits\nseedz: [0]\n")
    job = batch.submit(tmp_path / "grid.yaml", "--out", tmp_path / "out")
    ended = job.wait(400)
    assert ended.code == 2, ended.stderr
    assert "did you mean `seeds`" in ended.stderr
    assert not batch.requeued()
    job.until_all_are_gone(30)
