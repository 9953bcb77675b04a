"""README and the documentation pages: short, true and without dead links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import sweep
from sweep import load_config
from sweep.cli.commands import cli

REPOSITORY = Path(sweep.__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_readme_fits_on_two_screens() -> None:
    assert len(README.split()) <= 900


def test_readme_begins_with_the_two_commands_that_the_gate_runs() -> None:
    install_and_run, install_and_test = (block.strip() for block in blocks("sh")[:2])
    assert install_and_run.endswith("sweep run configs/quickstart.yaml")
    assert install_and_test.endswith("pytest --cov")


def test_the_grid_file_of_readme_loads(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    assert load_config(path).name == "my-sweep"


def test_the_error_message_of_readme_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = blocks("text")
    Path("grid.yaml").write_text("name: x\nproblem: multidigits\nmodel: mdmtn\npreferences: {simplexx: {divisions: 3}}\n")
    result = CliRunner().invoke(cli, ["plan", "grid.yaml"])
    assert result.exit_code == 2
    assert text in result.stderr


def test_every_command_of_readme_exists() -> None:
    named = re.findall(r"`sweep ([a-z]+)", README)
    assert len(named) >= 10
    assert set(named) <= set(cli.commands)


def test_every_link_of_readme_leads_to_a_file() -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (REPOSITORY / target.partition("#")[0]).exists()] == []


def test_the_site_builds_without_a_dead_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "results.html").is_file()
