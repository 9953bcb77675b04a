"""The stages, how a limit is divided among them, and how each runs in its own process. This module does not import torch."""

import argparse
import contextlib
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.bench.gpu.goals import table
from tests.bench.gpu.record import OUT_OF_TIME, Record, first_line, merge, read_json, read_results, write_json

STARTED = time.monotonic()
ROOT = Path(__file__).resolve().parents[3]
EXIT_DEVICE_LOST = 75
_RESERVE_S = 2.0
"""Seconds of the whole limit that are reserved for the table and the end of the last stage."""
_MARGIN_S = 3.0
"""Seconds before its limit at which a stage starts no further item, so that it can end by itself."""
_LEAST_S = 6.0
"""A stage that has fewer seconds does not begin, because importing torch would take most of them."""
_LONGEST_LOG = 6000  # characters


@dataclass(frozen=True)
class Stage:
    """One stage: the module of its function, what it measures, and its share of the time."""

    module: str
    about: str
    expected_s: float
    """Expected seconds on a GPU, with the start of its processes; a limit is divided in these proportions."""
    item_s: float
    """Seconds after which a single item on a GPU counts as hanging."""


STAGES = {
    "smoke": Stage("smoke", "everything once, small; every failure is reported", 90, 45),
    "correctness": Stage("correctness", "the same numbers as the CPU's loop in float64, graphs, kernels, resuming", 55, 45),
    "ceilings": Stage("rates", "what the device can do: copy, matrix products, launches", 15, 15),
    "layers": Stage("rates", "the forms of each layer, and the blocks of each backend", 30, 20),
    "steps": Stage("rates", "a step of packs of 1, 8, 30 and 90 on each backend", 140, 60),
    "baselines": Stage("sweep", "plain eager PyTorch: one model, and four processes", 55, 60),
    "sweep": Stage("sweep", "90 models, the full schedule, extrapolated if it is cut", 230, 3600),
}
"""Stage name -> stage, in the order in which they run. A stage is run by the function of the same name in its module."""


def seconds_of(name: str, later: Sequence[str], left: float) -> float:
    """Return the seconds that a stage may take: its share of the time that is left, including what earlier stages did not use.

    Args:
        name: the stage.
        later: the stages that come after it.
        left: seconds until the limit of the whole call.

    Returns:
        The limit of the stage, in seconds.
    """
    return left * STAGES[name].expected_s / sum(STAGES[one].expected_s for one in (name, *later))


@dataclass
class Call:
    """One call of the command: its arguments and its results so far."""

    out: Path
    device: str
    tiny: bool
    backend: str
    results: dict[str, Any]
    commit: str | None = None

    def __post_init__(self) -> None:
        self.id = f"{datetime.now(UTC).isoformat(timespec='seconds')}-{os.getpid()}"
        self._circumstances = {
            "call": self.id,
            "device": self.device,
            "tiny": self.tiny,
            "commit": self.commit,
            "trainer_sha256": digest_of_trainer(),
            "host": platform.platform(),
            "python": platform.python_version(),
            "load_average": list(os.getloadavg()),
        }

    def store(self, name: str, entry: dict[str, Any]) -> None:
        """Merge a stage's entry into the results, and write them."""
        merge(self.results, name, self._circumstances | entry)
        write_json(self.out, self.results)

    def command(self, name: str, part: Path, until: float) -> list[str]:
        """Return the command of a stage's process.

        Args:
            name: the stage.
            part: the file of the stage's record.
            until: the time at which the process should end by itself, as `time.time` counts.
        """
        own = ["--stage", name, "--part", str(part), "--until", f"{until:.2f}"]
        shared = ["--device", self.device, "--backend", self.backend, "--out", str(self.out), *(["--tiny"] if self.tiny else [])]
        # The folder, not `-m tests.bench.gpu`: another package called `tests` may be installed.
        return [sys.executable, str(Path(__file__).parent), *own, *shared]

    def run(self, name: str, seconds: float) -> dict[str, Any]:
        """Run a stage in its own process, and in a new one after each item that ends a process; return its entry."""
        item_s = STAGES[name].item_s * (10 if self.tiny else 1)  # a machine for tests may be slow
        with tempfile.TemporaryDirectory(prefix="gpu-bench-") as folder:
            return run_stage(name, Path(folder), seconds, item_s, self.command, lambda entry: self.store(name, entry))


