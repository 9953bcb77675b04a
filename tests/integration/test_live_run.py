"""`sweep report DIR --serve` beside a real run: it follows to the end and listens on loopback alone."""

import json
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from listening import listening
from sweep_process import sweep_process, write_grid

from sweep.store.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="open sockets are read from Linux' /proc"),
]


def test_it_follows_a_run_to_its_end(tmp_path: Path) -> None:
    grid = write_grid(
        tmp_path / "grid.yaml",
        problem={"name": "multidigits", "n_train": 512, "n_validation": 64, "n_test": 64},
        preferences={"list": [[0.1, 0.45, 0.45], [0, 0.5, 0.5]]},
        training={"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 4}},
        resources={"pack": 1},
        output="out",
    )
    seen: list[dict[str, Any]] = []
    with sweep_process("run", grid, "--no-dashboard", folder=tmp_path) as running:
        running.until(lambda: Store(tmp_path / "out").latest_plan(), "a plan")
        with sweep_process("report", "out", "--serve", folder=tmp_path) as serving:
            line = serving.until(lambda: serving.printed().strip(), "an address", timeout=60)
            address = line.split()[2]

            def look() -> dict[str, Any]:
                with urllib.request.urlopen(f"{address}version", timeout=60) as answer:
                    seen.append(json.load(answer))
                return seen[-1]

            look()
            port = int(address.rstrip("/").rpartition(":")[2])
            found = listening([serving.process.pid])
            assert [(str(where), number) for where, number, _ in found] == [("127.0.0.1", port)]
            stranger = urllib.request.Request(address, headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(stranger, timeout=60)
            assert refused.value.code == 403

            assert running.wait().code == 0
            serving.until(lambda: look()["state"] == "ended" and seen[-1]["complete"] == 2, "the end of the sweep", timeout=60)
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"<b>2</b> ok" in answer.read()
            serving.process.send_signal(signal.SIGINT)
            ended = serving.wait(30)
    assert (ended.code, ended.stderr) == (0, "")
    assert seen[0]["state"] == "running"
    assert seen[0]["complete"] < 2
    assert all(one["planned"] == 2 and one["problem"] is None for one in seen)
    versions = [one["version"] for one in seen]
    assert versions == sorted(versions)
    assert versions[-1] > versions[0]
