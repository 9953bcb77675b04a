"""Joining a cluster that runs already, with Ray's token authentication on: its nodes are checked, and all of them used."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from clusters import SMALL, cluster, is_root
from sweep_process import REPOSITORY, live_of, plans_of, rows_of, sweep_command, sweep_process, trained, write_grid

from sweep.store.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]
TWO = {"list": [[0, 0.5, 0.5], [0.1, 0.45, 0.45]]}


def test_a_cluster_is_joined_and_stays(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid.yaml", **SMALL, preferences=TWO, output="out")
    with cluster(tmp_path, "--num-cpus=2", "--include-dashboard=false") as joined:
        ended = sweep_command("run", grid, "--address", joined.address, folder=tmp_path, **joined.environment)
        assert ended.code == 0, ended.stderr
        assert "dashboard" not in ended.stderr
        assert {row["state"] for row in rows_of(tmp_path / "out").values()} == {"ok"}
        assert len(rows_of(tmp_path / "out")) == 2
        assert any("gcs_server" in command for command in joined.nodes[0].living().values()), "the cluster is not ours to stop"


@pytest.mark.slow
def test_unlike_nodes_train_at_once_and_the_rows_are_those_of_one_machine(tmp_path: Path) -> None:
    """Half a GPU for each of two workers, and a worker without on the other node: three at once only if all are used. Where there
    is no CUDA, a worker that was given a part of a (logical) GPU trains on the CPU, as `device: auto` says."""
    asked = SMALL | {
        "preferences": {"list": [[0, a / 16, 1 - a / 16] for a in (4, 6, 8)]},
        "training": {"sparsify": {"outer_iterations": 2, "epochs": 10}, "retrain": {"outer_iterations": 2, "epochs": 20}},
    }
    kinds = {"gpus": 0.5, "cpus": 0.5, "memory": "100MB", "also": [{"cpus": 1, "memory": "100MB"}]}
    mixed = write_grid(tmp_path / "mixed.yaml", **asked, resources=kinds | {"pack": 1}, output="mixed")
    out = tmp_path / "mixed"
    with cluster(tmp_path, "--num-cpus=1", "--num-gpus=1", "--include-dashboard=false") as joined:
        joined.add("--num-cpus=1")
        with sweep_process("run", mixed, "--address", joined.address, folder=tmp_path, **joined.environment) as process:
            process.until(lambda: len({live["pid"] for live in live_of(out)}) == 3, "three workers at once", timeout=400)
            ended = process.wait(400)
        assert ended.code == 0, ended.stderr
    alone = sweep_command("run", write_grid(tmp_path / "alone.yaml", **asked, output="alone"), folder=tmp_path, timeout=400)
    assert alone.code == 0, alone.stderr
    assert trained(out) == trained(tmp_path / "alone")
    assert len(trained(out)) == 3
    assert plans_of(out) == [1], "looking at the cluster is no attempt"


def test_nodes_that_differ_are_named_before_anything_starts(tmp_path: Path) -> None:
    """One has another checkout of the product under the same version, one another folder at the results' path."""
    other = tmp_path / "checkout"
    for package in ("sweep", "trainer", "analysis"):
        shutil.copytree(REPOSITORY / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "trainer" / "objectives" / "growl.py").open("a").write("# another penalty\n")
    results = tmp_path / "results"
    results.mkdir()
    grid = write_grid(tmp_path / "grid.yaml", **SMALL, preferences=TWO, output=str(results / "out"))
    with cluster(tmp_path, "--num-cpus=1", "--include-dashboard=false") as joined:
        joined.add("--num-cpus=1", PYTHONPATH=str(other))
        joined.add("--num-cpus=0", PYTHONPATH="/nowhere")  # trains nothing, so it may be as it likes
        if is_root():
            joined.add("--num-cpus=1", before=f"mount -t tmpfs none {results}")
        ended = sweep_command("run", grid, "--address", joined.address, folder=tmp_path, **joined.environment)
        assert ended.code == 2, ended.stderr
        assert "Traceback" not in ended.stderr
        assert f"Error: {2 if is_root() else 1} of {3 if is_root() else 2} nodes cannot train for this run" in ended.stderr
        assert "the source of pareto-sweep is " in ended.stderr
        assert not is_root() or f"the results folder {results / 'out'} is not there" in ended.stderr
        assert ended.stderr.count("\n  node ") == (2 if is_root() else 1)
    assert not Store(results / "out").complete()
    assert plans_of(results / "out") == []


@pytest.mark.slow
def test_a_node_that_joins_later_and_differs_trains_nothing(tmp_path: Path) -> None:
    """Only it has room for the second pack; its worker refuses, the first pack's row stays, and the run ends by naming the node."""
    other = tmp_path / "checkout"
    for package in ("sweep", "trainer", "analysis"):
        shutil.copytree(REPOSITORY / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "trainer" / "objectives" / "growl.py").open("a").write("# another penalty\n")
    kinds = {"gpus": 1, "memory": "100MB", "also": [{"cpus": 1, "memory": "100MB"}], "pack": 1}
    grid = write_grid(tmp_path / "grid.yaml", **SMALL, preferences=TWO, resources=kinds, output="out")
    out = tmp_path / "out"
    with (
        cluster(tmp_path, "--num-cpus=1", "--num-gpus=0", "--include-dashboard=false") as joined,
        sweep_process("run", grid, "--address", joined.address, folder=tmp_path, **joined.environment) as process,
    ):
        (first,) = process.until(lambda: Store(out).live() if (out / "live").exists() else [], "a running pack", timeout=400)
        os.kill(first["pid"], signal.SIGSTOP)  # so the first pack does not make room for the second one
        late = joined.add("--num-cpus=1", "--num-gpus=1", PYTHONPATH=str(other))
        process.until(lambda: any("PackTrainable" in command for command in late.living().values()), "a worker there", timeout=400)
        os.kill(first["pid"], signal.SIGCONT)
        ended = process.wait(400)
    assert ended.code == 2, ended.stderr
    assert "Error: 1 of 2 nodes cannot train for this run" in ended.stderr
    assert "the source of pareto-sweep is " in ended.stderr
    (row,) = rows_of(out).values()
    assert (row["trial_id"], row["state"]) == (first["trial_ids"][0], "ok")
    assert plans_of(out) == [1]
