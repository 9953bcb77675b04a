"""Errors in real runs: too little memory, a faulty node, a package that no node has, and a trial that cannot be trained."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.store.store import Store
from tests.chaos.test_stops import is_complete
from tests.chaos.workplace import GONE_WITHIN_S, GRID, HOOKS, PATIENCE_S, Workplace, short_folder
from tests.integration.sweep_process import REPOSITORY, SweepProcess, rows_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

# Every worker runs this behind its import of `trainer.training.two_phase`, which is `module`.
OUT_OF_MEMORY = """
import os
from pathlib import Path
from torch import OutOfMemoryError
step, tries = module.TwoPhase.step, Path(os.environ["CHAOS_TRIES"])
def fails(self):
    if len(self.specs) > 1 and self.epoch == 3:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    if len(self.specs) == 1 and self.epoch == 6 and len(list(tries.iterdir())) < 2:
        (tries / str(os.getpid())).touch()
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 10.00 MiB")
    step(self)
module.TwoPhase.step = fails
"""
BROKEN_DEVICE = """
def fails(self):
    raise RuntimeError("CUDA error: no CUDA-capable device is detected")
module.TwoPhase.step = fails
"""
NO_PACKAGE = """
def fails(self):
    raise ModuleNotFoundError("No module named 'nowhere'")
module.TwoPhase.step = fails
"""


def hook(folder: Path, code: str) -> str:
    path = folder / "hook.py"
    path.write_text(code)
    return str(path)


@pytest.mark.slow
def test_memory_that_is_not_enough_halves_packs_and_retries_trials_after_a_pause(
    tmp_path: Path, reference: dict[str, dict[str, Any]]
) -> None:
    place, tries = Workplace.make(tmp_path / "w", len(reference)), tmp_path / "tries"
    tries.mkdir()
    with place.run(CHAOS_MODULE=hook(tmp_path, OUT_OF_MEMORY), CHAOS_TRIES=str(tries)) as process:
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 0, ended.stderr
    assert len(list(tries.iterdir())) == 2
    (line,) = [line for line in ended.stderr.splitlines() if "failed: " in line]
    assert line.startswith("1 worker failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 10.00 MiB (its pack is tried again")
    assert {row["attempt"] for row in rows_of(place.out).values()} == {1}
    notes = [row.pop("notes") for row in rows_of(place.out).values()]
    assert all(any("its halves were trained one after the other" in note for note in own) for own in notes if own)
    assert [text for text in place.differences(reference) if not text.endswith(": notes differ")] == []
    assert place.leftovers() == []


@pytest.mark.slow
def test_a_package_that_is_nowhere_stops_the_run_with_one_message(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    place = Workplace.make(tmp_path / "w", 2)
    with place.run(CHAOS_MODULE=hook(tmp_path, NO_PACKAGE)) as process:
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 2, ended.stderr
    assert ended.stderr.count("no node is left that can train; ") == 1
    assert "ModuleNotFoundError: No module named 'nowhere'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert Store(place.out).complete() == {}, "no trial's fault, so no trial's row"
    assert "in fails" in (place.out / "logs" / "1.log").read_text(), "the log shows where it was raised"


def test_fail_fast_ends_with_exit_code_3(tmp_path: Path) -> None:
    place = Workplace.make(tmp_path / "w", 6, training=GRID["training"] | {"learning_rate": 1e30}, resources={"pack": 1, "checkpoint_s": 0})
    with place.run("--fail-fast") as process:
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 3, ended.stderr
    assert "1 trial failed: diverged, " in ended.stderr
    assert "stopped by --fail-fast: " in ended.stderr
    assert 0 < len(Store(place.out).complete()) < 6


# -- two nodes ------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def two_nodes(folder: Path, **environment_of_the_second: str) -> Iterator[tuple[str, Path]]:
    """Start a head without CPUs and two nodes with one CPU each on this host; yield the address and Ray's folder."""
    port = free_port()
    with short_folder() as temporary, contextlib.ExitStack() as stack:
        own = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
            "PYTHONPATH": f"{HOOKS}:{REPOSITORY}",
            "RAY_TMPDIR": str(temporary),
        }
        ray = ("-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--block")
        head = (*ray, "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        node = (*ray, f"--address=127.0.0.1:{port}", "--num-cpus=1")
        for arguments, more in ((head, {}), (node, {}), (node, environment_of_the_second)):
            process = SweepProcess(arguments, folder, own | more)
            stack.callback(process.end)
            process.until(lambda process=process: "Ray runtime started" in process.printed(), "a node", PATIENCE_S)
        yield f"127.0.0.1:{port}", temporary


@pytest.mark.slow
def test_a_node_whose_device_is_broken_gets_no_more_packs(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    place = Workplace.make(tmp_path / "w", len(reference))
    with (
        two_nodes(tmp_path, CHAOS_MODULE=hook(tmp_path, BROKEN_DEVICE)) as (address, temporary),
        place.run("--address", address, RAY_TMPDIR=str(temporary)) as process,
    ):
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("gets no more packs: RuntimeError: CUDA error: no CUDA-capable device is detected") == 1
    assert "worker failed" in ended.stderr
    is_complete(place, reference, [])
