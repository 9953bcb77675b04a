"""A pack as a trial of Ray Tune, without a cluster."""

import os
from pathlib import Path
from typing import Any

import pytest
from pack_jobs import N_EPOCHS, job_of

from sweep.planning.pack_job import PackJob
from sweep.store.store import Store

pytestmark = pytest.mark.usefixtures("shared_problem")


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
