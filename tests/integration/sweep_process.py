"""A real `sweep run` in a process of its own: start it, watch its folder, send it signals, see what it leaves behind."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sweep
from sweep.store.store import Store
from tests.waiting import patience, until

REPOSITORY = Path(sweep.__file__).parents[1]
MARK = "SWEEP_TEST_MARK"
PATIENCE_S = 180.0
"""For a run of a few seconds; limits here are those of a machine that does nothing else, see `tests/waiting.py`."""
GONE_WITHIN_S = 30.0
"""For the processes of a run that has ended."""
# They say when and where a row was made, not what was trained.
CIRCUMSTANCES = {
    *("attempt", "retry", "pack_id", "host", "finished_at", "peak_memory_mb", "device_s", "energy_wh", "energy_estimated"),
    *("wall_s", "wall_s_sparsify", "wall_s_tying", "wall_s_retrain"),
}


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float


@dataclass
class SweepProcess:
    """A command whose children, grandchildren ... are found by a mark in their environment."""

    arguments: tuple[str, ...]
    folder: Path
    """Its working directory; what it prints goes to files there."""
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._paths = [self.folder / f"{self.mark}.{name}" for name in ("stdout", "stderr")]
        with self._paths[0].open("w") as stdout, self._paths[1].open("w") as stderr:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), MARK: self.mark, **self.environment},
            )

    def command_line(self) -> list[str]:
        """What is run."""
        return [sys.executable, *self.arguments]

    def wait(self, timeout: float = PATIENCE_S) -> Ended:
        """Until it ends."""
        began = time.monotonic()
        while True:
            try:
                code = self.process.wait(1.0)
                break
            except subprocess.TimeoutExpired:
                waited = time.monotonic() - began
                assert waited < patience(timeout), f"{self.arguments} has not ended after {waited:.0f} s\n{self.printed()}"
        stdout, stderr = (path.read_text() for path in self._paths)
        return Ended(code, stdout, stderr, time.monotonic() - self._started)

    def printed(self) -> str:
        """What it has printed so far."""
        return "\n".join(path.read_text() for path in self._paths)

    def until(self, condition: Callable[[], Any], what: str, timeout: float = PATIENCE_S) -> Any:
        """Wait for a condition that comes true while the process runs; what it returns."""

        def look() -> Any:
            found = condition()
            if not found and self.process.poll() is not None:
                raise AssertionError(f"{self.arguments} ended with {self.process.returncode} before {what}\n{self.printed()}")
            return found

        return until(look, what, timeout, self.printed)

    def driver(self) -> int | None:
        """The driver process, a child of the supervisor."""
        for pid, parent, command in _processes():
            if parent == self.process.pid and "sweep.cluster.driver" in command:
                return pid
        return None

    def living(self) -> dict[int, str]:
        """Every process with this mark, the command itself included: pid -> command line."""
        mark = f"{MARK}={self.mark}".encode()
        found = {}
        for pid, _, command in _processes():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    found[pid] = command
        return found

    def until_all_are_gone(self, timeout: float = GONE_WITHIN_S) -> None:
        """Wait until no process with this mark lives."""
        until(lambda: not self.living(), "end of all its processes", timeout, lambda: str(self.living()))

    def end(self) -> None:
        """Leave nothing behind, whatever a test did."""
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def sweep_process(*arguments: object, folder: Path, **environment: str) -> Iterator[SweepProcess]:
    """`python -m sweep ...`, ended at the latest with the block."""
    process = SweepProcess(("-m", "sweep", *map(str, arguments)), folder, environment)
    try:
        yield process
    finally:
        process.end()


def sweep_command(*arguments: object, folder: Path, timeout: float = PATIENCE_S, **environment: str) -> Ended:
    """`python -m sweep ...` to its end."""
    with sweep_process(*arguments, folder=folder, **environment) as process:
        ended = process.wait(timeout)
        process.until_all_are_gone()
        return ended


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """trial_id -> its row."""
    return {row["trial_id"]: row for row in Store(folder).read_rows().to_pylist()}


def trained(folder: Path) -> dict[str, dict[str, Any]]:
    """What training made of each row, without when and where; NaN as text, so that rows compare."""
    return {
        trial_id: {
            name: "NaN" if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
            if name not in CIRCUMSTANCES
        }
        for trial_id, row in rows_of(folder).items()
    }


def plans_of(folder: Path) -> list[int]:
    """Numbers of the attempts."""
    return sorted(int(path.stem) for path in (folder / "plans").glob("*.json"))


def live_of(folder: Path) -> list[dict[str, Any]]:
    """The running packs that have finished an epoch."""
    try:
        return [live for live in Store(folder).live() if "epoch" in live]
    except OSError:
        return []


def epochs_in_checkpoints(folder: Path) -> dict[str, int]:
    """trial_id -> epoch of its checkpoint."""
    return {trial_id: checkpoint.epoch for checkpoint in Store(folder).checkpoints() for trial_id in checkpoint.trial_ids}


def in_the_middle(folder: Path, n_complete: int = 0, n_running: int = 1, margin: int = 10) -> bool:
    """At least so many trials are complete, and every running pack is well within its training."""
    live = live_of(folder)
    if len(live) < n_running or not all(3 <= pack["epoch"] <= pack["n_epochs"] - margin for pack in live):
        return False
    return len(Store(folder).complete()) >= n_complete and set(epochs_in_checkpoints(folder)) >= {i for p in live for i in p["trial_ids"]}


class EpochWatch:
    """The least epoch that each trial was seen in, in attempts from a certain one on."""

    def __init__(self, folder: Path, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self.least: dict[str, int] = {}

    def look(self) -> None:
        """Read what the running packs say."""
        for live in live_of(self._folder):
            if live["attempt"] >= self._attempt:
                for trial_id in live["trial_ids"]:
                    self.least[trial_id] = min(live["epoch"], self.least.get(trial_id, live["epoch"]))

    def until_ended(self, process: SweepProcess, timeout: float = PATIENCE_S) -> Ended:
        """Keep looking while a process runs."""

        def look() -> bool:
            self.look()
            return process.process.poll() is not None

        until(look, "end of the process", timeout, process.printed)
        return process.wait()


def write_grid(path: Path, **changes: Any) -> Path:
    """A grid file; JSON is YAML."""
    path.write_text(json.dumps(changes), encoding="utf-8")
    return path


def _processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent's pid, command line) of every process but zombies."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if fields[0] not in ("Z", "X"):
            yield int(entry.name), int(fields[1]), command
