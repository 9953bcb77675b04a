"""Small sweeps, and a driver of the test's own in place of the driver process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from drivers import GRID, SMALL, Idle

from sweep.cluster.driver import AttemptJob
from sweep.execution import attempt, supervisor
from sweep.grid.load import SweepConfig, parse_config, parse_configs


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a driver class into place; returns the list of what it was started with."""

    def put(kind: type[Idle]) -> list[AttemptJob]:
        kind.started = []
        monkeypatch.setattr(attempt, "DriverProcess", kind)
        monkeypatch.setattr(supervisor, "_BACK_OFF_S", 0.0)
        return kind.started

    return put


@pytest.fixture
def config(tmp_path: Path) -> SweepConfig:
    return parse_config(GRID | {"output": str(tmp_path / "out")})


@pytest.fixture
def configs(tmp_path: Path) -> tuple[SweepConfig, ...]:
    """Two sweeps of two trials: results in out/multidigits and out/multidigits-2."""
    return parse_configs(GRID | {"problem": [SMALL, SMALL | {"data_seed": 1}], "output": str(tmp_path / "out")}, name="two")
