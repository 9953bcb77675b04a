"""The life of a pack in a worker, without Ray: it trains, resumes to the bit, and loses only the trial that is at fault."""

import dataclasses
import gc
import json
import math
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sets import short_cases

import trainer.api
from sweep.grid.load import SweepConfig, parse_config
from sweep.planning.manifest import manifest_of
from sweep.planning.pack_job import NetworkStart, PackJob, TrialJob
from sweep.planning.trials import trials_of
from sweep.store.store import Store, StoreError, StoreWriteError
from sweep.worker.pack_run import PackRun, next_retry
from trainer.catalog import PROBLEMS
from trainer.energy.meter import Energy
from trainer.pack.device import exclusive_use
from trainer.training.autotune import Timing

DENSE = [0.0, 0.5, 0.5]
SPARSE = [[0.02, 0.49, 0.49], [0.05, 0.475, 0.475], [0.1, 0.3, 0.6]]
N_EPOCHS = 4
# They say when and where a row was made, not what was trained.
CIRCUMSTANCES = {
    *("attempt", "retry", "pack_id", "host", "finished_at", "peak_memory_mb", "device_s", "energy_wh", "energy_estimated"),
    *("wall_s", "wall_s_sparsify", "wall_s_tying", "wall_s_retrain"),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def _built_once() -> Any:
    """Each PackRun builds the problem; the tests share one."""
    entry = PROBLEMS["multidigits"]
    options = entry.options(n_train=256, n_validation=64, n_test=64)
    problem = entry.build(options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(entry), "build", lambda self, asked: problem if asked == options else entry.build(asked))
        yield


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


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], int]]:
    """(trial ids, epoch at which it begins) of each training that is started."""
    started: list[tuple[tuple[str, ...], int]] = []
    start = trainer.api.start

    def spying(specs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        training = start(specs, *arguments, **named)
        started.append((tuple(spec.trial_id for spec in specs), training.epoch))
        return training

    monkeypatch.setattr(trainer.api, "start", spying)
    return started


def raise_for(monkeypatch: pytest.MonkeyPatch, trial_id: str, error: BaseException, *, in_epoch: int | None = None) -> None:
    """Training of any pack with this trial raises: when it starts, or in an epoch."""
    start = trainer.api.start

    def failing(specs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        is_guilty = any(spec.trial_id == trial_id for spec in specs)
        if is_guilty and in_epoch is None:
            raise error
        training = start(specs, *arguments, **named)
        if is_guilty:
            step = training.step

            def failing_step() -> None:
                if training.epoch + 1 == in_epoch:
                    raise error
                step()

            training.step = failing_step  # type: ignore[method-assign]
        return training

    monkeypatch.setattr(trainer.api, "start", failing)


# -- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_a_pack_trains_to_rows_curves_and_weights(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", n_trials=3)
    run = PackRun(job)
    ends = [run.step() for _ in range(N_EPOCHS)]
    assert ends == [False] * (N_EPOCHS - 1) + [True]
    assert run.is_done
    assert run.step()
    store = Store(tmp_path / "out")
    rows = rows_of(store.root)
    assert list(rows) == sorted(job.trial_ids)
    for trial in job.trials:
        row, k = rows[trial.trial_id], trial.k
        assert row["state"] == "ok"
        assert row["k"] == list(k) == [row["k_0"], row["k_1"], row["k_2"]]
        assert (row["pack_id"], row["study"], row["model"], row["method"], row["seed"]) == ("pack-a", "main", "mdmtn", "wcal_growl", 0)
        assert (row["attempt"], row["retry"], row["device"]) == (1, 0, "cpu")
        assert row["n_epochs"] == N_EPOCHS
        assert len(store.get_blob(row["weights_sha256"])) > 1000
        assert row["peak_memory_mb"] > 10
        assert {"python", "torch"} <= dict(row["versions"]).keys()
        assert 0 < row["device_s"] <= row["wall_s"]
    assert store.checkpoints() == []
    assert store.live() == []
    assert store.verify() == []
    assert len(curves_of(store.root, job)) == 3 * N_EPOCHS
    assert run.spent.training_s > 0
    assert run.spent.setup_s > 0
    assert run.spent.store_s > 0


def test_a_dense_pack_trains_too(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", is_dense=True)
    finish(PackRun(job))
    (row,) = rows_of(tmp_path / "out").values()
    assert (row["state"], row["sparsity_rate"], row["k_0"]) == ("ok", 0.0, 0.0)


def test_a_running_pack_says_where_it_is(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out")
    run = PackRun(job)
    store = Store(tmp_path / "out")
    (live,) = store.live()
    assert (live["pack_id"], live["trial_ids"], live["attempt"], live["retry"]) == ("pack-a", list(job.trial_ids), 1, 0)
    assert "epoch" not in live
    run.step()
    (live,) = store.live()
    assert (live["epoch"], live["n_epochs"], live["phase"]) == (1, N_EPOCHS, "sparsify")
    assert 0 <= live["best_metric"] <= 1
    assert live["updated"] >= live["started"]
    assert run.progress()["epoch"] == 1


@pytest.mark.full
def test_what_is_complete_is_not_trained_again(tmp_path: Path, spy: list[Any]) -> None:
    job = job_of(tmp_path / "out")
    finish(PackRun(job))
    before = rows_of(tmp_path / "out")
    spy.clear()
    again = PackRun(dataclasses.replace(job, attempt=2))
    assert again.is_done
    assert again.step()
    assert again.progress() == {}
    assert spy == []
    assert rows_of(tmp_path / "out") == before
    assert Store(tmp_path / "out").live() == []


@pytest.mark.full
def test_of_a_pack_that_is_partly_complete_only_the_rest_trains(tmp_path: Path, spy: list[Any]) -> None:
    job = job_of(tmp_path / "out", n_trials=3)
    alone = dataclasses.replace(job, pack_id="pack-b", trials=job.trials[1:2])
    finish(PackRun(alone))
    before = rows_of(tmp_path / "out")
    spy.clear()
    finish(PackRun(dataclasses.replace(job, attempt=2)))
    assert spy == [((job.trial_ids[0], job.trial_ids[2]), 0)]
    after = rows_of(tmp_path / "out")
    assert after[job.trial_ids[1]] == before[job.trial_ids[1]]
    assert set(after) == set(job.trial_ids)


# -- resuming -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("n_epochs", short_cases([2, 1, 3]))
def test_a_killed_pack_goes_on_to_the_same_row_bit_for_bit(tmp_path: Path, spy: list[Any], n_epochs: int, is_dense: bool) -> None:
    whole, cut = job_of(tmp_path / "whole", is_dense=is_dense), job_of(tmp_path / "cut", is_dense=is_dense)
    finish(PackRun(whole))
    killed = PackRun(cut)
    for _ in range(n_epochs):
        killed.step()
    del killed
    assert Store(tmp_path / "cut").complete() == {}
    spy.clear()
    finish(PackRun(dataclasses.replace(cut, attempt=2)))
    assert spy == [(tuple(cut.trial_ids), n_epochs)]
    expected, found = rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut")
    assert {trial_id: trained(row) for trial_id, row in found.items()} == {trial_id: trained(row) for trial_id, row in expected.items()}
    assert {row["attempt"] for row in found.values()} == {2}
    assert all(row["weights_sha256"] for row in found.values())
    expected_curves, found_curves = (curves_of(tmp_path / name, whole) for name in ("whole", "cut"))
    assert expected_curves == found_curves
    assert Store(tmp_path / "cut").checkpoints() == []


@pytest.mark.full
def test_a_pack_adopts_the_checkpoint_of_a_larger_one(tmp_path: Path, spy: list[Any]) -> None:
    whole = job_of(tmp_path / "out", n_trials=3)
    killed = PackRun(whole)
    killed.step()
    killed.step()
    part = dataclasses.replace(whole, attempt=2, pack_id="pack-b", checkpoint=checkpoint_of(whole, "pack-a"), trials=whole.trials[1:])
    spy.clear()
    finish(PackRun(part))
    assert spy == [(tuple(part.trial_ids), 2)]
    assert Store(tmp_path / "out").complete() == dict.fromkeys(part.trial_ids, "ok")


def test_a_checkpoint_of_others_is_not_taken(tmp_path: Path, spy: list[Any]) -> None:
    whole = job_of(tmp_path / "out", n_trials=3)
    killed = PackRun(dataclasses.replace(whole, trials=whole.trials[:1]))
    killed.step()
    spy.clear()
    PackRun(dataclasses.replace(whole, attempt=2)).step()
    assert spy == [(tuple(whole.trial_ids), 0)]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param("truncated", marks=pytest.mark.full),
        pytest.param("flipped header", marks=pytest.mark.full),
        pytest.param("empty", marks=pytest.mark.slow),
        pytest.param("garbage", marks=pytest.mark.slow),
    ],
)
def test_a_torn_checkpoint_makes_the_pack_start_anew(tmp_path: Path, spy: list[Any], damage: str) -> None:
    whole, cut = job_of(tmp_path / "whole"), job_of(tmp_path / "cut")
    finish(PackRun(whole))
    PackRun(cut).step()
    (checkpoint,) = Store(tmp_path / "cut").checkpoints()
    data = checkpoint.path.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    checkpoint.path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "empty": b"",
            "garbage": b"\xff" * len(data),
            "flipped header": data[:8] + b"\x00" * n_header + data[8 + n_header :],
        }[damage]
    )
    spy.clear()
    finish(PackRun(dataclasses.replace(cut, attempt=2)))
    assert spy == [(tuple(cut.trial_ids), 0)]
    expected, found = rows_of(tmp_path / "whole"), rows_of(tmp_path / "cut")
    assert {key: trained(row) for key, row in found.items()} == {key: trained(row) for key, row in expected.items()}


