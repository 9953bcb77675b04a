"""The undisturbed run with which the disturbed ones are compared."""

import sys
from typing import Any

import pytest

from sweep.cluster.machine import n_local_cpus
from tests.chaos.workplace import undisturbed

N_TRIALS = 6


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return trial_id -> the result of its training without faults."""
    if not sys.platform.startswith("linux") or n_local_cpus() < 2:
        pytest.skip("not run: needs /proc and two processors")
    return undisturbed(tmp_path_factory.mktemp("u") / "w", N_TRIALS)
