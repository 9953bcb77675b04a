"""The life of a pack in a worker, without Ray: it trains, resumes to the bit, and loses only the trial that is at fault."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pack_jobs import (
    DENSE,
    N_EPOCHS,
    SPARSE,
    checkpoint_of,
    curves_of,
    failing,
    finish,
    job_of,
    raise_for,
    rows_of,
    trained,
)
from sets import short_cases

import trainer.api
from sweep.planning.pack_job import NetworkStart, TrialJob
from sweep.store.store import Store, StoreError, StoreWriteError
from sweep.worker.pack_run import PackRun, next_retry
from trainer.energy.meter import Energy

pytestmark = pytest.mark.usefixtures("shared_problem")


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