@pytest.mark.full
@pytest.mark.parametrize("n_trials", [1, 2])
def test_a_checkpoint_that_can_be_read_but_not_continued_is_nobodys_fault(tmp_path: Path, spy: list[Any], n_trials: int) -> None:
    """A flipped digit, or another version's state: the trials start anew instead of ending in `error`."""
    job = job_of(tmp_path / "out", n_trials=n_trials)
    PackRun(job).step()
    (checkpoint,) = Store(tmp_path / "out").checkpoints()
    data = checkpoint.path.read_bytes()
    assert data.count(b'\\"phase\\": 0,') == 1
    checkpoint.path.write_bytes(data.replace(b'\\"phase\\": 0,', b'\\"phase\\": 7,'))
    spy.clear()
    finish(PackRun(dataclasses.replace(job, attempt=2)))
    assert spy == [(tuple(job.trial_ids), 0)]
    assert Store(tmp_path / "out").complete() == dict.fromkeys(job.trial_ids, "ok")


@pytest.mark.full
def test_a_checkpoint_of_another_format_makes_the_pack_start_anew(tmp_path: Path, spy: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("trainer.training.checkpoint._FORMAT", "0")
        PackRun(job).step()
    spy.clear()
    finish(PackRun(dataclasses.replace(job, attempt=2)))
    assert spy == [(tuple(job.trial_ids), 0)]
    assert set(Store(tmp_path / "out").complete().values()) == {"ok"}


@pytest.mark.full
def test_the_further_of_two_checkpoints_is_taken(tmp_path: Path, spy: list[Any]) -> None:
    job = job_of(tmp_path / "out")
    near = PackRun(job)
    near.step()
    far = PackRun(dataclasses.replace(job, pack_id="pack-b", attempt=2, checkpoint=checkpoint_of(job, "pack-a")))
    far.step()
    far.step()
    spy.clear()
    PackRun(dataclasses.replace(job, attempt=3, checkpoint=checkpoint_of(job, "pack-b"))).step()
    assert spy == [(tuple(job.trial_ids), 3)]


def test_checkpoints_are_as_rare_as_asked(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", checkpoint_s=3600.0)
    run = PackRun(job)
    run.step()
    store = Store(tmp_path / "out")
    assert store.checkpoints() == []
    run.checkpoint()
    assert [checkpoint.epoch for checkpoint in store.checkpoints()] == [1]


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Epochs:
    """A training that only lets time pass.

    Args:
        clock: the clock.
        epoch_s: seconds of one epoch.
        n_first: number of epochs of the first phase.
    """

    n_epochs = 10**6
    done = False

    def __init__(self, clock: Clock, epoch_s: float, n_first: int) -> None:
        self._clock, self._epoch_s, self._n_first = clock, epoch_s, n_first
        self.epoch = 0

    def step(self) -> None:
        self.epoch += 1
        self._clock.now += self._epoch_s

    def progress(self) -> dict[str, float | str]:
        return {"phase": "first" if self.epoch < self._n_first else "second", "epoch": self.epoch}

    def state_dict(self) -> None:
        return None


def checkpointed_epochs(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, checkpoint_s: float, cost_s: float, epoch_s: float, n_epochs: int, n_first: int = 10**6
) -> list[int]:
    """Return after which epochs a pack is kept if a checkpoint takes `cost_s` seconds."""
    clock, kept = Clock(), []
    training = Epochs(clock, epoch_s, n_first)

    def save(*arguments: Any) -> None:
        kept.append(training.epoch)
        clock.now += cost_s

    monkeypatch.setattr("sweep.worker.pack_run.time", clock)
    monkeypatch.setattr(trainer.api, "start", lambda *arguments, **named: training)
    monkeypatch.setattr(trainer.api, "to_bytes", lambda state: b"")
    monkeypatch.setattr(Store, "save_checkpoint", save)
    monkeypatch.setattr(Store, "write_live", lambda *arguments: None)
    run = PackRun(job_of(root, checkpoint_s=checkpoint_s))
    for _ in range(n_epochs):
        run.step()
    return kept


@pytest.mark.parametrize(
    ("checkpoint_s", "cost_s", "epochs"),
    [
        (5.0, 0.125, [5, 10, 15, 20, 25]),  # cheap: as often as the grid file asks for
        (5.0, 3.0, [5, 65, 125, 185, 245]),  # 3 of 63 seconds
        (5.0, 60.0, [5, 305, 605, 905]),  # never more than five minutes apart
        (600.0, 60.0, [600, 1200, 1800]),  # unless the grid file asks for more
        (0.0, 60.0, [1, 2, 3, 4, 5]),  # every epoch, whatever it costs
    ],
)
def test_the_dearer_a_checkpoint_is_the_rarer_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint_s: float, cost_s: float, epochs: list[int]
) -> None:
    n_epochs = epochs[-1]
    kept = checkpointed_epochs(tmp_path / "out", monkeypatch, checkpoint_s=checkpoint_s, cost_s=cost_s, epoch_s=1.0, n_epochs=n_epochs)
    assert kept == epochs


@pytest.mark.parametrize(("n_first", "epochs"), [(20, [5, 20, 80]), (7, [5, 10, 70])])
def test_the_end_of_a_phase_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_first: int, epochs: list[int]) -> None:
    """As soon as the last checkpoint is `checkpoint_s` old, whatever one costs."""
    kept = checkpointed_epochs(
        tmp_path / "out", monkeypatch, checkpoint_s=5.0, cost_s=3.0, epoch_s=1.0, n_epochs=epochs[-1] + 1, n_first=n_first
    )
    assert kept == epochs


