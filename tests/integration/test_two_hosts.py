"""A cluster of two hosts with a network of their own between them, which is cut in the middle of a sweep."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import ray_folder
from sweep_process import SweepProcess, live_of, plans_of, rows_of, sweep_command, trained, write_grid
from two_hosts import TOKEN, Host, HostProcess, ray_node, reason_to_skip, two_hosts
from waiting import until

from sweep.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]
SKIP = reason_to_skip()
needs_two_hosts = pytest.mark.skipif(SKIP is not None, reason=f"not run: {SKIP}")
PORT = 6399  # nobody else is in these namespaces

# Three packs of one trial; an epoch lasts about half a second, and the last one publishes.
GRID: dict[str, Any] = {
    "problem": {"name": "multidigits", "n_train": 2048, "n_validation": 128, "n_test": 128},
    "preferences": {"list": [[0, 0.5, 0.5], [0.1, 0.45, 0.45], [0.1, 0.3, 0.6]]},
    "training": {
        "batch_size": 64,
        "sparsify": {"outer_iterations": 2, "epochs": 2},
        "retrain": {"outer_iterations": 2, "epochs": 2},
    },
    "resources": {"pack": 1, "memory": "100MB", "checkpoint_s": 0},
}


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[Host, Host]]:
    """A head with one CPU on the near host, a worker node with one on the far host."""
    with (
        ray_folder() as temporary,
        two_hosts() as (near, far),
        ray_node(near, folder, temporary, "--head", f"--port={PORT}", "--num-cpus=1", "--include-dashboard=false"),
        ray_node(far, folder, temporary, f"--address={near.address}:{PORT}", "--num-cpus=1"),
    ):
        yield near, far


@contextlib.contextmanager
def sweep_on(host: Host, *arguments: object, folder: Path) -> Iterator[SweepProcess]:
    process = HostProcess(("-m", "sweep", *map(str, arguments)), folder, {"RAY_AUTH_TOKEN": TOKEN}, host=host)
    try:
        yield process
    finally:
        process.end()


def freeze_in_its_last_epoch(process: SweepProcess, host: Host, out: Path) -> tuple[int, dict[str, Any]]:
    """Stop the host's worker while the epoch runs whose end publishes a row; its pid and what it last said."""

    def about_to_end() -> tuple[int, dict[str, Any]] | None:
        last = [live for live in live_of(out) if live["epoch"] == live["n_epochs"] - 1]
        there = host.pids() if last else []
        return next(((live["pid"], live) for live in last if live["pid"] in there), None)

    pid, live = process.until(about_to_end, "a last epoch on the far host")
    time.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)
    return pid, live


@needs_two_hosts
def test_a_late_writer_beyond_a_cut_cable_changes_nothing(tmp_path: Path) -> None:
    undisturbed = sweep_command("run", write_grid(tmp_path / "undisturbed.yaml", **GRID, output="undisturbed"), folder=tmp_path)
    assert undisturbed.code == 0, undisturbed.stderr
    expected = trained(tmp_path / "undisturbed")
    assert len(expected) == 3

    grid, out = write_grid(tmp_path / "grid.yaml", **GRID, output="out"), tmp_path / "out"
    with cluster(tmp_path) as (near, far):
        arguments = ("run", grid, "--address", f"{near.address}:{PORT}")
        with sweep_on(near, *arguments, folder=tmp_path) as process:
            late, frozen = freeze_in_its_last_epoch(process, far, out)
            (trial_id,) = frozen["trial_ids"]
            assert trial_id not in Store(out).complete()
            near.cut()
            ended = process.wait(240)
        assert ended.code == 0, ended.stderr
        assert trained(out) == expected, "the near side is complete without the far one"
        row = rows_of(out)[trial_id]
        assert (row["attempt"], row["retry"]) > (frozen["attempt"], frozen["retry"])

        os.kill(late, signal.SIGCONT)
        late_row = out / "rows" / f"{trial_id}.{frozen['attempt']}-{frozen['retry']}.parquet"
        until(late_row.exists, "row from the far side")
        assert trained(out) == expected
        assert rows_of(out)[trial_id] == row, "the late row is not the one that counts"

        near.mend()
        time.sleep(2)
        with sweep_on(near, *arguments, folder=tmp_path) as again:
            ended = again.wait(60)
        assert ended.code == 0, ended.stderr
        assert "nothing to do" in ended.stdout
        assert trained(out) == expected
        verified = sweep_command("verify", out, folder=tmp_path)
        assert verified.code == 0, verified.stdout + verified.stderr
    assert len(plans_of(out)) <= 3
