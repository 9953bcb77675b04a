"""`sweep run` into an object store, over a real HTTP server: it goes on after a kill and through faults, with the rows of a disk."""

import json
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from object_store import CREDENTIALS, ObjectStore, failing_share, proxy_before
from sweep_process import sweep_command, sweep_process, trained, write_grid

from sweep.cluster.machine import n_local_cpus
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
    pytest.mark.skipif(n_local_cpus() < 2, reason="not run: needs two processors"),
]

GRID: dict[str, Any] = {
    "name": "remote",
    "problem": {"name": "multidigits", "n_train": 512, "n_validation": 128, "n_test": 128},
    "preferences": {"list": [[0.02, 0.49, 0.49], [0.02, 0.38, 0.6], [0.05, 0.475, 0.475], [0.1, 0.45, 0.45]]},
    "training": {
        "batch_size": 128,
        "sparsify": {"outer_iterations": 2, "epochs": 8},
        "retrain": {"outer_iterations": 2, "epochs": 10},
        "lsuv": {"n_samples": 128},
    },
    "resources": {"checkpoint_s": 0, "pack": 2},
}
RUN = ("run", "grid.yaml", "--no-dashboard")
LONG_S = 500.0
"""A run, through every fault, on a machine that does much else."""


@pytest.fixture(scope="module")
def on_a_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows of an undisturbed run into a folder."""
    folder = tmp_path_factory.mktemp("disk")
    write_grid(folder / "grid.yaml", **GRID, output="out")
    ended = sweep_command(*RUN, folder=folder, timeout=LONG_S)
    assert ended.code == 0, ended.stderr
    return trained(folder / "out")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, with a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "w").mkdir()
    return tmp_path / "w"


def check_complete(address: str, rows: dict[str, dict[str, Any]]) -> None:
    """Everything that a complete run leaves, whatever came between."""
    store = Store(address)
    assert store.complete() == dict.fromkeys(rows, "ok")
    assert trained(address) == rows
    assert store.checkpoints() == store.live() == []
    assert store.lock_holder() is None
    assert not store.control.stop_requested()
    assert store.verify() == []
    assert isinstance(store.root, RemotePath)
    assert (store.root / "report.html").stat().st_size > 100_000
    assert {path.name for path in store.root.list()} >= {"manifest.json", "trials.parquet", "epochs.parquet", "blobs", "plans", "logs"}
    assert (store.root / "rows").list() == []


@pytest.mark.slow
def test_a_killed_run_goes_on_and_every_command_takes_the_address(
    s3_server: ObjectStore, workplace: Path, on_a_disk: dict[str, dict[str, Any]]
) -> None:
    address = s3_server.address(s3_server.make_bucket(f"run-{uuid.uuid4().hex[:8]}"), "team/results")
    write_grid(workplace / "grid.yaml", **GRID, output=address)
    store = Store(address)

    def is_in_the_middle() -> bool:
        live = [pack for pack in store.live() if "epoch" in pack]
        return len(live) == 2 and all(pack["epoch"] >= 3 for pack in live) and len(store.checkpoints()) == 2

    def is_held() -> bool:
        return (store.lock_holder() or {}).get("pid") == process.process.pid

    with sweep_process(*RUN, folder=workplace) as process:
        process.until(is_in_the_middle, "two running packs")
        process.process.send_signal(signal.SIGKILL)
        process.until_all_are_gone()
    kept = {trial_id: checkpoint.epoch for checkpoint in store.checkpoints() for trial_id in checkpoint.trial_ids}
    assert len(kept) == 4
    assert is_held(), "a killed process releases nothing"
    assert "2 from a checkpoint" in sweep_command("plan", "grid.yaml", folder=workplace).stdout

    with sweep_process(*RUN, folder=workplace) as process:
        process.until(is_held, "its claim")
        second = sweep_command(*RUN, folder=workplace)
        watched = json.loads(sweep_command("status", address, "--format", "json", folder=workplace).stdout)
        ended = process.wait(LONG_S)
        process.until_all_are_gone()
    assert second.code == 2
    assert f"another run works here: pid {process.process.pid} on host " in second.stderr
    assert (watched["name"], watched["folder"]) == ("remote", address)
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in second.stderr + ended.stderr
    assert f"report: {store.root / 'report.html'}" in ended.stdout
    check_complete(address, on_a_disk)
    assert isinstance(store.root, RemotePath)
    assert [path.name for path in (store.root / "logs").list()] == ["2.log"], "the log of an attempt that was killed stays on its machine"
    assert (store.latest_plan() or {})["log"] == "logs/2.log"

    for arguments, expected in (
        (("status", address), "4/4 trials complete: 4 ok"),
        (("verify", address), "4 complete trials, everything is in order"),
        (("front", address, "--format", "csv"), "trial_id"),
        (("report", address), str(store.root / "report.html")),
        (("report", address, "--out", "here.html"), "here.html"),
        (("table", address), "mdmtn"),
        (RUN, "nothing to do: every trial is complete"),
    ):
        ended = sweep_command(*arguments, folder=workplace)
        assert (ended.code, "Traceback" in ended.stderr) == (0, False), ended.stderr
        assert expected.lower() in ended.stdout.lower()
    assert sorted(path.name for path in workplace.iterdir() if not path.name.endswith(("stdout", "stderr"))) == ["grid.yaml", "here.html"]


@pytest.mark.slow
def test_faults_of_the_object_store_cost_no_result(s3_server: ObjectStore, workplace: Path, on_a_disk: dict[str, dict[str, Any]]) -> None:
    """A third of all requests fail, as an internal error or as too many, and every tenth answer takes a second."""
    bucket = s3_server.make_bucket(f"faults-{uuid.uuid4().hex[:8]}")
    write_grid(workplace / "grid.yaml", **GRID | {"resources": {"checkpoint_s": 2, "pack": 2}}, output=s3_server.address(bucket))
    with proxy_before(s3_server) as proxy:
        proxy.fault = failing_share(1 / 3, seed=7)
        proxy.delay_s = lambda request: 1.0 if len(proxy.requests) % 10 == 0 else 0.0
        ended = sweep_command(*RUN, "--out", s3_server.address(bucket, port=proxy.port), folder=workplace, timeout=LONG_S)
        print(f"{sum(proxy.counts.values())} requests, {proxy.n_faults} of them failed, {ended.seconds:.0f} s")
        assert ended.code == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        assert proxy.n_faults > 50
    check_complete(s3_server.address(bucket), on_a_disk)
