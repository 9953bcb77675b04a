"""Fixtures of the analysis room's tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import write_store


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Make a synthetic results folder; arguments as `write_store`."""

    def make(**options: Any) -> Path:
        write_store(tmp_path / "results", **options)
        return tmp_path / "results"

    return make
