"""Measures all of `sweep plan` as a user runs it: Python's start, grid file, trials, results folder, packs and time estimate."""

import sys
from argparse import Namespace
from pathlib import Path

from tests.bench.scale.figures import run, show

_LIMIT_S, _LIMIT_MB = 5.0, 500.0
_REPOSITORY = Path(__file__).parents[3]


def measure(folder: Path, asked: Namespace) -> None:
    """Measure vectors from a file, and a hundredth of them with a hundred seeds, with none, all and half of the trials complete."""
    n = asked.trials
    n_seeds = 100 if n >= 1000 else 2
    _make(folder / "file", n, 1)
    _make(folder / "seeds", n // n_seeds, n_seeds)
    grid = (folder / "seeds" / "grid.yaml").read_text(encoding="utf-8")
    later = ", ".join(str(seed) for seed in range(n_seeds // 2, n_seeds + n_seeds // 2))
    half = folder / "seeds" / "half.yaml"
    half.write_text(grid.replace(grid[grid.index('"seeds"') : grid.index("]") + 1], f'"seeds": [{later}]'), encoding="utf-8")
    for name, path, out in (
        (f"{n:,} vectors of a file, nothing complete", folder / "file" / "grid.yaml", folder / "none"),
        (f"{n:,} vectors of a file, all complete", folder / "file" / "grid.yaml", None),
        (f"{n // n_seeds:,} vectors, {n_seeds} seeds, nothing complete", folder / "seeds" / "grid.yaml", folder / "none"),
        (f"{n // n_seeds:,} vectors, {n_seeds} seeds, all complete", folder / "seeds" / "grid.yaml", None),
        (f"{n // n_seeds:,} vectors, {n_seeds} seeds, half complete", half, None),
    ):
        where = [] if out is None else ["--out", str(out)]
        duration, peak = run([sys.executable, "-m", "sweep", "plan", str(path), *where], _REPOSITORY)
        show(name, duration, "s", _LIMIT_S)
        show("  peak memory", peak, "MB", _LIMIT_MB)


def _make(folder: Path, n_vectors: int, n_seeds: int) -> None:
    command = [sys.executable, "-m", "tests.bench.scale.made_sweep", str(folder), "--vectors", str(n_vectors), "--seeds", str(n_seeds)]
    run([*command, "--epochs", "1"], _REPOSITORY)