def test_a_request_to_stop_leaves_a_checkpoint(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", checkpoint_s=3600.0)
    run = PackRun(job)
    run.step()
    assert not run.stop_requested()
    store = Store(tmp_path / "out")
    store.control.request_stop()
    assert run.stop_requested()
    assert store.checkpoints() == []
    run.step()
    assert [(c.epoch, c.trial_ids) for c in store.checkpoints()] == [(2, tuple(job.trial_ids))]


# -- faults of a trial --------------------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("in_epoch", [None, 1, 3])
def test_only_the_trial_that_raises_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_epoch: int | None) -> None:
    job = job_of(tmp_path / "out", n_trials=3)
    guilty = job.trial_ids[1]
    raise_for(monkeypatch, guilty, ValueError("a matrix is singular"), in_epoch=in_epoch)
    finish(PackRun(job))
    rows = rows_of(tmp_path / "out")
    assert {trial_id: row["state"] for trial_id, row in rows.items()} == dict.fromkeys(job.trial_ids, "ok") | {guilty: "error"}
    assert rows[guilty]["error"] == "ValueError: a matrix is singular"
    assert rows[guilty]["k"] == list(job.trials[1].k)
    assert rows[guilty]["weights_sha256"] is None
    assert Store(tmp_path / "out").verify() == []
    assert Store(tmp_path / "out").checkpoints() == []
    assert Store(tmp_path / "out").live() == []


