"""Every command on a disk that refuses a call: one message with path, direction, the system's reason and a hint; never a traceback."""

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from faulty_disk import Call, FaultyDisk

import sweep
from sweep.cli.commands import cli
from sweep.errors import UserError
from sweep.grid.load import load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import trials_of
from sweep.store.store import Store

REPOSITORY = Path(sweep.__file__).parents[1]
GRID = """\
problem: {name: multidigits, n_train: 512}
preferences: {simplex: {divisions: 3, k0: [0, 0.25]}}
seeds: [0]
output: results
"""
READ_NUMBERS = (errno.EIO, errno.EACCES, errno.EMFILE, errno.EPERM, errno.ENFILE)
WRITE_NUMBERS = (errno.EIO, errno.EACCES, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENAMETOOLONG)
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "grid.yaml"),
    "plan": ("plan", "grid.yaml"),
    "status": ("status", "results"),
    "front": ("front", "results"),
    "pick": ("pick", "results", "--minimise", "loss.validation.left"),
    "compare": ("compare", "results", "results", "--figure", "out/difference.html"),
    "suggest": ("suggest", "results", "--append", "grid.yaml"),
    "table": ("table", "results", "--output", "out/table.txt"),
    "figure": ("figure", "results", "front", "--out", "out/front.html"),
    "report": ("report", "results"),
    "report --out": ("report", "results", "--out", "out/report.html"),
    "report --serve": ("report", "results", "--serve"),
    "verify": ("verify", "results"),
    "pause": ("pause", "results"),
    "stop": ("stop", "results"),
    "resume": ("resume", "results"),
    "resume --grid": ("resume", "results", "--grid", "grid.yaml"),
    "rm": ("rm", "results", "TRIAL"),
    "export": ("export", "results", "TRIAL", "--to", "out/network.safetensors"),
    "export --all-front": ("export", "results", "--all-front", "--to", "out/front"),
    "measure": ("measure", "results", "TRIAL", "--again"),
    "init": ("init", "out/new.yaml"),
    "schema": ("schema",),
    "data show": ("data", "show", "multidigits", "--out", "out/digits.png"),
}
OPTIONAL = re.compile(r"results/(live|latency|control\.json|pause\.json|report\.html)|.*\.tmp(\.yaml)?$")
"""What a command can do without, and says nothing of: requests that nobody made, times that nobody measured, what it tidies up."""


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with grid.yaml, results/ in which every trial is ok, some of them compacted, and an empty out/; not to be changed."""
    folder = tmp_path_factory.mktemp("complete")
    (folder / "out").mkdir()
    (folder / "grid.yaml").write_text(GRID, encoding="utf-8")
    config = load_config(folder / "grid.yaml", out=folder / "results")
    store = Store(folder / "results")
    with store.lock():
        store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
        trials = trials_of(config)
        planned = [{"trial_id": t.trial_id, "study": t.study, "k": list(t.preference or ()), "seed": t.seed} for t in trials]
        plan = {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", "trials": planned, "n_complete_before": 0, "versions": {}}
        store.write_plan(1, plan | {"config": json.loads(config.model_dump_json()), "grid_file": GRID})
        for number, trial in enumerate(trials):
            k = trial.preference or ()
            row: dict[str, Any] = {"trial_id": trial.trial_id, "attempt": 1, "retry": 0, "state": "ok", "study": trial.study, "seed": 0}
            row |= {"model": "mdmtn", "method": "wcal_growl", "k": list(k), **{f"k_{i}": share for i, share in enumerate(k)}}
            row |= {"objective.sparsity": 10.0 - number, "sparsity_rate": k[0], "device_s": 4.0}
            row |= {f"loss.{split}.{task}": 1.0 - k[i + 1] for split in ("train", "validation", "test") for i, task in _TASKS}
            store.publish(row, [{"epoch": 1, "phase": "dense"}], weights=trial.trial_id.encode())
            if number == 1:
                store.compact()
    return folder


_TASKS = ((0, "left"), (1, "right"))


@pytest.fixture
def place(complete: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, the working folder. What only computes is replaced: drawing, serving, training, networks and their data."""
    folder = tmp_path / "place"
    shutil.copytree(complete, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page = SimpleNamespace(to_html=lambda **_: "<head>")

    def render(table: Any, *_: object, **__: object) -> str:
        return f"page {table.unreadable}"

    network = SimpleNamespace(eval=lambda: None)
    trained = SimpleNamespace(compressed=lambda **_: SimpleNamespace(network=network), latencies=lambda _: {1: (1.0, 1.0)})
    trained.problem = SimpleNamespace(validation=SimpleNamespace(first=lambda _: (None, None)))
    trained.difference = lambda *_: 0.0
    card = {name: {"before": 2, "after": 1} for name in ("parameters", "macs", "weight_bytes", "bytes")}
    monkeypatch.setattr("analysis.report.page.render_report", render)
    monkeypatch.setattr("sweep.artifacts.serve.render_report", render)
    monkeypatch.setattr("sweep.artifacts.serve.LoopbackServer.serve_forever", lambda self: print(self.live.page()))
    monkeypatch.setattr("analysis.figures.export.draw_figure", lambda *_, **__: page)
    monkeypatch.setattr("analysis.figures.export.page_of", lambda *_: "page")
    monkeypatch.setattr("analysis.decide.compare.Comparison.figure", lambda _: page)
    monkeypatch.setattr("sweep.artifacts.networks.TrainedTrials.network", _network(trained))
    monkeypatch.setattr(
        "sweep.artifacts.export._Export.file", lambda _: (card | {"latency_ms": {"batch 1": {"before": 1, "after": 1}}}, b"network")
    )
    monkeypatch.setattr("sweep.artifacts.export.card_text", lambda _: "card")
    monkeypatch.setattr("sweep.execution.attempt.DriverProcess", _no_driver)
    return folder


def _network(trained: SimpleNamespace) -> Any:
    def network(self: Any, row: Any) -> SimpleNamespace:
        self.store.get_blob(row["weights_sha256"])
        return SimpleNamespace(**vars(trained), row=row)

    return network


def _no_driver(*_: object) -> None:
    raise UserError("this test trains nothing")


def call(name: str, place: Path, disk: FaultyDisk | None = None) -> tuple[Result, str]:
    """A command of `COMMANDS`, and all that it printed and wrote; what it lets through is in the result."""
    trial = min(path.name for path in (place / "results/rows").iterdir()).partition(".")[0]
    arguments = [trial if argument == "TRIAL" else argument for argument in COMMANDS[name]]
    with disk.on() if disk is not None else contextlib.nullcontext():
        result = CliRunner().invoke(cli, arguments)
    files = [place / "results" / "report.html", *sorted(place.glob("out/*"))]
    return result, result.output + "".join(path.read_text(errors="replace") for path in files if path.is_file())


def wrong(result: Result, output: str, fault: Call, number: int, undisturbed: str) -> str | None:
    """What is wrong with how a command ended; None where it told the fault in one message, or did all of its work in spite of it."""
    if not (result.exception is None or isinstance(result.exception, SystemExit)):
        return f"lets through {result.exception!r}"
    names = {fault.path, fault.path.removesuffix("/manifest.json"), *_of_temporary(fault.path)}
    is_named = any(name in output for name in names)
    if result.exit_code in (0, 3):
        is_without = is_named or output == undisturbed or OPTIONAL.match(fault.path)
        return None if is_without else "something is left out without a word"
    is_read = fault.name in ("listdir", "open")
    rules = {
        "exit code 2": result.exit_code == 2,
        "one message": result.stderr.startswith("Error: ") and result.stderr.count("Error: ") == 1,
        "the path": is_named,
        "the system's reason": os.strerror(number) in result.stderr,
        "a hint": "hint: " in result.stderr,
        "no hint to delete what may be whole": "delete" not in result.stderr,
        "read": not is_read or any(word in result.stderr for word in ("cannot be read", "cannot be listed", "cannot be looked at")),
        "written": is_read or fault.name == "stat" or "cannot write" in result.stderr or "cannot be written" in result.stderr,
    }
    return ", ".join(f"not: {rule}" for rule, is_kept in rules.items() if not is_kept) or None


def _of_temporary(path: str) -> tuple[str, ...]:
    """What a temporary file becomes; of a probe, the folder that it tries."""
    if "probe" in path:
        return (path.rpartition("/")[0],)
    found = re.fullmatch(r"(.*/)?\.(.+?)(\.\*)?\.tmp(\.yaml)?", path)
    return () if found is None else (f"{found[1] or ''}{found[2]}",)


def faults_of(disk: FaultyDisk) -> list[Call]:
    """The calls of files of ours that were made; of the many rows, curves and weights, and of the folders that are tried, one each."""
    kinds: dict[tuple[str, str], Call] = {}
    for one in disk.calls:
        if one.path.startswith(("results", "out", "grid.yaml")):
            kinds.setdefault((one.name, _MANY.sub(r"\1*", _PROBE.sub("probe", one.path))), one)
    return list(kinds.values())


def one_of_each(faults: list[Call], turn: int) -> list[Call]:
    """One path for each system call; which one depends on whose turn it is."""
    names = dict.fromkeys(fault.name for fault in faults)
    same = [[fault for fault in faults if fault.name == name] for name in names]
    return [group[turn % len(group)] for group in same]


_PROBE = re.compile(r"results/.*probe.*")


_MANY = re.compile(r"((rows|epochs|blobs|checkpoints)/).+")


def is_sound(place: Path, kept: Path, name: str) -> None:
    """No fault has cost a trial, beside the one that was to go."""
    gone = Store(kept / "results").complete().keys() - Store(place / "results").complete().keys()
    assert len(gone) <= (name == "rm")


@pytest.mark.full
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_call_that_a_command_makes_may_fail(name: str, is_whole: bool, place: Path, complete: Path) -> None:
    disk = FaultyDisk(place)
    ended, undisturbed = call(name, place, disk)
    assert ended.exit_code == 0, ended.output
    numbers = {True: cycle(READ_NUMBERS), False: cycle(WRITE_NUMBERS)}
    found = []
    faults = faults_of(disk)
    for fault in faults if is_whole else one_of_each(faults, list(COMMANDS).index(name)):
        for folder in ("results", "out"):
            shutil.rmtree(place / folder)
        shutil.copytree(complete, place, dirs_exist_ok=True)
        number = next(numbers[fault.name in ("stat", "listdir", "open")])
        disk = FaultyDisk(place, fault, number)
        ended, output = call(name, place, disk)
        assert disk.n_failed, fault
        reason = wrong(ended, output, fault, number, undisturbed)
        if reason is not None:
            found.append(f"{fault}, {errno.errorcode[number]}: {reason}\n{ended.output}")
        is_sound(place, complete, name)
    assert not found, "\n".join(found)


# -- as an ordinary user, and on a terminal that shows little -----------------------------------------------------------

# Takes its folder's permissions away from itself, one after the other, and runs commands.
ORDINARY = """\
import json, os, shutil, sys
from click.testing import CliRunner
from sweep.cli.commands import cli
told = []
for closed, mode, commands in json.loads(sys.argv[1]):
    shutil.copytree("kept", "results")
    os.chmod(closed, mode)
    for command in commands:
        ended = CliRunner().invoke(cli, command)
        crash = "" if ended.exception is None or isinstance(ended.exception, SystemExit) else repr(ended.exception)
        told.append([closed, command, ended.exit_code, ended.output, crash])
    os.chmod(closed, 0o700)
    shutil.rmtree("results")
print(json.dumps(told))
"""
LOOKING = [["status", "results"], ["front", "results"], ["pick", "results", "--minimise", "loss.validation.left"], ["table", "results"]]
LOOKING += [["figure", "results", "front"], ["report", "results"], ["verify", "results"], ["report", "results", "--serve"]]
CLOSED = [
    ("results", 0, [*LOOKING, ["pause", "results"], ["stop", "results"], ["rm", "results", "0"]]),
    ("results/rows", 0, LOOKING),
    ("results/plans", 0, LOOKING[:-1]),
    ("results/manifest.json", 0, [*LOOKING[:6], ["pause", "results"]]),
    ("results", 0o500, [["pause", "results"], ["report", "results"], ["rm", "results", "0"]]),
]


@pytest.mark.full
def test_an_ordinary_user_is_told_what_is_closed(complete: Path, tmp_path: Path) -> None:
    shutil.copytree(complete / "results", tmp_path / "kept")
    dropped = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")  # root is asked for permissions then, like everybody
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("not run: root may read everything, and setpriv is not here")
    ended = subprocess.run(
        [*(dropped if os.geteuid() == 0 else ()), sys.executable, "-c", ORDINARY, json.dumps(CLOSED)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    for closed, command, code, output, crash in json.loads(ended.stdout):
        told = f"{closed} closed, sweep {' '.join(command)}: {output}{crash}"
        assert not crash, told
        assert code == 2, told
        assert output.startswith("Error: "), told
        assert closed in output, told
        assert "Permission denied" in output, told
        assert "hint: " in output, told


@pytest.mark.full
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_that_shows_little_costs_no_exit_code(complete: Path, tmp_path: Path, encoding: str) -> None:
    name = "结果—é"
    shutil.copytree(complete / "results", tmp_path / name)
    commands = [["status", name], ["table", name], ["front", name, "--format", "csv"], ["report", name], ["verify", name]]
    commands += [["figure", name, "front"], ["status", f"no {name}"]]
    code = "import json, sys; from sweep.cli.commands import cli\nfor command in json.loads(sys.argv[1]):\n"
    code += "    try:\n        cli(command, prog_name='sweep')\n    except SystemExit as ended:\n        print('ENDED', ended.code)\n"
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"], "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        encoding=encoding,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert re.findall("ENDED (.+)", ended.stdout) == ["0"] * 6 + ["2"]
    assert (tmp_path / name / "report.html").exists()
    letter = "é" if encoding == "latin-1" else "\\u00e9"
    assert f"/\\u7ed3\\u679c-{letter}: not running\n" in ended.stdout, "a line for people"
    assert f"\n\\u7ed3\\u679c\\u2014{letter}/report.html\n" in ended.stdout, "a path, for programs"
    assert ended.stderr.startswith("Error: ")
    assert f"/no \\u7ed3\\u679c-{letter}: not a results folder" in ended.stderr
    assert "Traceback" not in ended.stderr
