"""Nothing after the last epoch loses a trial or trains it again, whatever fails: a measurement, memory, the data, the store."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from own_module import TRAINING, write_module
from pack_jobs import checkpoint_of, rows_of, trained

import trainer.training.base
from sweep.planning.pack_job import PackJob, TrialJob
from sweep.store.schema import SchemaError
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun
from tests.unit.sweep.worker import test_own_pack
from tests.unit.sweep.worker.test_own_pack import another_process, finish
from trainer.methods.one_phase import OnePhase
from trainer.training.two_phase import TwoPhase

pytestmark = pytest.mark.filterwarnings("ignore:.*GrOWL cannot prune:UserWarning")
OVER = "its training is over, but its results could not be measured: "


N_EPOCHS = 4
SPARSE = [[0.05, 0.5, 0.45], [0.1, 0.4, 0.5], [0.1, 0.2, 0.7]]


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory where no module lies; what a worker leaves in this process is taken away."""
    torch.set_num_threads(1)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("own_tiny", "own_sizes"):
        sys.modules.pop(name, None)


def job_of(root: Path, n_trials: int, **changes: Any) -> PackJob:
    """The first sparse trials of a small problem of one's own in one pack, in a folder that is ready for them."""
    config = test_own_pack.config_of(write_module(root.parent / "here"), preferences={"list": SPARSE}, output=str(root))
    (job,) = test_own_pack.jobs_of(config)
    first = {"pack_id": "pack-a", "trials": job.trials[:n_trials]}
    return dataclasses.replace(job, **(first | changes))


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of trials in each epoch that is trained."""
    found: list[int] = []
    for method in (TwoPhase, OnePhase):
        train_epoch = method._train_epoch

        def counted(self: Any, train_epoch: Callable[[Any], Any] = train_epoch) -> Any:
            found.append(len(self.specs))
            return train_epoch(self)

        monkeypatch.setattr(method, "_train_epoch", counted)
    return found


def fail_for(monkeypatch: pytest.MonkeyPatch, trial_id: str, error: Exception) -> None:
    """The results of any pack with this trial cannot be made."""
    result_of = trainer.training.base.result_of

    def failing(spec: Any, *arguments: Any) -> Any:
        if spec.trial_id == trial_id:
            raise error
        return result_of(spec, *arguments)

    monkeypatch.setattr(trainer.training.base, "result_of", failing)


def expected_rows(tmp_path: Path, n_trials: int) -> dict[str, dict[str, Any]]:
    """Of the same trials where nothing fails."""
    finish(job_of(tmp_path / "whole", n_trials))
    return {trial_id: trained(row) for trial_id, row in rows_of(tmp_path / "whole").items()}


def retried(job: PackJob, trial_id: str) -> PackJob:
    """What the next run plans for one trial of the job: it adopts the checkpoint."""
    own = [trial for trial in job.trials if trial.trial_id == trial_id]
    return dataclasses.replace(job, attempt=2, pack_id="pack-b", trials=own, checkpoint=checkpoint_of(job, "pack-a"))


@pytest.mark.full
def test_only_the_trial_that_cannot_be_measured_has_no_results_and_it_is_measured_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    expected = expected_rows(tmp_path, 3)
    job = job_of(tmp_path / "out", 3, checkpoint_s=3600.0)
    guilty = job.trial_ids[1]
    store = Store(tmp_path / "out")
    epochs.clear()
    with monkeypatch.context() as patch:
        fail_for(patch, guilty, ZeroDivisionError("no rows"))
        finish(job)
    assert epochs == [3] * N_EPOCHS
    rows = rows_of(store.root)
    assert (rows[guilty]["state"], rows[guilty]["error"]) == ("error", f"{OVER}ZeroDivisionError: no rows")
    assert (rows[guilty]["n_epochs"], rows[guilty]["device_s"] > 0) == (N_EPOCHS, True)
    assert {trial_id: trained(row) for trial_id, row in rows.items() if trial_id != guilty} == {
        trial_id: row for trial_id, row in expected.items() if trial_id != guilty
    }

    store.compact()
    store.remove_checkpoints()  # as at the end of a run
    assert {(checkpoint.epoch, guilty in checkpoint.trial_ids) for checkpoint in store.checkpoints()} == {(N_EPOCHS, True)}
    store.forget([guilty])
    finish(retried(job, guilty))
    assert epochs == [3] * N_EPOCHS, "it was measured, not trained"
    assert {trial_id: trained(row) for trial_id, row in rows_of(store.root).items()} == expected
    store.remove_checkpoints()
    assert store.checkpoints() == []
    assert store.verify() == []


def test_a_pack_of_one_that_cannot_be_measured_does_not_train_again_though_it_began_from_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    job = job_of(tmp_path / "out", 1)
    PackRun(job).step()
    fail_for(monkeypatch, job.trial_ids[0], ValueError("no"))
    finish(dataclasses.replace(job, attempt=2))
    assert epochs == [1] * N_EPOCHS
    assert {row["error"] for row in rows_of(tmp_path / "out").values()} == {f"{OVER}ValueError: no"}


@pytest.mark.full
@pytest.mark.parametrize("error", [OSError(5, "the test data cannot be read"), RuntimeError("CUDA error: an assertion"), MemoryError()])
def test_a_passing_error_after_the_last_epoch_costs_no_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int], error: Exception
) -> None:
    expected = expected_rows(tmp_path, 1)
    job = job_of(tmp_path / "out", 1, checkpoint_s=3600.0)
    epochs.clear()
    with monkeypatch.context() as patch:
        fail_for(patch, job.trial_ids[0], error)
        with pytest.raises(type(error)):
            finish(job)
    assert rows_of(tmp_path / "out") == {}
    finish(job)
    assert epochs == [1] * N_EPOCHS
    assert {trial_id: trained(row) for trial_id, row in rows_of(tmp_path / "out").items()} == expected


@pytest.mark.full
def test_where_memory_is_not_enough_to_measure_a_pack_its_halves_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    expected = expected_rows(tmp_path, 3)
    evaluated = TwoPhase._measure

    def needy(self: Any, part: Any) -> Any:
        if len(self.specs) > 1 and self.done and part is not self._validation:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return evaluated(self, part)

    job = job_of(tmp_path / "out", 3, checkpoint_s=3600.0)
    epochs.clear()
    monkeypatch.setattr(TwoPhase, "_measure", needy)
    finish(job)
    assert epochs == [3] * N_EPOCHS
    rows = rows_of(tmp_path / "out")
    assert any("its halves were measured one after the other" in note for row in rows.values() for note in row["notes"])
    assert {trial_id: trained(row | {"notes": None}) for trial_id, row in rows.items()} == expected
    assert Store(tmp_path / "out").checkpoints() == []


def test_a_row_that_the_store_refuses_costs_its_neighbours_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    job = job_of(tmp_path / "out", 3)
    guilty = job.trial_ids[0]
    publish = Store.publish

    def refusing(self: Store, row: dict[str, Any], *arguments: Any) -> None:
        if row["trial_id"] == guilty and row["state"] == "ok":
            raise SchemaError("row: PS = CR (1 - SR) expected")
        publish(self, row, *arguments)

    monkeypatch.setattr(Store, "publish", refusing)
    finish(job)
    assert epochs == [3] * N_EPOCHS
    rows = rows_of(tmp_path / "out")
    assert {trial_id: row["state"] for trial_id, row in rows.items()} == dict.fromkeys(job.trial_ids, "ok") | {guilty: "error"}
    assert rows[guilty]["error"] == f"{OVER}SchemaError: row: PS = CR (1 - SR) expected"
    assert [checkpoint.epoch for checkpoint in Store(tmp_path / "out").checkpoints()] == [N_EPOCHS]


def test_a_network_that_cannot_be_made_a_file_has_a_row_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out", 1)

    def fail(*_: Any) -> bytes:
        raise ValueError("no such type of number")

    monkeypatch.setattr("trainer.training.result.model_file", fail)
    finish(job)
    (row,) = rows_of(tmp_path / "out").values()
    assert (row["state"], row["weights_sha256"], row["loss.test.sign"] > 0) == ("ok", None, True)
    assert row["notes"] == ["the trained network could not be made a file: ValueError: no such type of number"]
    assert Store(tmp_path / "out").verify() == []


def test_an_error_in_the_last_epoch_is_one_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch counts as finished before it is evaluated; a state from there would be measured with another epoch's network."""
    job = job_of(tmp_path / "out", 1)
    evaluate_and_keep = TwoPhase._evaluate_and_keep

    def failing(self: Any, losses: Any) -> None:
        if self.epoch == N_EPOCHS:
            raise ValueError("in the evaluation")
        evaluate_and_keep(self, losses)

    monkeypatch.setattr(TwoPhase, "_evaluate_and_keep", failing)
    finish(job)
    assert {row["error"] for row in rows_of(tmp_path / "out").values()} == {"ValueError: in the evaluation"}
    assert Store(tmp_path / "out").checkpoints() == []