def test_a_faulty_pack_of_one_ends_in_an_error_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out", is_dense=True)
    raise_for(monkeypatch, job.trial_ids[0], RuntimeError("shapes do not fit"))
    assert PackRun(job).step()
    assert Store(tmp_path / "out").complete() == {job.trial_ids[0]: "error"}


def test_a_fault_in_the_results_is_the_trials_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out")
    monkeypatch.setattr("trainer.training.base.result_of", lambda *arguments: 1 / 0)
    finish(PackRun(job))
    rows = rows_of(tmp_path / "out")
    assert {row["state"] for row in rows.values()} == {"error"}
    reason = "its training is over, but its results could not be measured: ZeroDivisionError: division by zero"
    assert {row["error"] for row in rows.values()} == {reason}


def test_a_split_pack_that_is_killed_keeps_what_it_has_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out", n_trials=3)
    guilty = job.trial_ids[2]
    raise_for(monkeypatch, guilty, ValueError("no"))
    run = PackRun(job)
    while len(Store(tmp_path / "out").complete()) < 1:
        run.step()
    run.step()
    del run
    before = rows_of(tmp_path / "out")
    finish(PackRun(dataclasses.replace(job, attempt=2)))
    rows = rows_of(tmp_path / "out")
    assert before.items() <= rows.items()
    assert {trial_id: row["state"] for trial_id, row in rows.items()} == dict.fromkeys(job.trial_ids, "ok") | {guilty: "error"}


@pytest.mark.full
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
@pytest.mark.parametrize("in_epoch", [None, 2])
def test_a_passing_error_is_raised_and_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, in_epoch: int | None
) -> None:
    job = job_of(tmp_path / "out", n_trials=1)
    with monkeypatch.context() as patch:
        raise_for(patch, job.trial_ids[0], error, in_epoch=in_epoch)
        with pytest.raises(type(error)):
            finish(PackRun(job))
    assert Store(tmp_path / "out").complete() == {}
    retry = finish(PackRun(job))
    rows = rows_of(tmp_path / "out")
    assert {row["state"] for row in rows.values()} == {"ok"}
    assert {(row["attempt"], row["retry"]) for row in rows.values()} == {(1, 1)}, "a retry writes files of its own"
    assert retry.is_done


