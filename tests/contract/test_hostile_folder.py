"""A results folder from somebody else: no command imports, opens or writes anything for it, and no terminal obeys it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import sweep
from sweep.cli.commands import cli
from sweep.grid.load import load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import trials_of
from sweep.store.store import Store

REPOSITORY = Path(sweep.__file__).parents[1]
GRID = """\
problem: {name: multidigits, n_train: 512}
preferences: {list: [[0, 0.5, 0.5], [0.2, 0.4, 0.4]]}
"""
EVIL_MODULE = "from pathlib import Path\nPath('imported').write_text('x')\n"
ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e"
# Runs a command, and says which files it opened and which modules it imported.
WATCHED = """\
import os, sys
opened = set()
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        opened.add(os.path.realpath(os.fsdecode(arguments[0])))
    if event in ("subprocess.Popen", "os.system", "socket.connect"):
        opened.add(event)
sys.addaudithook(hook)
from sweep.cli.commands import cli
try:
    cli(sys.argv[1:], prog_name="sweep")
except SystemExit as ended:
    code = ended.code
print("\\n".join(["OPENED", *sorted(opened), "MODULES", *sorted(sys.modules)]))
sys.exit(code)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two trials, and a plan and manifest that name a module which lies in the folder."""
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    config = load_config(grid, out=tmp_path / "results")
    store = Store(tmp_path / "results")
    problem = {"name": "evil_module:factory", "import_from": [str(store.root)], "root": str(tmp_path / "secret")}
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00") | {"problem": problem | {"options": problem, "fingerprint": "0" * 64}})
    common = {"attempt": 1, "retry": 0, "state": "ok", "study": "main", "seed": 0, "model": "mdmtn", "method": "wcal_growl"}
    losses = {f"loss.{split}.{task}": 0.5 for split in ("train", "validation", "test") for task in config.problem.facts.tasks}
    trials = trials_of(config)
    for trial in trials:
        k = list(trial.preference or ())
        store.publish(
            {"trial_id": trial.trial_id, "k": k, "k_0": k[0], "problem": problem["name"], "objective.sparsity": 1.0, **common, **losses}
        )
    store.write_plan(
        1,
        {
            "attempt": 1,
            "started": "2026-01-31T12:00:00+00:00",
            "config": {"name": "x", "problem": problem},
            "log": "../../secret",
            "grid_file": "problem: evil_module:factory\n",
            "trials": [{"trial_id": trial.trial_id} for trial in trials],
        },
    )
    (store.root / "evil_module.py").write_text(EVIL_MODULE)
    (tmp_path / "secret").write_text("secret")
    return store.root


@pytest.mark.full
@pytest.mark.parametrize("command", ["status", "verify", "report", "front", "table"])
def test_no_command_imports_from_a_folder_or_opens_a_file_outside(folder: Path, command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, command, str(folder)],
        cwd=folder,  # the worst place to be
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder.parent / "home"), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode in (0, 3), ended.stderr
    opened, _, modules = ended.stdout.partition("OPENED\n")[2].partition("MODULES\n")
    assert "evil_module" not in modules.split()
    assert not (folder / "imported").exists()
    inside = str(folder.parent)
    foreign = [path for path in opened.split("\n") if path.startswith(inside) and not path.startswith(f"{folder}/")]
    assert foreign == []
    assert not {"subprocess.Popen", "os.system", "socket.connect"} & set(opened.split("\n"))


def test_plan_with_another_problem_says_so_and_imports_nothing(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["plan", str(folder.parent / "grid.yaml"), "--out", str(folder)])
    assert result.exit_code in (0, 2), result.output
    assert "evil_module" not in sys.modules
    assert not (folder / "imported").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("front",),
        ("front", "--format", "csv"),
        ("front", "--format", "json"),
        ("table",),
        ("table", "--format", "csv"),
        ("table", "--format", "json"),
        ("verify",),
        ("status",),
        ("status", "--format", "json"),
    ],
)
def test_no_terminal_obeys_what_a_folder_holds(tmp_path: Path, folder: Path, arguments: tuple[str, ...]) -> None:
    rows = Store(folder).read_rows().to_pylist()
    store = Store(tmp_path / "evil")
    store.create(json.loads((folder / "manifest.json").read_text()))
    for row in rows:
        given = {name: value for name, value in row.items() if value is not None}
        store.publish({**given, "study": f"study{ESCAPE}", "model": ESCAPE, "method": ESCAPE, "notes": [ESCAPE], "problem": ESCAPE})
    (store.root / "rows" / f"x{ESCAPE}.1-0.parquet").write_text("x")
    result = CliRunner().invoke(cli, [arguments[0], str(store.root), *arguments[1:]])
    assert result.exit_code in (0, 3), result.output
    for text in (result.stdout, result.stderr):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    if "json" in arguments:
        json.loads(result.stdout)


def test_no_terminal_obeys_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["report", str(tmp_path / f"missing{ESCAPE}")])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert "\x1b" not in result.stderr
    assert "\\u001b]0;owned\\u0007" in result.stderr
