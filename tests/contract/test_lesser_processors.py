"""The trainer's tests pass where PyTorch, its libraries and our kernel use fewer instructions than this processor has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
HELD_DOWN = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch, and our kernel with it
        "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions and some products
        "MKL_CBWR": "AVX2",  # PyTorch's matrix products
        "OPENBLAS_CORETYPE": "Haswell",  # those of numpy and scipy
    },
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Prescott",
    },
}
LESSER = {"AVX512": ["avx2", "default"], "AVX2": ["default"]}.get(torch.backends.cpu.get_cpu_capability(), [])
"""None where there is nothing to hold down, as on Arm."""
EVERYTHING = ("tests/unit/trainer", "tests/theory")
SENSITIVE = (
    "tests/theory/test_growl.py",
    "tests/theory/test_tying.py",
    "tests/unit/trainer/pack/kernels/test_conv_pool.py",
    "tests/unit/trainer/problems/test_tasks.py",
)
"""What compares numbers of a training, of packs and of kernels, and takes little time."""


@pytest.mark.full
@pytest.mark.parametrize("paths", [SENSITIVE, pytest.param(EVERYTHING, marks=pytest.mark.slow)], ids=["sensitive", "everything"])
@pytest.mark.parametrize("capability", LESSER)
def test_the_trainers_tests_pass_with_fewer_instructions(tmp_path: Path, capability: str, paths: tuple[str, ...]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | HELD_DOWN[capability]
    asked = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == {"avx2": "AVX2", "default": "DEFAULT"}[capability], "the settings have no effect"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}", *paths]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