def too_large_for(monkeypatch: pytest.MonkeyPatch, n_trials: int, error: BaseException, in_epoch: int) -> list[tuple[int, int]]:
    """Packs of more trials run out of memory in an epoch. Returns the list of (size, epochs done) of every start."""
    start, starts = trainer.api.start, []

    def failing(specs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        training = start(specs, *arguments, **named)
        starts.append((len(specs), training.epoch))
        step = training.step

        def failing_step() -> None:
            if len(specs) > n_trials and training.epoch + 1 == in_epoch:
                raise error
            step()

        training.step = failing_step  # type: ignore[method-assign]
        return training

    monkeypatch.setattr(trainer.api, "start", failing)
    return starts


@pytest.mark.full
@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")])
def test_a_pack_that_memory_is_not_enough_for_goes_on_in_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """From its checkpoint, with the same results, and again in halves after a kill."""
    whole = job_of(tmp_path / "whole", n_trials=3)
    finish(PackRun(whole))
    job = job_of(tmp_path / "out", n_trials=3)
    with monkeypatch.context() as patch:
        starts = too_large_for(patch, 1, error, in_epoch=3)
        run = PackRun(job)
        while len(Store(tmp_path / "out").complete()) < 1:
            run.step()
        assert starts == [(3, 0), (2, 2), (1, 2)]
        run.step()
        del run
        finish(PackRun(dataclasses.replace(job, attempt=2)))
        assert starts[3:] == [(1, 2), (1, 3), (1, 2)]
    rows, expected = rows_of(tmp_path / "out"), rows_of(tmp_path / "whole")
    assert {row["state"] for row in rows.values()} == {"ok"}
    for trial_id, row in rows.items():
        assert row["weights_sha256"] == expected[trial_id]["weights_sha256"]
    assert any("memory was not enough for a pack of 3" in note for row in rows.values() for note in row["notes"] or ())
    assert Store(tmp_path / "out").checkpoints() == []


def test_nothing_of_a_pack_that_is_too_large_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its halves run out of memory too. A training may be part of a reference cycle."""
    start, whole, remaining = trainer.api.start, [], []

    def failing(specs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        remaining.append([training() is not None for training in whole])
        training = start(specs, *arguments, **named)
        training.itself = training  # type: ignore[attr-defined]
        if len(specs) > 1:
            whole.append(weakref.ref(training))

            def failing_step() -> None:
                raise RuntimeError("CUDA error: out of memory")

            training.step = failing_step  # type: ignore[method-assign]
        return training

    monkeypatch.setattr(trainer.api, "start", failing)
    run = PackRun(job_of(tmp_path / "out"))
    gc.disable()
    try:
        run.step()
        run.step()
    finally:
        gc.enable()
    assert remaining == [[], [False]]


def of_triton(name: str) -> type[Exception]:
    """A class like Triton's, which may not be installed."""
    return type(name, (Exception,), {"__module__": "triton.runtime.errors"})


def failing_kernel(monkeypatch: pytest.MonkeyPatch, error: Exception, in_epoch: int | None) -> list[tuple[str, int]]:
    """Backends with a kernel raise an error when they start or in an epoch. Return (backend, epochs done) of each start."""
    start, starts = trainer.api.start, []

    def failing(specs: Sequence[Any], *arguments: Any, backend: str, **named: Any) -> Any:
        has_kernel = "+" in backend
        if has_kernel and in_epoch is None:
            starts.append((backend, 0))
            raise error
        training = start(specs, *arguments, backend=backend, **named)
        starts.append((backend, training.epoch))
        step = training.step

        def failing_step() -> None:
            if has_kernel and training.epoch + 1 == in_epoch:
                raise error
            step()

        training.step = failing_step  # type: ignore[method-assign]
        return training

    monkeypatch.setattr(trainer.api, "start", failing)
    return starts


TOO_LARGE = of_triton("OutOfResources")("out of resource: shared memory, Required: 262144, Hardware limit: 101376")


@pytest.mark.parametrize(("in_epoch", "epochs"), [(None, 0), (3, 2)])
def test_a_kernel_that_fails_here_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_epoch: int | None, epochs: int) -> None:
    """The backend was chosen on another GPU, for example. What was trained is kept."""
    monkeypatch.setattr(PackRun, "_settled_backend", lambda run: "packed+products")
    starts = failing_kernel(monkeypatch, TOO_LARGE, in_epoch)
    finish(PackRun(job_of(tmp_path / "out")))
    assert starts == [("packed+products", 0), ("packed", epochs)]
    for row in rows_of(tmp_path / "out").values():
        assert (row["state"], row["backend"]) == ("ok", "packed")
        (note,) = (note for note in row["notes"] if note.startswith("backend"))
        assert note.startswith("backend packed+products does not work here (OutOfResources: out of resource: shared memory")
        assert note.endswith("): packed was used instead")


def test_a_kernel_that_fails_when_memory_is_measured_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def fits(*arguments: Any, backend: str, **named: Any) -> int:
        measured.append(backend)
        if "+" in backend:
            raise TOO_LARGE
        return 2

    monkeypatch.setattr(PackRun, "_settled_backend", lambda run: "packed+products")
    monkeypatch.setattr(trainer.api, "fits", fits)
    PackRun(job_of(tmp_path / "out"))
    assert measured == ["packed+products", "packed"]
    with pytest.raises(type(TOO_LARGE)):
        PackRun(job_of(tmp_path / "out", backend="packed+products"))


def test_a_kernel_that_the_grid_file_names_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_kernel(monkeypatch, TOO_LARGE, None)
    with pytest.raises(type(TOO_LARGE)):
        finish(PackRun(job_of(tmp_path / "out", backend="packed+products")))
    assert Store(tmp_path / "out").complete() == {}


def test_the_workers_of_a_gpu_measure_its_backends_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that waits for the GPU reads the choice of the other; later packs do not even wait."""
    job = job_of(tmp_path / "out", device="cuda")
    measured: list[int] = []

    def fastest(specs: Sequence[Any], *arguments: Any) -> Timing:
        measured.append(len(specs))
        time.sleep(0.3)
        return Timing("packed", {"packed": 1e-4}, {"vmap": "ValueError: no"}, len(specs))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(trainer.api, "fastest_backend", fastest)
    monkeypatch.setattr(trainer.api, "resolve_device", torch.device)
    monkeypatch.setattr(trainer.api, "energy_meter", lambda device: None)
    monkeypatch.setattr(trainer.api, "fits", lambda *arguments, **named: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="GPU-1"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    jobs = [dataclasses.replace(job, pack_id=f"pack-{i}", trials=job.trials[i : i + 1]) for i in range(2)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(PackRun, jobs, timeout=60))
    assert measured == [1]
    store = Store(tmp_path / "out")
    store.record_backends()
    manifest = store.manifest()
    assert manifest is not None
    assert manifest["backends"]["mdmtn"] == {
        "backend": "packed",
        "seconds_a_step_and_model": {"packed": 1e-4},
        "left_out": {"vmap": "ValueError: no"},
        "device": "cuda",
    }
    with exclusive_use(torch.device("cuda")):
        PackRun(dataclasses.replace(job, attempt=2))


def test_the_memory_for_one_trial_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial is tried however little memory there is."""

    def never(*arguments: Any, **named: Any) -> int:
        raise AssertionError("measured")

    monkeypatch.setattr(trainer.api, "fits", never)
    assert not PackRun(job_of(tmp_path / "out", n_trials=1)).is_done