def run_stage(
    name: str,
    folder: Path,
    seconds: float,
    item_s: float,
    command: Callable[[str, Path, float], list[str]],
    store: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run a stage until it ends or its time is over, and kill what its process leaves running.

    Args:
        name: the stage.
        folder: an empty folder for the stage's files.
        seconds: its limit.
        item_s: seconds after which an item counts as hanging; the stage then continues with the next item in a new process.
        command: (stage, file of its record, time at which it should end by itself, as `time.time` counts) -> the command of its process.
        store: called with the stage's entry whenever it has changed.

    Returns:
        The entry: status (complete, cut or crashed), figures, failures, skipped, seconds, limit_s and the end of the log.
    """
    part, log, began = folder / f"{name}.json", folder / "log", time.monotonic()
    ends = began + seconds
    entry: dict[str, Any] = {"began": datetime.now(UTC).isoformat(timespec="seconds"), "limit_s": round(seconds, 1)}

    def stored(status: str) -> dict[str, Any]:
        text = log.read_text(encoding="utf-8", errors="replace")[-_LONGEST_LOG:] if log.exists() else ""
        found = read_json(part) or {"figures": {}, "failures": {}, "skipped": {}}
        entry.update(found, status=status, seconds=round(time.monotonic() - began, 1), log=text)
        store(entry)
        return entry

    while True:
        left = ends - time.monotonic()
        with log.open("a", encoding="utf-8") as errors:
            process = _Process(command(name, part, time.time() + left - _MARGIN_S), errors)
            reason = process.watch(part, ends, item_s, lambda: stored("running"))
        found = read_json(part) or {}
        entry.pop("running", None)
        if reason is None and process.exit_code == 0 and found.get("finished"):
            was_cut = OUT_OF_TIME in found["skipped"].values() or any(_is_extrapolated(one) for one in found["figures"].values())
            return stored("cut" if was_cut else "complete")
        running = found.pop("running", None)
        is_over = ends - time.monotonic() < _LEAST_S
        if running is not None:
            said = reason or f"the process ended with {_exit_text(process.exit_code)}"
            kind = "skipped" if reason == _LIMIT else "failures"
            found[kind][running["item"]] = said if kind == "skipped" else {"error": said}
            write_json(part, found)
        elif process.exit_code != EXIT_DEVICE_LOST and reason is None:
            text = log.read_text(encoding="utf-8", errors="replace").strip()
            found = {"figures": {}, "failures": {}, "skipped": {}} | found
            found["failures"][name] = {
                "error": f"the stage ended with {_exit_text(process.exit_code)}: {text.rpartition(chr(10))[2][:300]}"
            }
            write_json(part, found)
            return stored("crashed")
        if is_over or reason == _LIMIT:
            return stored("cut")


_LIMIT = "it was killed at the limit of its stage"


class _Process:
    """A stage's process. It leads its own process group, so that its children are killed with it."""

    def __init__(self, command: Sequence[str], errors: IO[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, cwd=ROOT, start_new_session=True)
        self.exit_code = 0

    def watch(self, part: Path, ends: float, item_s: float, changed: Callable[[], Any]) -> str | None:
        """Wait for the end of the process; return why it was killed, or None if it ended by itself."""
        written = None
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.exit_code = self._process.wait(0.2)
                    return None
                if time.monotonic() >= ends:
                    return _LIMIT
                now = part.stat().st_mtime_ns if part.exists() else None
                if now != written:
                    written = now
                    changed()
                running = (read_json(part) or {}).get("running")
                if running and time.time() - running["since"] > item_s:
                    return f"it had not ended after {item_s:.0f} s, and its process was killed"
        finally:
            self._end()

    def _end(self) -> None:
        """Kill the remaining processes of the group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.exit_code = self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def _is_extrapolated(figure: Any) -> bool:
    return isinstance(figure, dict) and bool(figure.get("is_extrapolated"))


def _exit_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def digest_of_trainer() -> str:
    """Return the SHA-256 of the trainer's sources, which identifies what was measured on a machine without git."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "trainer").rglob("*")):
        if path.suffix in (".py", ".c"):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def commit_of_repository() -> str | None:
    """Return the commit of this checkout, or None where git or its folder is missing."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def run_here(asked: argparse.Namespace) -> NoReturn:
    """Run one stage in this process, and end it."""
    _end_with_parent()
    function = getattr(import_module(f"tests.bench.gpu.{STAGES[asked.stage].module}"), asked.stage)
    from tests.bench.gpu.measuring import Job, check_device, is_lost, release
    from tests.bench.gpu.record import DeviceLostError

    record = Record(asked.part, asked.until - time.time(), is_lost, release)
    try:
        record.item("device is there", lambda: check_device(asked.device))
        if "device is there" in record.data["failures"]:
            record.finish()
            _leave(0)
        function(Job(asked.device, asked.tiny, asked.backend, asked.out, record))
    except DeviceLostError:
        _leave(EXIT_DEVICE_LOST)
    record.finish()
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End this process at once, because torch and a device's driver can take seconds to clean up, which the next stage needs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end_with_parent() -> None:
    """End this process and its children when the process that started it ends, even if that was killed."""
    if os.getpgrp() != os.getpid():
        return

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _stage_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in STAGES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"stages of {', '.join(STAGES)} expected, found {text or 'none'}")
    return [name for name in STAGES if name in names]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    import tests.bench.gpu as package

    made = argparse.ArgumentParser("python -m tests.bench.gpu", description=(package.__doc__ or "").partition("\n")[0])
    made.add_argument("--stages", type=_stage_names, default=list(STAGES), help=f"stages, separated by commas; default: {','.join(STAGES)}")
    made.add_argument("--limit", type=float, default=640, help="seconds for the whole call, with the start of its processes; default: 640")
    made.add_argument("--out", type=Path, default=Path("gpu.json"), help="file of the results; stages that are not run keep their entries")
    made.add_argument("--device", default="cuda", help="a torch device; default: cuda")
    made.add_argument("--backend", default="auto", help="backend of the stage `sweep`; auto (default): the fastest of the stage `steps`")
    made.add_argument("--tiny", action="store_true", help="use tiny sizes, which test the code and measure nothing")
    for hidden in ("--stage", "--worker"):
        made.add_argument(hidden, help=argparse.SUPPRESS)
    made.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    made.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 if everything ran, 1 if something failed or was killed, 2 if the arguments are wrong."""
    asked = parser().parse_args(arguments)
    asked.out = asked.out.resolve()
    asked.device = "cuda:0" if asked.device == "cuda" else asked.device  # some of torch's functions expect an index
    if asked.worker:
        import_module("tests.bench.gpu.sweep").work(asked.worker, asked.device, asked.tiny, asked.backend)
        return 0
    if asked.stage:
        run_here(asked)
    try:
        results = read_results(asked.out)
        call = Call(asked.out, asked.device, asked.tiny, asked.backend, results, commit_of_repository())
        write_json(asked.out, results)
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stage's process is killed too
    ends = STARTED + asked.limit - _RESERVE_S
    for place, name in enumerate(asked.stages):
        seconds = seconds_of(name, asked.stages[place + 1 :], ends - time.monotonic())
        if seconds < _LEAST_S:
            print(f"{name}: {OUT_OF_TIME}", flush=True)
            call.store(name, {"status": "cut", "limit_s": seconds, "figures": {}, "failures": {}, "skipped": {name: OUT_OF_TIME}})
            continue
        print(f"{name}: {STAGES[name].about} (at most {seconds:.0f} s)", flush=True)
        entry = call.run(name, seconds)
        print(f"{name}: {entry['status']} after {entry['seconds']:.0f} s, {len(entry['failures'])} failed", flush=True)
    print(table(results, asked.stages), flush=True)
    ran = [results["stages"][name] for name in asked.stages]
    for entry in ran:
        for item, failure in entry["failures"].items():
            print(f"FAILED {item}: {first_line(failure['error'], 300)}")
    print(f"{time.monotonic() - STARTED:.0f} s of {asked.limit:.0f}; results in {asked.out}")
    return 1 if any(entry["failures"] or _LIMIT in entry["skipped"].values() for entry in ran) else 0
