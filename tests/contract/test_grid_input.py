"""A grid file is read once, wherever it comes from: what is trained and what the plan stores come from the same text."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import call, is_refused

import sweep.grid.source.text
from sweep.cli import run as run_command
from sweep.execution.sweep_run import SweepRun
from sweep.grid.append import append_preferences
from sweep.grid.load import ConfigError, GridText, SweepConfig, load_config, parse_config, read_grid
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import trials_of
from sweep.store.store import Store

GRID = """\
problem: {name: analytic/zdt1, n_steps: 1}   # a comment
preferences: {list: [[0.5, 0.5], [0.25, 0.75]]}
output: results
"""
MODULE = """\
import torch
from torch import nn
from trainer.api import Problem, Split, classification

class Net(nn.Module):
    growl_layers = ("b",)
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)
    def forward(self, x):
        return [self.c(self.b(self.a(x)))]

def make():
    split = Split(torch.ones(4, 2), torch.zeros(4, 1))
    return Problem("piped", (classification("one", 2),), {"net": Net}, split, split, split)
"""

Trained = list[tuple[tuple[SweepConfig, ...], GridText]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """What would be trained and stored."""
    calls: Trained = []

    def train(configs: tuple[SweepConfig, ...], grid_file: GridText, *_: Any, **__: Any) -> int:
        calls.append((tuple(configs), grid_file))
        return 0

    monkeypatch.setattr(run_command, "run_and_summarise", train)
    return calls


def piped(content: bytes, use: Callable[[Path], Any]) -> Any:
    """What `use` makes of the reading end of a pipe, named as a shell names it for `<(...)`."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        return use(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)


# -- one text -----------------------------------------------------------------------------------------------------------


def test_standard_input_is_trained_and_stored(trained: Trained) -> None:
    assert call("run", "-", text=GRID).exit_code == 0
    ((config,), text) = trained[0]
    assert text == GridText(GRID)
    assert (config.name, config.output) == ("sweep", "results")
    Path("grid.yaml").write_text(GRID)
    assert [t.trial_id for t in trials_of(config)] == [t.trial_id for t in trials_of(load_config("grid.yaml"))]


def test_a_pipe_is_stored_as_its_text(trained: Trained) -> None:
    assert piped(GRID.encode(), lambda path: call("run", path)).exit_code == 0
    assert trained[0][1] == GridText(GRID)
    assert trained[0][0][0].name == "sweep", "the pipe's number is no name"


def test_a_named_pipe_and_a_file_by_its_number(folder: Path) -> None:
    os.mkfifo("pipe.yaml")
    writer = threading.Thread(target=lambda: Path("pipe.yaml").write_text(GRID))
    writer.start()
    assert read_grid("pipe.yaml").text == GridText(GRID)
    writer.join()
    Path("grid.yaml").write_text(GRID)
    with open("grid.yaml") as file:
        found = read_grid(f"/dev/fd/{file.fileno()}")
    assert (found.file.folder, found.config().name) == (str(folder), "sweep")


def test_a_file_that_is_edited_meanwhile_is_stored_as_it_was_read(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = sweep.grid.source.text._read_bytes

    def read_and_edit(path: Path, *rest: Any) -> bytes:
        raw = read_bytes(path, *rest)
        path.write_text("problem: analytic/zdt2\n")
        return raw

    monkeypatch.setattr(sweep.grid.source.text, "_read_bytes", read_and_edit)
    Path("grid.yaml").write_text(GRID)
    Path("over.yaml").write_text("seeds: [1]\n")
    assert call("run", "grid.yaml", "--override", "over.yaml").exit_code == 0
    ((config,), text) = trained[0]
    assert text == GridText(GRID, "seeds: [1]\n")
    assert (config.problem.name, config.seeds) == ("analytic/zdt1", (1,))


def test_the_override_may_be_standard_input_and_not_both(trained: Trained) -> None:
    Path("grid.yaml").write_text(GRID)
    assert call("run", "grid.yaml", "--override", "-", text="seeds: [1]\n").exit_code == 0
    assert trained[0][1] == GridText(GRID, "seeds: [1]\n")
    assert trained[0][0][0].seeds == (1,)
    is_refused(call("run", "-", "--override", "-", text=GRID), "--override: standard input can be read only once", "hint: ")


def test_a_plan_keeps_both_texts() -> None:
    config = parse_config({"problem": "analytic/zdt1", "preferences": {"list": [[0.5, 0.5]]}, "output": "results"})
    member = SweepRun(config, None, GridText(GRID, "seeds: [1]\n"))
    member.store.create(manifest_of(config, "now"))
    with member.store.lock():
        member.begin_attempt(1, member.store.root / "logs" / "1.log", {"started": "2026-01-31T12:00:00+00:00"})
    plan = json.loads(Path("results/plans/1.json").read_text())
    assert (plan["grid_file"], plan["override_file"]) == (GRID, "seeds: [1]\n")


# -- what the text may look like ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + GRID.encode(), GRID.replace("\n", "\r\n").encode()], ids=["BOM", "CRLF"])
def test_a_byte_order_mark_and_windows_line_ends(content: bytes, trained: Trained) -> None:
    Path("grid.yaml").write_bytes(content)
    assert call("run", "grid.yaml").exit_code == 0
    assert call("run", "-", text=content).exit_code == 0
    assert piped(content, lambda path: call("run", path)).exit_code == 0
    assert {text for _, text in trained} == {GridText(content.decode("utf-8-sig"))}
    assert append_preferences(Path("grid.yaml"), [(0.75, 0.25)]) == 1
    assert Path("grid.yaml").read_bytes().startswith(content[:60])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "<stdin>:1:1: the file is empty"),
        (b"problem: analytic/zdt1\nname: caf\xe9\n", "<stdin>:2:10: UTF-8 text expected (got byte 0xe9)"),
        (b"problem: analytic/zdt1\nmodle: x\n", "<stdin>:2:1: modle: unknown key (got x)"),
        (b"#" * 1_000_001, "<stdin>: at most 1000000 bytes expected (got 1000001 bytes)"),
    ],
)
def test_a_mistake_in_standard_input_is_named(content: bytes, message: str) -> None:
    for command in ("plan", "run"):
        is_refused(call(command, "-", text=content), f"Error: {message}", "hint: ")


