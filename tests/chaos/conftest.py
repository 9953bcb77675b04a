"""The run that the disturbed ones are compared with."""

import sys
from typing import Any

import pytest

from sweep.cluster.machine import n_local_cpus
from tests.chaos.workplace import undisturbed

N_TRIALS = 6


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """trial_id -> what training made of it when nothing happened."""
    if not sys.platform.startswith("linux") or n_local_cpus() < 2:
        pytest.skip("not run: needs /proc and two processors")
    return undisturbed(tmp_path_factory.mktemp("u") / "w", N_TRIALS)
