"""A store that every test of this folder may use."""

from pathlib import Path

import pytest
from example_store import manifest_of_a_sweep

from sweep.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.create(manifest_of_a_sweep())
    return store
