"""A disk that fills up or turns read-only in the middle of a run causes one message and no truncated file, and the next run continues."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.store.store import Store
from tests.chaos.test_stops import is_complete, until_packs_train
from tests.chaos.workplace import GONE_WITHIN_S, PATIENCE_S, Workplace

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Mount a separate file system of 100 MB."""
    if os.geteuid() != 0:
        pytest.skip("not run: needs root")
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)], check=False).returncode != 0:
        pytest.skip("not run: cannot mount")
    try:
        yield
    finally:
        while folder.is_mount():
            umount(folder)


def umount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True)


def fill(out: Path) -> None:
    """Fill the disk to the last byte."""
    with (out / ".ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096) == 4096:
            pass


def make_read_only(out: Path) -> None:
    """Make the folder read-only for files opened from now on; the file system itself stays writable while files are open."""
    subprocess.run(["mount", "--bind", str(out), str(out)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(out)], check=True)


FAULTS: list[tuple[Callable[[Path], None], str, Callable[[Path], None]]] = [
    (fill, "the disk is full", lambda out: (out / ".ballast").unlink()),
    (make_read_only, "the file system is read-only", lambda out: umount(out)),
]


def test_a_disk_that_fills_up_and_one_that_turns_read_only(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    place = Workplace.make(tmp_path / "w", len(reference))
    with disk(place.out):
        for number, (break_it, rule, mend) in enumerate(FAULTS, start=1):
            with place.run() as process:
                until_packs_train(process, place, attempt=number)
                break_it(place.out)
                ended = process.wait(PATIENCE_S)
                process.until_all_are_gone(GONE_WITHIN_S)
            mend(place.out)
            assert ended.code == 2, ended.stderr
            assert ended.stderr.count("Error: ") == 1
            assert rule in ended.stderr.partition("Error: ")[2]
            assert "hint: " in ended.stderr
            assert "Traceback" not in ended.stderr
            assert Store(place.out).unreadable() == []
            print(f"{rule}: the run ended after {ended.seconds:.0f} s")
        with place.run() as process:
            assert process.wait(PATIENCE_S).code == 0, process.printed()
        is_complete(place, reference, [])
