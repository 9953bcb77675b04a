"""Runs mutated inputs one after the other in this process, while `run.py` watches it from outside.

    python -m tests.fuzz.cases grids 0 100 --seed 7 --scratch FOLDER

It prints one line of JSON for each case: its number, how the input was changed, and what is wrong with the outcome (mostly nothing).
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from click.testing import CliRunner

from analysis.figures.catalog import FIGURES
from sweep.cli.commands import cli
from tests.fuzz import grid_files, store_files
from tests.fuzz.base_stores import BaseStore, make_base_stores
from tests.fuzz.verdict import Printed, complaints_about, complaints_about_page, elements_of, elements_of_templates
from tests.fuzz.watch import Watch

CASE_S = 20
"""A case that takes longer counts as hanging."""
MEMORY_BYTES = 6 * 2**30
_FORMATS = (
    ("front", "table"),
    ("front", "csv"),
    ("front", "json"),
    *(("table", form) for form in ("text", "csv", "json", "markdown", "latex")),
    *(("pick", form) for form in ("text", "json")),
    *(("suggest", form) for form in ("text", "json")),
    ("compare", "text"),
)


class TooSlowError(BaseException):
    """A case hangs. This is not a subclass of Exception, so that no command catches it."""


class Cases:
    """Creates inputs and calls commands with them.

    Args:
        seed: seed of all randomness; a case is determined by seed, kind and number.
        scratch: a folder for this object alone.
    """

    def __init__(self, seed: int, scratch: Path) -> None:
        self.seed = seed
        self.scratch = scratch
        self.outside = scratch / "outside"
        self.inside = scratch / "inside"
        self.watch = Watch()
        self.codes: Counter[str] = Counter()
        self._bases: list[BaseStore] = []
        self._allowed: set[tuple[str, str]] = set()

    def prepare(self, kind: str) -> None:
        """Import everything that is otherwise imported lazily, and create clean folders."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.outside.mkdir(parents=True)
        self.inside.mkdir()
        (self.outside / "canary.txt").write_text("canary")
        (self.outside / "canary.json").write_text('{"canary": 1}')
        import_module("trainer.api")  # torch, before anything is watched
        # A grid file that names the original data sets asks for a download of those that are not there (docs/data.md).
        import_module("trainer.problems.images.downloads").download = _no_download
        self._bases = make_base_stores(self.scratch / "bases") if kind == "stores" else []
        for base in self._bases:
            shutil.copy(next(base.folder.rglob("*.parquet")), self.outside / "canary.parquet")
            for arguments in self._commands(base, base.folder, number=None):
                ended = self._call(*arguments)
                assert ended.exception is None or isinstance(ended.exception, SystemExit), (arguments, ended)
            self._allowed |= elements_of((base.folder / "report.html").read_text(encoding="utf-8"))
            (base.folder / "report.html").unlink()
        self._allowed |= elements_of_templates()
        self._canaries = _state_of(self.outside)

    def grid(self, number: int) -> tuple[str, list[str]]:
        """Give one mutated grid file to `sweep plan`. Files that it names as output or preferences may be read outside."""
        rng = random.Random(f"{self.seed}/grids/{number}")
        path = self._fresh() / "grid.yaml"
        path.write_bytes(grid_files.mutated(rng, number))
        with self.watch.only(self.inside, Path(os.environ["HOME"]), reads_all=True):
            ended = self._call("plan", str(path))
        self.codes[f"plan: {ended.code}"] += 1
        found = complaints_about(ended)
        if [path.name for path in self.inside.iterdir()] != ["grid.yaml"]:
            found.append("plan: wrote something")
        return path.read_bytes()[:60].decode(errors="replace"), found

    def store(self, number: int) -> tuple[str, list[str]]:
        """Give one mutated results folder to every command that reads one."""
        rng = random.Random(f"{self.seed}/stores/{number}")
        base = self._bases[number % len(self._bases)]
        folder = self._fresh() / "store"
        shutil.copytree(base.folder, folder)
        done = store_files.mutate(folder, self.outside, rng)
        found: list[str] = []
        before = _state_of(folder)
        for arguments in self._commands(base, folder, number):
            with self.watch.only(folder, base.grid):
                ended = self._call(*arguments)
            self.codes[f"{arguments[0]}: {ended.code}"] += 1
            found += complaints_about(ended)
            if arguments[0] == "report" and ended.code == 0:
                page = (folder / "report.html").read_text(encoding="utf-8")
                found += complaints_about_page(page, self._allowed)
        after = _state_of(folder)
        changed = [
            name for name in sorted({*before, *after}) if before.get(name) != after.get(name) and name not in ("report.html", "figure.html")
        ]
        found += [f"changed: {name!r}" for name in changed]
        return "; ".join(done), found

    def _commands(self, base: BaseStore, folder: Path, number: int | None) -> Iterator[tuple[str, ...]]:
        """Return all commands, with the report only in every third case and one of `_FORMATS` (None: all of them)."""
        yield "status", str(folder), "--format", "text" if number is None or number % 2 else "json"
        yield "verify", str(folder)
        yield "plan", str(base.grid), "--out", str(folder)
        if number is None or number // len(self._bases) % 3 == 0:
            yield "report", str(folder)
        elif number // len(self._bases) % 3 == 1:
            name = list(FIGURES)[number // 9 % len(FIGURES)]
            yield "figure", str(folder), name, "--out", str(folder / "figure.html")
        for command, form in _FORMATS if number is None else (_FORMATS[number % len(_FORMATS)],):
            more = {"pick": ("--min", "sparsity_rate=0.1", "--minimise", "wall_s"), "compare": (str(folder),)}.get(command, ())
            yield command, str(folder), *more, "--format", form

    def finish_case(self) -> list[str]:
        """Return what was touched outside since the last case."""
        found, self.watch.found = list(dict.fromkeys(self.watch.found)), []
        if _state_of(self.outside) != self._canaries:
            found.append("files outside were changed")
        return found

    def _fresh(self) -> Path:
        shutil.rmtree(self.inside, ignore_errors=True)
        self.inside.mkdir()
        os.chdir(self.inside)
        return self.inside

    def _call(self, *arguments: str) -> Printed:
        result = CliRunner().invoke(cli, list(arguments))
        return Printed(arguments, result.exit_code, result.stdout, result.stderr, result.exception)


def _state_of(folder: Path) -> dict[str, Any]:
    """Return what is below a folder, without following links or opening anything but regular files."""
    state: dict[str, Any] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            small = path.is_file() and not path.is_symlink() and status.st_size < 2**24
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if small else None
            state[path.relative_to(folder).as_posix()] = (status.st_mode, status.st_size if small else None, digest)
    return state


def main() -> None:
    """Run the cases given on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("grids", "stores"))
    parser.add_argument("start", type=int)
    parser.add_argument("stop", type=int)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _too_slow)
    cases = Cases(asked.seed, asked.scratch)
    cases.prepare(asked.kind)
    run_one: Callable[[int], tuple[str, list[str]]] = cases.grid if asked.kind == "grids" else cases.store
    for number in range(asked.start, asked.stop):
        _say({"begins": number})
        signal.alarm(CASE_S)
        try:
            done, found = run_one(number)
        except TooSlowError as error:
            done, found = "?", [f"hang: {error}"]
        finally:
            signal.alarm(0)
        _say({"case": number, "done": done, "found": [*found, *cases.finish_case()], "peak_mb": _peak_mb(), "codes": dict(cases.codes)})
        cases.codes.clear()
    _say({"ends": True})
    shutil.rmtree(asked.scratch, ignore_errors=True)


def _no_download(name: str, root: Path) -> str:
    return "no network while fuzzing"


def _too_slow(number: int, frame: FrameType | None) -> None:
    place = "?"
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if {"sweep", "analysis", "trainer"} & set(path.parts) and "site-packages" not in path.parts:
            place = f"{'/'.join(path.parts[-2:])}:{frame.f_lineno}"
            break
        frame = frame.f_back
    raise TooSlowError(f"more than {CASE_S} s, at {place}")


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _say(value: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(value) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
