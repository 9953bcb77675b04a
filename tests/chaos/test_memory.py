"""Ray's memory monitor kills a worker that uses too much memory: the attempt ends, and the sweep continues."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.test_sorted_errors import hook
from tests.chaos.test_stops import is_complete
from tests.chaos.workplace import GONE_WITHIN_S, PATIENCE_S, Workplace
from tests.integration.sweep_process import plans_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

SPARE_BYTES = 1_000_000_000
"""Bytes between the memory in use and Ray's limit; other processes may use them too."""
# The first worker that comes so far takes twice that much, and waits for its end.
GREEDY = f"""
import os, time
from pathlib import Path
step, mark = module.TwoPhase.step, Path(os.environ["CHAOS_TRIES"]) / "greedy"
def takes_much(self):
    if self.epoch == 4 and not mark.exists():
        mark.touch()
        self.much = bytearray(b"x") * {2 * SPARE_BYTES}
        time.sleep(60)
    step(self)
module.TwoPhase.step = takes_much
"""
USED_AND_TOTAL = "from ray._private.utils import get_system_memory, get_used_memory; print(get_used_memory(), get_system_memory())"


def used_and_total() -> tuple[int, int]:
    """Return used and total bytes as Ray's monitor counts them."""
    printed = subprocess.run([sys.executable, "-c", USED_AND_TOTAL], capture_output=True, text=True, check=True).stdout
    used, total = (int(text) for text in printed.split())
    return used, total


def test_a_worker_that_the_memory_monitor_ends_is_trained_on(tmp_path: Path, reference: dict[str, dict[str, Any]]) -> None:
    used, total = used_and_total()
    if total - used < 8 * SPARE_BYTES:
        pytest.skip("not run: needs 8 GB of free memory")
    place = Workplace.make(tmp_path / "w", len(reference))
    limits = {
        "RAY_memory_usage_threshold": f"{(used + 3 * SPARE_BYTES) / total:.3f}",  # two workers and Ray take two of them
        "RAY_memory_monitor_refresh_ms": "100",
        "CHAOS_MODULE": hook(tmp_path, GREEDY),
        "CHAOS_TRIES": str(tmp_path),
    }
    with place.run(**limits) as process:
        ended = process.wait(PATIENCE_S)
        process.until_all_are_gone(GONE_WITHIN_S)
    assert ended.code == 0, ended.stderr
    assert (tmp_path / "greedy").exists()
    assert len(plans_of(place.out)) > 1, "Tune gives up a fit whose worker the monitor ended"
    assert "memory" in (place.out / "logs" / "1.log").read_text()
    is_complete(place, reference, [])
