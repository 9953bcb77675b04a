"""The measurements at large sizes run, at tiny ones: `python -m tests.bench.scale`. No figure is judged here."""

import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def measured(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.bench.scale", *arguments]
    return subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.full
@pytest.mark.parametrize(
    ("bench", "figures"),
    [
        pytest.param(
            "planning", ["200 vectors of a file, nothing complete", "all complete", "half complete", "peak memory"], marks=pytest.mark.slow
        ),
        ("store", ["Store.complete", "Store.read_rows", "analysis.read_results", "curves of all trials", "curves of one trial"]),
        ("front", ["cube 2,000 x 3", "sphere 200 x 3", "eps_nondominated, eps = 0.01", "slack of all points"]),
        ("report", ["write_report", "its size"]),
    ],
)
def test_every_bench_prints_its_figures(bench: str, figures: list[str]) -> None:
    lines = measured(bench, "--trials", "200").splitlines()
    assert lines[0].startswith(f"{bench}, 200 trials (")
    assert "load" in lines[0]
    for figure in figures:
        assert any(figure in line for line in lines), figure
    assert any("limit" in line for line in lines)


def test_an_unknown_bench_is_named() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        measured("fronts")
    assert "planning, store, front, report expected, found fronts" in caught.value.stderr