@pytest.mark.full
def test_a_pack_is_divided_into_equal_parts_that_fit_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spy: list[Any]) -> None:
    whole = job_of(tmp_path / "whole", n_trials=3)
    finish(PackRun(whole))
    job = job_of(tmp_path / "out", n_trials=3)
    monkeypatch.setattr(trainer.api, "fits", lambda specs, *arguments, **named: 2)
    spy.clear()
    run = PackRun(job)
    run.step()
    run.step()
    del run
    finish(PackRun(dataclasses.replace(job, attempt=2)))
    assert [(len(ids), epoch) for ids, epoch in spy] == [(2, 0), (2, 2), (1, 0)]
    rows, expected = rows_of(tmp_path / "out"), rows_of(tmp_path / "whole")
    assert {k: row["weights_sha256"] for k, row in rows.items()} == {k: row["weights_sha256"] for k, row in expected.items()}


@pytest.mark.full
def test_the_grid_files_backend_trains_and_is_in_the_row(tmp_path: Path) -> None:
    finish(PackRun(job_of(tmp_path / "out", n_trials=1, backend="packed")))
    assert {row["backend"] for row in rows_of(tmp_path / "out").values()} == {"packed"}


def test_a_backend_that_a_machine_lacks_costs_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine, or the next try, may have it."""
    monkeypatch.setattr("trainer.pack.loop.why_missing", lambda: "no C compiler found (cc, gcc or clang)")
    with pytest.raises(ImportError, match=r"backend loop\+kernel is not available: no C compiler"):
        finish(PackRun(job_of(tmp_path / "out", backend="loop+kernel")))
    assert Store(tmp_path / "out").complete() == {}


@pytest.mark.full
def test_a_store_that_takes_no_rows_is_a_passing_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out")

    def full(*arguments: Any) -> None:
        raise StoreWriteError("cannot write: the disk is full", tmp_path)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", full)
        with pytest.raises(StoreWriteError, match="disk is full"):
            finish(PackRun(job))
    assert Store(tmp_path / "out").complete() == {}
    finish(PackRun(job))
    assert set(Store(tmp_path / "out").complete().values()) == {"ok"}


def test_a_learning_rate_far_too_large_ends_in_rows(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", training={"learning_rate": 1e30})
    finish(PackRun(job))
    rows = rows_of(tmp_path / "out")
    assert {row["state"] for row in rows.values()} == {"diverged"}
    for row in rows.values():
        assert math.isnan(row["objective.sparsity"])
        assert math.isnan(row["loss.test.left"])
        assert "epoch 1" in row["error"]
        assert "learning_rate" in row["error"]
        assert row["weights_sha256"] is None
    assert Store(tmp_path / "out").verify() == []


@pytest.mark.full
def test_a_model_that_diverges_leaves_its_neighbour_alone(tmp_path: Path) -> None:
    healthy, broken = job_of(tmp_path / "healthy"), job_of(tmp_path / "broken")
    finish(PackRun(healthy))
    run = PackRun(broken)
    run.step()
    training = run._parts[0].training
    with torch.no_grad():
        training.pack.parameters["trunk.6.weight"][0, 0, 0] = math.nan  # type: ignore[union-attr]
    finish(run)
    rows = rows_of(tmp_path / "broken")
    first, second = broken.trial_ids
    assert rows[first]["state"] == "diverged"
    assert trained(rows[second]) == trained(rows_of(tmp_path / "healthy")[second])


# -- two writers --------------------------------------------------------------------------------------------------------


def with_marker(run: PackRun, changes: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Let a run's rows say who wrote them."""
    row_of = run._row
    run._row = lambda trial_id: changes(row_of(trial_id))  # type: ignore[method-assign]


@pytest.mark.full
@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_late_writer_of_an_older_attempt_does_not_win(tmp_path: Path, is_compacted: bool) -> None:
    """A worker that was cut off lives on, and publishes after the attempt that replaced it."""
    job = job_of(tmp_path / "out")
    late, new = PackRun(job), PackRun(dataclasses.replace(job, attempt=2))
    with_marker(late, lambda row: row | {"host": "cut-off"})
    late.step()
    finish(new)
    store = Store(tmp_path / "out")
    if is_compacted:
        store.compact()
    finish(late)
    for _ in range(2):
        rows = rows_of(store.root)
        assert {(row["attempt"], row["host"] == "cut-off") for row in rows.values()} == {(2, False)}
        store.compact()
    assert store.checkpoints() == []


def test_a_late_writers_checkpoint_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out")
    late = PackRun(job)
    late.step()
    new = PackRun(dataclasses.replace(job, attempt=2))
    new.step()
    new.step()
    late.step()
    assert [(checkpoint.attempt, checkpoint.epoch) for checkpoint in Store(tmp_path / "out").checkpoints()] == [(2, 3)]


# -- as a Ray Tune trial, without a cluster --------------------------------------------------------------------------------