def test_a_folder_in_its_place(folder: Path) -> None:
    is_refused(call("plan", folder), "a file expected, but this is a folder")
    is_refused(call("plan", "missing.yaml", "--override", folder), "missing.yaml: no such file")


@pytest.mark.full
def test_a_shell_gives_it_under_other_names() -> None:
    """`/dev/stdin` and `<(...)` give the same plan as `-`."""
    Path("grid.yaml").write_text(GRID)
    program = f"'{sys.executable}' -m sweep plan"
    environment = os.environ | {"PYTHONPATH": str(Path(sweep.__file__).parents[1])}
    command = ["bash", "-c", f"{program} /dev/stdin < grid.yaml && {program} <(cat grid.yaml)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == 2 * call("plan", "-", text=GRID).stdout, done.stderr
    assert done.stdout.startswith("sweep sweep: 2 trials -> results")


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigError, match="<stdin>: cannot be read: it is closed"):
        load_config("-")


# -- relative paths -----------------------------------------------------------------------------------------------------


def test_paths_in_a_stream_are_relative_to_the_working_folder(folder: Path, trained: Trained) -> None:
    Path("piped.py").write_text(MODULE)
    Path("k.csv").write_text("0.5,0.5\n0.25,0.75\n")
    text = "problem: 'piped:make'\npreferences: {file: k.csv}\noutput: results\n"
    assert call("run", "-", text=text).exit_code == 0
    assert piped(text.encode(), lambda path: call("run", path)).exit_code == 0
    for (config,), _ in trained:
        assert config.problem.import_from == (str(folder),)
        assert config.preferences.file == str(folder / "k.csv")  # type: ignore[union-attr]


def test_paths_in_a_file_are_relative_to_its_folder(folder: Path) -> None:
    Path("below").mkdir()
    Path("below/k.csv").write_text("0.5,0.5\n")
    Path("below/grid.yaml").write_text("problem: analytic/zdt1\npreferences: {file: k.csv}\n")
    assert load_config("below/grid.yaml").preferences.file == str(folder / "below" / "k.csv")  # type: ignore[union-attr]


# -- resume and append --------------------------------------------------------------------------------------------------


@pytest.fixture
def begun() -> Store:
    """The folder of a run that got its grid file through a pipe."""
    Path("over.yaml").write_text("seeds: [0]\n")
    grid = piped(GRID.encode(), lambda path: read_grid(path, override="over.yaml"))
    config = grid.config()
    member = SweepRun(config, None, grid.text)
    member.store.create(manifest_of(config, "now"))
    with member.store.lock():
        member.begin_attempt(1, member.store.root / "logs" / "1.log", {"started": "2026-01-31T12:00:00+00:00"})
    return member.store


def test_resume_after_a_pipe_needs_no_file(begun: Store, trained: Trained) -> None:
    assert call("resume", begun.root).exit_code == 0
    ((config,), text) = trained[0]
    assert text == GridText(GRID, "seeds: [0]\n")
    assert [t.trial_id for t in trials_of(config)] == [t.trial_id for t in trials_of(parse_config(config.to_json()))]


def test_resume_takes_a_grid_file_and_its_override_from_anywhere(begun: Store, trained: Trained) -> None:
    Path("over.yaml").write_text("seeds: [0, 1]\n")
    assert call("resume", begun.root, "--grid", "-", "--override", "over.yaml", text=GRID).exit_code == 0
    ((config,), text) = trained[0]
    assert (config.seeds, config.output, text) == ((0, 1), str(begun.root), GridText(GRID, "seeds: [0, 1]\n"))
    is_refused(call("resume", begun.root, "--override", "over.yaml"), "no grid file is given", "`--grid FILE`")


def test_the_stored_text_is_a_grid_file_that_vectors_can_be_added_to(begun: Store) -> None:
    plan = begun.latest_plan()
    assert plan is not None
    Path("again.yaml").write_text(plan["grid_file"])
    before = [t.trial_id for t in trials_of(load_config("again.yaml"))]
    assert append_preferences(Path("again.yaml"), [(0.75, 0.25)]) == 1
    assert {t.trial_id for t in trials_of(load_config("again.yaml"))} > set(before)


def test_nothing_is_added_to_a_stream() -> None:
    with pytest.raises(ConfigError, match=r"/dev/fd/\d+: a file that can be replaced expected"):
        piped(GRID.encode(), lambda path: append_preferences(path, [(0.75, 0.25)]))


def test_a_file_that_is_edited_meanwhile_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("grid.yaml")
    path.write_text(GRID)
    read_bytes = sweep.grid.source.text._read_bytes

    def read_and_edit(path: Path, *rest: Any) -> bytes:
        raw = read_bytes(path, *rest)
        path.write_text(GRID + "seeds: [7]\n")
        return raw

    monkeypatch.setattr(sweep.grid.source.text, "_read_bytes", read_and_edit)
    with pytest.raises(ConfigError, match="the file was changed in the meantime"):
        append_preferences(path, [(0.75, 0.25)])
    assert path.read_text() == GRID + "seeds: [7]\n"
    assert [entry.name for entry in Path().iterdir()] == ["grid.yaml"]
