"""The measurement of warm starts still runs; its figures are in docs/method.md."""

import subprocess
import sys
from pathlib import Path

import pytest

_CLONE = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_bench_trains_every_start_and_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    schedules = ("2x1+3x1", "3x1+4x1")
    sizes = ["--models", "hps", "--seeds", "0", "1", "--sizes", "64", "32", "32", "--k0", "4e-2"]
    arguments = [*sizes, "--schedules", *schedules, "--baseline", schedules[1], "--out", str(tmp_path)]
    command = [sys.executable, "-m", "tests.bench.warm_starts", *arguments]

    first, second = (subprocess.run(command, cwd=_CLONE, capture_output=True, text=True, timeout=300) for _ in range(2))

    assert first.returncode == 0, first.stderr
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.glob("*.0.json")} == {
        "dense.0.json",
        *(f"{start}.{schedule}.0.json" for start in ("cold", "warm") for schedule in schedules),
    }
    assert "warm 3x1+4x1 against cold at  7.0 epochs (the same epochs): " in first.stdout
    assert first.stdout.endswith(second.stdout.partition("dense: ")[2])
