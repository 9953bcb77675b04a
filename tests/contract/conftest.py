"""A really trained sweep, for the commands that need weights."""

import shutil
from pathlib import Path

import pytest
from trained_sweep import train

from sweep.store.store import Store


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with grid.yaml and results/, of two trials; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder


@pytest.fixture
def results(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of its results/ in the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Store(tmp_path / "results")
