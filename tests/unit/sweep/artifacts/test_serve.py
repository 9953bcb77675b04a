"""The page in memory: new when the folder has something new, the last good one otherwise, and never a whole core."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "analysis"))

from synthetic_store import TWO_TASKS, preference_grid, trial_row, write_manifest, write_parquet, write_plan, write_row

from analysis.results.manifest import ResultsError
from analysis.results.table import ResultTable
from sweep.artifacts.serve import LivePage
from sweep.store.lock import Lock
from sweep.store.remote.path import RemotePath
from sweep.store.schema import row_schema
from sweep.store.store import Store

ROWS = [trial_row(i, k, TWO_TASKS) for i, k in enumerate(preference_grid(2, 6))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six planned trials, two of them complete."""
    write_manifest(tmp_path / "out", TWO_TASKS)
    write_plan(tmp_path / "out", ROWS)
    for row in ROWS[:2]:
        write_row(tmp_path / "out", row, TWO_TASKS)
    return tmp_path / "out"


class Renderer:
    """Counts instead of drawing."""

    def __init__(self) -> None:
        self.versions: list[int] = []
        self.error: Exception | None = None

    def __call__(self, table: ResultTable, version: int) -> str:
        self.versions.append(version)
        if self.error is not None:
            raise self.error
        return ",".join(table.frame["trial_id"])


@contextmanager
def page_of(folder: Path | str, render: Renderer, poll_s: float = 0.02) -> Iterator[LivePage]:
    live = LivePage(folder, render, poll_s)
    try:
        yield live
    finally:
        live.stop()


def until(condition: Callable[[], Any], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_it_renders_when_a_row_or_a_plan_is_new_and_only_then(folder: Path) -> None:
    render = Renderer()
    with page_of(folder, render) as live:
        first = live.version()
        assert (first.complete, first.planned, first.state, first.problem) == (2, 6, "ended", None)
        for _ in range(20):
            live.version()
            time.sleep(0.02)
        assert len(render.versions) == 1
        write_row(folder, ROWS[2], TWO_TASKS)
        until(lambda: live.version().complete == 3)
        assert live.version().version > first.version
        assert ROWS[2]["trial_id"].encode() in live.page()
        write_plan(folder, ROWS[:4], number=2)
        until(lambda: live.version().planned == 4)
        assert render.versions == sorted(set(render.versions))


def test_compaction_in_between_loses_nothing(folder: Path) -> None:
    with page_of(folder, Renderer()) as live:
        write_parquet(folder / "trials.parquet", ROWS[:3], row_schema(TWO_TASKS))
        for path in (folder / "rows").iterdir():
            path.unlink()
        until(lambda: live.version().complete == 3 and live.version().problem is None)


@pytest.mark.parametrize("damage", ["manifest", "render"])
def test_what_cannot_be_read_leaves_the_last_page_until_it_can(folder: Path, damage: str) -> None:
    render = Renderer()
    with page_of(folder, render) as live:
        good, manifest = live.page(), (folder / "manifest.json").read_bytes()
        if damage == "manifest":
            (folder / "manifest.json").write_bytes(manifest[:40])
        else:
            render.error = RuntimeError("a store as nobody thought of it\nand more")
            write_row(folder, ROWS[2], TWO_TASKS)
        until(lambda: live.version().problem is not None)
        assert "\n" not in str(live.version().problem)
        assert live.page() == good
        assert live.version().complete == 2
        render.error = None
        (folder / "manifest.json").write_bytes(manifest)
        if damage == "manifest":
            write_row(folder, ROWS[2], TWO_TASKS)
        until(lambda: live.version().complete == 3 and live.version().problem is None)


def test_a_torn_row_is_named_and_does_not_end_it(folder: Path) -> None:
    with page_of(folder, Renderer()) as live:
        (folder / "rows" / "0123456789abcdef.1-0.parquet").write_bytes(b"PAR1 torn")
        n_before = live.version().version
        until(lambda: live.version().version != n_before)
        assert (live.version().complete, live.version().problem) == (2, None)


def test_it_rests_ten_times_as_long_as_it_works(folder: Path) -> None:
    class Slow(Renderer):
        def __call__(self, table: ResultTable, version: int) -> str:
            began = time.process_time()
            while time.process_time() - began < 0.05:
                pass
            return super().__call__(table, version)

    render = Slow()
    with page_of(folder, render) as live:

        def has_rendered_again() -> bool:
            (folder / "manifest.json").touch()
            live.version()
            return len(render.versions) >= 5

        began = time.monotonic()
        until(has_rendered_again)
        assert time.monotonic() - began >= 3 * 0.5, "the first look of the thread comes at once, then there are three rests"


def test_it_sleeps_while_nobody_asks(folder: Path) -> None:
    render = Renderer()
    with page_of(folder, render) as live:
        live.version()
        time.sleep(1.0)
        write_row(folder, ROWS[2], TWO_TASKS)
        time.sleep(0.5)
        assert len(render.versions) == 1
        assert ROWS[2]["trial_id"].encode() in live.page(), "whoever asks after a while gets what is there now"


def test_it_says_whether_a_run_is_on(folder: Path) -> None:
    with page_of(folder, Renderer()) as live:
        with Lock(folder / "lock.json"):
            until(lambda: live.version().state == "running")
            Store(folder).control.request_pause()
            until(lambda: live.version().state == "paused")
        until(lambda: live.version().state == "ended")


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no manifest\.json"):
        LivePage(tmp_path, Renderer())
    with pytest.raises(ResultsError, match="no such folder"):
        LivePage(tmp_path / "nowhere", Renderer())


def test_an_object_store_is_followed_less_often(folder: Path, s3_address: str) -> None:
    root = RemotePath(s3_address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (root / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())
    unhurried = LivePage(s3_address, Renderer())
    unhurried.stop()
    assert unhurried.version().poll_s == 10
    with page_of(s3_address, Renderer(), poll_s=0.1) as live:
        assert live.version().complete == 2
        row = write_row(folder, ROWS[3], TWO_TASKS)
        (root / f"rows/{row.name}").write_bytes(row.read_bytes())
        until(lambda: live.version().complete == 3)