def trainable_of(job: PackJob) -> Any:
    from sweep.cluster.trainable import PackTrainable

    return PackTrainable({"pack": {"job": job.to_json(), "resources": {"CPU": 1.0, "GPU": 0.0, "memory": 1.5e9}}})


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune keeps its scratch files in the home folder. A worker on a CPU hides the GPUs, but not from later tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


@pytest.mark.full
@pytest.mark.usefixtures("_home")
def test_a_trainable_trains_an_epoch_a_step(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out")
    trainable = trainable_of(job)
    results = [trainable.train() for _ in range(N_EPOCHS)]
    assert [result["done"] for result in results] == [False] * (N_EPOCHS - 1) + [True]
    assert [result.get("epoch") for result in results[:-1]] == [1, 2, 3]
    assert {result["pack_id"] for result in results} == {"pack-a"}
    assert results[-1]["training_s"] > 0
    assert all(isinstance(value, str | int | float | bool) for name, value in results[0].items() if name != "config")
    trainable.stop()
    assert Store(tmp_path / "out").complete() == dict.fromkeys(job.trial_ids, "ok")


@pytest.mark.usefixtures("_home")
def test_a_trainable_names_its_first_trial_and_k(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", n_trials=3)
    label = repr(trainable_of(job))
    assert label == f"pack-a {job.trial_ids[0]} k=(0.02, 0.49, 0.49) and 2 more"
    assert repr(trainable_of(job_of(tmp_path / "out", is_dense=True))).endswith("k=(0, 0.5, 0.5)")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "a worker on a CPU sees no GPU"


@pytest.mark.usefixtures("_home")
def test_a_trainable_that_is_stopped_keeps_its_last_epoch(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", checkpoint_s=3600.0)
    trainable = trainable_of(job)
    trainable.train()
    trainable.stop()
    assert [checkpoint.epoch for checkpoint in Store(tmp_path / "out").checkpoints()] == [1]


@pytest.mark.usefixtures("_home")
def test_a_trainable_that_is_stopped_before_it_begins_is_no_running_pack(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    trainable = trainable_of(job_of(store.root))
    assert [live["pack_id"] for live in store.live()] == ["pack-a"]
    trainable.stop()
    assert (store.live(), store.checkpoints()) == ([], [])


@pytest.mark.usefixtures("_home")
def test_a_running_pack_says_its_k_and_how_fast_it_is(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", n_trials=2)
    trainable = trainable_of(job)
    result = trainable.train()
    (live,) = Store(tmp_path / "out").live()
    assert (live["k"], live["seed"]) == ([list(trial.k) for trial in job.trials], job.seed)
    assert live["samples_per_s"] == result["samples_per_s"] > 0
    trainable.stop()
    assert len(Store(tmp_path / "out").live()) == 1, "whoever goes on with it has to know that it was tried"


@pytest.mark.usefixtures("_home")
def test_a_trainable_ends_when_a_stop_is_requested(tmp_path: Path) -> None:
    job = job_of(tmp_path / "out", checkpoint_s=3600.0)
    trainable = trainable_of(job)
    trainable.train()
    store = Store(tmp_path / "out")
    store.control.request_stop()
    assert trainable.train()["done"]
    trainable.stop()
    assert [checkpoint.epoch for checkpoint in store.checkpoints()] == [1]
    assert store.complete() == {}


def test_a_trainable_asks_for_what_the_grid_file_says(tmp_path: Path) -> None:
    from sweep.cluster.trainable import PackTrainable

    job = job_of(tmp_path / "out")
    request = PackTrainable.default_resource_request({"pack": {"job": job.to_json(), "resources": {"CPU": 2.0, "GPU": 0.0, "memory": 1e9}}})
    assert request.bundles == [{"CPU": 2.0, "memory": 1e9}]
    assert request._kwargs["name"] == f"sweep/pack-a {job.trial_ids[0]} k=(0.02, 0.49, 0.49) and 1 more"


@pytest.mark.full
def test_a_method_without_preferences_leaves_a_row_without_k_and_its_network_can_be_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one_phase = {"one_phase": {"epochs": 2}}
    first = job_of(tmp_path, 1, is_dense=True, training=one_phase, trials=[TrialJob("teachers", None)], model="stl", method="stl")
    finish(PackRun(first))
    (row,) = store.read_rows().to_pylist()
    assert (row["state"], row["k"], row["k_0"], row["sparsity_rate"], row["multipliers"]) == ("ok", None, None, 0.0, None)
    second = dataclasses.replace(
        first,
        pack_id="pack-b",
        trials=[TrialJob("taught", None)],
        model="kdmtl",
        method="kdmtl",
        given_sha256=row["weights_sha256"],
        notes=["taught by it"],
        taken_over=["teachers"],
    )
    finish(PackRun(second))
    rows = {row["trial_id"]: row for row in store.read_rows().to_pylist()}
    assert (rows["taught"]["state"], rows["taught"]["notes"], rows["taught"]["taken_over"]) == ("ok", ["taught by it"], ["teachers"])
    assert rows["teachers"]["taken_over"] is None


def test_a_network_that_cannot_be_taken_over_is_a_passing_error(tmp_path: Path) -> None:
    job = job_of(tmp_path, 1, trials=[TrialJob("taught", None)], model="kdmtl", method="kdmtl", given_sha256="0" * 64)
    with pytest.raises(StoreError, match="no such blob"):
        PackRun(job)
    assert Store(tmp_path).complete() == {}


def test_trials_that_have_nothing_to_take_over_become_rows_that_say_so(tmp_path: Path) -> None:
    finish(PackRun(job_of(tmp_path, 2, fault="second inherits the network of a trial of ours, but no such trial ended ok")))
    rows = Store(tmp_path).read_rows().to_pylist()
    assert [(row["state"], row["error"]) for row in rows] == [
        ("error", "second inherits the network of a trial of ours, but no such trial ended ok")
    ] * 2


@pytest.mark.full
def test_trials_that_start_from_others_name_them_and_lose_only_the_one_whose_network_does_not_fit(tmp_path: Path) -> None:
    warm = {"training": {"warm_start": "neighbour"}}
    finish(PackRun(job_of(tmp_path, 1, trials=[TrialJob("fits", DENSE)], **warm)))
    finish(PackRun(job_of(tmp_path, 1, trials=[TrialJob("other", DENSE)], model="hps", pack_id="pack-b", **warm)))
    blobs = {trial_id: row["weights_sha256"] for trial_id, row in rows_of(tmp_path).items()}
    starts = {
        "a": NetworkStart("fits", blobs["fits"]),
        "b": NetworkStart("other", blobs["other"]),
        "c": NetworkStart("lost", None, "the dense trial diverged"),
    }
    trials = [TrialJob(trial_id, k, start) for (trial_id, start), k in zip(starts.items(), SPARSE, strict=True)]
    finish(PackRun(job_of(tmp_path, 3, trials=trials, pack_id="pack-c", **warm)))
    rows = rows_of(tmp_path)
    assert {trial_id: rows[trial_id]["state"] for trial_id in starts} == {"a": "ok", "b": "error", "c": "ok"}
    assert "expected of the network to start from" in rows["b"]["error"]
    assert (rows["a"]["taken_over"], rows["a"]["notes"]) == (["fits"], None)
    assert (rows["c"]["taken_over"], rows["c"]["notes"]) == (None, ["the dense trial diverged"])


def test_a_network_to_start_from_that_is_not_there_is_a_passing_error(tmp_path: Path) -> None:
    trials = [TrialJob("a", SPARSE[0], NetworkStart("gone", "0" * 64))]
    with pytest.raises(StoreError, match="no such blob"):
        PackRun(job_of(tmp_path, 1, trials=trials, training={"warm_start": "neighbour"}))
    assert Store(tmp_path).complete() == {}


# -- sorted errors --------------------------------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return fail


def test_a_broken_device_is_no_trials_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, however many trials the pack has."""
    run = PackRun(job_of(tmp_path / "out"))
    monkeypatch.setattr(trainer.api, "start", failing(RuntimeError("CUDA error: no CUDA-capable device is detected")))
    with pytest.raises(RuntimeError, match="no CUDA-capable device"):
        run.step()
    assert Store(tmp_path / "out").complete() == {}


def test_a_try_that_ends_while_it_starts_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, store = job_of(tmp_path / "out"), Store(tmp_path / "out")
    assert next_retry(store, job) == 0
    monkeypatch.setattr(PackRun, "_build_problem", failing(OSError("stale")))
    with pytest.raises(OSError, match="stale"):
        PackRun(job)
    (live,) = store.live()
    assert (live["retry"], live["trial_ids"], "epoch" in live) == (0, list(job.trial_ids), False)
    assert next_retry(store, job) == 1
    assert next_retry(store, dataclasses.replace(job, attempt=2)) == 0


# -- what a trial used -------------------------------------------------------------------------------------------------------


class Counting:
    """An energy meter: 36 J a stretch of work."""

    def begin(self) -> Callable[[], Energy]:
        return lambda: Energy(36.0, is_estimate=True)


@pytest.mark.full
def test_rows_have_their_share_of_the_energy_also_when_the_pack_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.api, "energy_meter", lambda device: Counting())
    job = job_of(tmp_path)
    killed = PackRun(job)
    killed.step()
    del killed
    finish(PackRun(dataclasses.replace(job, attempt=2)))
    stretches = N_EPOCHS + 2  # clustering and results too
    for row in rows_of(tmp_path).values():
        assert row["energy_wh"] == pytest.approx(stretches * 0.01 / len(job.trial_ids))
        assert row["energy_estimated"] is True


def test_where_nothing_is_counted_the_energy_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.api, "energy_meter", lambda device: None)
    finish(PackRun(job_of(tmp_path)))
    assert {(row["energy_wh"], row["energy_estimated"]) for row in rows_of(tmp_path).values()} == {(None, None)}


def test_a_trial_that_failed_in_an_epoch_says_what_it_used_until_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.api, "energy_meter", lambda device: Counting())
    job = job_of(tmp_path, 1, checkpoint_s=1000.0)
    raise_for(monkeypatch, job.trial_ids[0], ZeroDivisionError("of the user"), in_epoch=3)
    finish(PackRun(job))
    (row,) = rows_of(tmp_path).values()
    assert (row["state"], row["device_s"] > 0, row["energy_wh"]) == ("error", True, pytest.approx(0.03))
