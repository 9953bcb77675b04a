"""The GPU's bench script runs where there is no GPU, without Ray and Plotly, so that it is ready where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
TINY = ["--device", "cpu", "--models", "2", "--samples", "256", "--epochs-share", "0.05", "--steps", "1", "--warm-up", "2", "--serial", "1"]
BLOCKED = """
import sys
for name in ("ray", "plotly", "pandas", "pyarrow", "pydantic"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
import runpy
runpy.run_module("tests.bench.gpu", run_name="__main__")
"""


@pytest.mark.slow
def test_it_prints_every_part() -> None:
    command = [sys.executable, "-c", BLOCKED, "gpu", "--shape", "multimnist", "--model", "hps", *TINY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0"}  # interpreted kernels take minutes
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for part in (
        "copy ",
        "packed+products",
        "end to end: 2 models",
        "of the copy bandwidth (limit 30 %)",
        "one after the other",
        "four processes",
    ):
        assert part in done.stdout, (part, done.stdout)
