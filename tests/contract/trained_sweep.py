"""A small sweep that is really trained, without a Ray, for tests of commands that need weights."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from sweep.grid.load import load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.pack_job import PackJob, TrialJob
from sweep.planning.trials import trials_of
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun, versions

GRID = """
name: small
problem: {name: multidigits, n_train: 300, n_validation: 100, n_test: 100}
model: hps
preferences: {list: [[0, 0.5, 0.5], [0.2, 0.4, 0.4]]}
training:
  batch_size: 100
  sparsify: {outer_iterations: 1, epochs: 2}
  retrain: {outer_iterations: 1, epochs: 1}
  growl: {layer_sparsity_max: 0.7}
output: results
"""


def train(folder: Path, grid: str = GRID, out: str | None = None) -> Store:
    """Write grid.yaml into a folder and train what it asks for into results/, or into `out`."""
    (folder / "grid.yaml").write_text(grid, encoding="utf-8")
    config = load_config(folder / "grid.yaml", out=out or folder / "results")
    store = Store(config.output)
    (study,) = config.resolved_studies
    options = config.problem.options
    with store.lock():
        store.create(manifest_of(config, "2026-01-01T00:00:00+00:00") | {"versions": versions()})
        plan = {"attempt": 1, "started": "2026-01-01T00:00:00+00:00", "trials": [], "grid_file": grid}
        store.write_plan(1, plan | {"config": json.loads(config.model_dump_json())})
        for trial in trials_of(config):
            assert trial.preference is not None
            run = PackRun(
                PackJob(
                    root=str(store.root),
                    attempt=1,
                    pack_id=f"pack-{trial.trial_id}",
                    problem=config.problem.name,
                    problem_options=dict(options) if isinstance(options, dict) else asdict(options),
                    study=study.name,
                    model=study.model,
                    method=study.method,
                    training=asdict(study.training),
                    scaling=config.scaling,
                    reference_point=None,
                    seed=0,
                    trials=[TrialJob(trial.trial_id, list(trial.preference))],
                )
            )
            while not run.step():
                pass
    return store


@contextlib.contextmanager
def full_disk(folder: Path, size: str = "64k") -> Iterator[Path]:
    """A file system of its own without a free byte; needs root."""
    if os.geteuid() != 0:
        pytest.skip("not run: needs root")
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"not run: cannot mount: {mounted.stderr.strip()}")
    try:
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
