"""Small packs of MultiDigits for tests of workers: their jobs, what they leave in a store, and trainings that raise."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import trainer.api
from sweep.grid.load import SweepConfig, parse_config
from sweep.planning.manifest import manifest_of
from sweep.planning.pack_job import PackJob, TrialJob
from sweep.planning.trials import trials_of
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun

DENSE = [0.0, 0.5, 0.5]


SPARSE = [[0.02, 0.49, 0.49], [0.05, 0.475, 0.475], [0.1, 0.3, 0.6]]


N_EPOCHS = 4


CIRCUMSTANCES = {
    *("attempt", "retry", "pack_id", "host", "finished_at", "peak_memory_mb", "device_s", "energy_wh", "energy_estimated"),
    *("wall_s", "wall_s_sparsify", "wall_s_tying", "wall_s_retrain"),
}


def config_of(root: Path, **training: Any) -> SweepConfig:
    return parse_config(
        {
            "problem": {"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64},
            "preferences": {"list": [[0, 0.5, 0.5], *SPARSE]},
            "training": {
                "batch_size": 64,
                "learning_rate": 1e-2,
                "sparsify": {"outer_iterations": 2, "epochs": 1},
                "retrain": {"outer_iterations": 1, "epochs": 2},
                "growl": {"sparsity_min": 0.1},
                "lsuv": {"n_samples": 64},
            }
            | training,
            "output": str(root),
        }
    )


def job_of(root: Path, n_trials: int = 2, attempt: int = 1, is_dense: bool = False, **changes: Any) -> PackJob:
    """The first sparse trials (or the dense one) in one pack, in a folder that is ready for them."""
    training = changes.pop("training", {})
    config = config_of(root, **training)
    store = Store(root)
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    trials = [trial for trial in trials_of(config) if trial.is_dense == is_dense][:n_trials]
    job = PackJob(
        root=str(root),
        attempt=attempt,
        pack_id="pack-a",
        problem="multidigits",
        problem_options=dataclasses.asdict(config.problem.options),
        study="main",
        model="mdmtn",
        method="wcal_growl",
        training=dataclasses.asdict(config.training),
        scaling="none",
        reference_point=None,
        seed=0,
        trials=[TrialJob(trial.trial_id, list(trial.preference)) for trial in trials],
        checkpoint_s=0.0,
    )
    return PackJob.from_json(json.loads(json.dumps(dataclasses.replace(job, **changes).to_json())))


def checkpoint_of(job: PackJob, pack_id: str) -> str:
    """Path of the checkpoint that a pack has left, as a plan names it."""
    (path,) = (checkpoint.path for checkpoint in Store(job.root).checkpoints() if checkpoint.pack_id == pack_id)
    return str(path)


def finish(run: PackRun) -> PackRun:
    for _ in range(100):
        if run.step():
            return run
    raise AssertionError("a pack of a few epochs does not end")


def rows_of(root: Path | str) -> dict[str, dict[str, Any]]:
    return {row["trial_id"]: row for row in Store(Path(root)).read_rows().to_pylist()}


def trained(row: dict[str, Any]) -> dict[str, Any]:
    """What training made of a row; NaN as text, so that rows compare."""
    return {
        name: "NaN" if isinstance(value, float) and math.isnan(value) else value for name, value in row.items() if name not in CIRCUMSTANCES
    }


def curves_of(root: Path | str, job: PackJob) -> dict[tuple[str, int], dict[str, Any]]:
    store = Store(Path(root))
    store.compact()
    import pyarrow.parquet as pq

    rows = pq.read_table(store.root / "epochs.parquet").to_pylist()
    return {(row["trial_id"], row["epoch"]): trained(row) for row in rows if row["trial_id"] in job.trial_ids}


def fail_trainings(
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[Sequence[Any], dict[str, Any]], bool],
    error: BaseException,
    in_epoch: int | None = None,
    about: Callable[[Sequence[Any], dict[str, Any]], Any] = lambda specs, named: len(specs),
) -> list[tuple[Any, int]]:
    """Let some trainings raise an error.

    Args:
        fails: (specs, keywords of `trainer.api.start`) -> whether this training raises.
        error: what it raises.
        in_epoch: the epoch in which it raises; None for its start.
        about: takes the same; what the list says of a training.

    Returns:
        A list that gets (what `about` returns, epochs done) at each start.
    """
    start, starts = trainer.api.start, []

    def failing(specs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        is_guilty = fails(specs, named)
        if is_guilty and in_epoch is None:
            starts.append((about(specs, named), 0))
            raise error
        training = start(specs, *arguments, **named)
        starts.append((about(specs, named), training.epoch))
        step = training.step

        def failing_step() -> None:
            if is_guilty and training.epoch + 1 == in_epoch:
                raise error
            step()

        training.step = failing_step  # type: ignore[method-assign]
        return training

    monkeypatch.setattr(trainer.api, "start", failing)
    return starts


def raise_for(monkeypatch: pytest.MonkeyPatch, trial_id: str, error: BaseException, *, in_epoch: int | None = None) -> None:
    """Training of any pack with this trial raises: when it starts, or in an epoch."""
    fail_trainings(monkeypatch, lambda specs, named: any(spec.trial_id == trial_id for spec in specs), error, in_epoch)


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return fail