@pytest.mark.full
@pytest.mark.parametrize("where", ["_train_epoch", "_evaluate_and_keep"])
def test_an_epoch_that_was_cut_off_by_an_error_is_not_kept_when_the_worker_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    expected = expected_rows(tmp_path, 1)
    job = job_of(tmp_path / "out", 1)
    run = PackRun(job)
    run.step()
    undisturbed = getattr(TwoPhase, where)

    def failing(self: Any, *arguments: Any) -> None:
        undisturbed(self, *arguments)
        raise OSError(5, "the next batch cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr(TwoPhase, where, failing)
        with pytest.raises(OSError, match="next batch"):
            run.step()
        run.leave()
    assert [checkpoint.epoch for checkpoint in Store(tmp_path / "out").checkpoints()] == [1]
    finish(job)
    assert {trial_id: trained(row) for trial_id, row in rows_of(tmp_path / "out").items()} == expected


def test_an_error_whose_text_is_no_utf_8_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path / "out", 1)

    def failing(self: Any) -> None:
        raise ValueError("file \udcff")

    monkeypatch.setattr(TwoPhase, "step", failing)
    finish(job)
    assert {row["error"] for row in rows_of(tmp_path / "out").values()} == {"ValueError: file \\udcff"}


@pytest.mark.full
def test_a_network_that_all_trials_share_is_measured_for_each_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int]
) -> None:
    trials = [TrialJob("a", [0.0, 0.2, 0.8]), TrialJob("b", [0.0, 0.5, 0.5]), TrialJob("c", [0.0, 0.8, 0.2])]
    training = {**TRAINING, "one_phase": {"epochs": 2}}
    shared: Any = {"method": "cosmos", "trials": trials, "training": training}
    finish(job_of(tmp_path / "whole", 3, **shared))
    expected = {trial_id: trained(row) for trial_id, row in rows_of(tmp_path / "whole").items()}
    epochs.clear()
    fail_for(monkeypatch, "c", ValueError("no"))
    finish(job_of(tmp_path / "out", 3, **shared))
    assert epochs == [3, 3]
    rows = rows_of(tmp_path / "out")
    assert rows["c"]["error"] == f"{OVER}ValueError: no"
    assert {trial_id: trained(rows[trial_id]) for trial_id in "ab"} == {trial_id: expected[trial_id] for trial_id in "ab"}


