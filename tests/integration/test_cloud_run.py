"""`sweep run` into Azure's and Google's stores, by real HTTP servers: it ends complete, and every command takes the address."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud_servers import KINDS, CloudServer, cloud_server
from sweep_process import sweep_command, write_grid
from test_object_store_run import GRID, LONG_S, RUN

from sweep.cluster.machine import n_local_cpus
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run: needs /proc"),
    pytest.mark.skipif(n_local_cpus() < 2, reason="not run: needs two processors"),
]


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[CloudServer]:
    with cloud_server(request.param) as found:
        yield found


def test_a_run_ends_complete_and_every_command_takes_the_address(
    server: CloudServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    address = server.address(server.make_bucket(f"run-{uuid.uuid4().hex[:8]}"), "team/results")
    folder = tmp_path / "w"
    folder.mkdir()
    write_grid(folder / "grid.yaml", **GRID, output=address)
    ended = sweep_command(*RUN, folder=folder, timeout=LONG_S)
    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    store = Store(address)
    assert isinstance(store.root, RemotePath)
    assert list(store.complete().values()) == ["ok"] * 4
    assert store.checkpoints() == store.live() == store.verify() == []
    assert store.lock_holder() is None
    assert store.root.first_names() >= {"manifest.json", "trials.parquet", "epochs.parquet", "report.html", "blobs", "plans", "logs"}
    for arguments, expected in (
        (RUN, "nothing to do: every trial is complete"),
        (("status", address), "4/4 trials complete: 4 ok"),
        (("verify", address), "4 complete trials, everything is in order"),
        (("front", address, "--format", "csv"), "trial_id"),
        (("report", address), str(store.root / "report.html")),
        (("rm", address, next(iter(store.complete()))), ""),
        (("status", address), "3/4 trials complete: 3 ok"),
    ):
        ended = sweep_command(*arguments, folder=folder)
        assert (ended.code, "Traceback" in ended.stderr) == (0, False), ended.stderr
        assert expected.lower() in ended.stdout.lower()
