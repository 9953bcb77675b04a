"""The commands on folders with hardly anything in them: one answer or one message, never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

import sweep

REPOSITORY = Path(sweep.__file__).parents[1]
STORES = str(REPOSITORY / "tests" / "unit" / "analysis")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status", "{}"),
    ("report", "{}"),
    ("front", "{}"),
    ("table", "{}"),
    ("pick", "{}", "--minimise", "loss.validation.left"),
    ("compare", "{}", "{}"),
    ("suggest", "{}"),
    ("figure", "{}", "front"),
    ("figure", "{}", "attainment"),
)
WITHOUT_A_RESULT = ("status", "report", "front", "table")
"""Commands that have something to say of a folder without a result."""


@pytest.mark.full
@pytest.mark.parametrize(
    "name", [pytest.param("no rows", marks=pytest.mark.slow), "one trial", pytest.param("all failed", marks=pytest.mark.slow)]
)
def test_commands_end_with_an_answer_or_one_message(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "results"
    code = (
        f"import sys; sys.path.insert(0, {STORES!r})\n"
        f"from edge_stores import EDGE_STORES; from pathlib import Path\nEDGE_STORES[{name!r}](Path('results'))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=_environment(), check=True)
    for command in COMMANDS:
        arguments = [argument.format(folder) for argument in command]
        ended = subprocess.run(
            [sys.executable, "-m", "sweep.cli.commands", *arguments],
            cwd=tmp_path,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        told = f"{name}: sweep {' '.join(command)}: {ended.stdout}{ended.stderr}"
        assert ended.returncode in (0, 2), told
        assert "Traceback" not in ended.stderr, told
        assert "Warning" not in ended.stderr, told
        if ended.returncode:
            assert ended.stderr.startswith(("Error: ", "Usage: ")), told
            assert ended.stderr.count("Error: ") == 1, told
            assert "hint: " in ended.stderr, told
            assert ended.stdout == "", told
            assert command[0] not in WITHOUT_A_RESULT, told
        else:
            assert ended.stdout.strip(), told


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