# -- networks of the user's own that a measurement trips over --------------------------------------------------------------

OWN = """
from dataclasses import replace

class Plain(Net):
    def __init__(self):
        super().__init__(8, ("body.2",))
        self.mean = torch.zeros(N_FEATURES)
    def forward(self, inputs):
        return super().forward(inputs - self.mean)

class Twice(Net):
    def __init__(self):
        super().__init__(8, ("body.2",))
    def forward(self, inputs):
        shared = self.norm(self.body[2](self.body(inputs)).relu())
        return [head(shared) for head in self.heads]

made = tiny
def tiny(width: int = 8, n_train: int = 32):
    good = made(width, n_train)
    return replace(good, networks={"plain": Plain, "twice": Twice})
"""


@pytest.mark.full
@pytest.mark.parametrize("model", ["plain", "twice"])
def test_a_plain_tensor_or_a_layer_that_is_applied_twice_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: list[int], model: str
) -> None:
    another_process(monkeypatch)
    config = test_own_pack.config_of(write_module(tmp_path / "here", OWN), model=model)
    jobs = test_own_pack.jobs_of(config)
    for job in jobs:
        finish(job)
    rows = test_own_pack.rows_of(config)
    assert [(row["state"], row["error"]) for row in rows] == [("ok", None)] * 3
    assert all(row["weights_sha256"] and row["loss.test.sign"] > 0 for row in rows)
    assert epochs == [len(job.trial_ids) for job in jobs for _ in range(4)]
    assert Store(Path(config.output)).verify() == []
