"""docs/deciding.ipynb runs, and so do the examples of docs/analysis.md, those with other tools included.

The cells are run one after the other in one namespace, as a kernel would. A kernel of its own (nbclient) would bring jupyter-client and
ipykernel and take seconds to start, and these cells use nothing of it.
"""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import sweep

REPOSITORY = Path(sweep.__file__).parents[1]
NOTEBOOK = REPOSITORY / "docs/deciding.ipynb"


def python_blocks(path: Path) -> list[str]:
    """The Python examples of a page, as they are printed."""
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_every_cell_of_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(NOTEBOOK.parent)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    names: dict[str, Any] = {}
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    for number, source in enumerate(cells):
        exec(compile(source, f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
    assert len(cells) >= 6
    assert names["found"].chosen is not None
    assert names["comparison"].difference.low is not None
    assert str(names["ours"].knee_trial) in capsys.readouterr().out


def test_the_notebook_is_published_without_outputs() -> None:
    """Outputs would go stale, and a figure's are megabytes."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_the_examples_of_the_api_page_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(REPOSITORY / "results")
    names: dict[str, Any] = {}
    blocks = python_blocks(REPOSITORY / "docs/analysis.md")
    assert len(blocks) >= 5
    for number, source in enumerate(blocks):
        exec(compile(source, f"docs/analysis.md, example {number}", "exec"), names)
    assert {"duckdb", "polars"} <= names.keys()
