"""Packs that a GPU cannot hold or compute: halves, equal parts, other backends, and a device that is broken. No GPU is needed."""

import dataclasses
import gc
import tempfile
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pack_jobs import (
    fail_trainings,
    failing,
    finish,
    job_of,
    rows_of,
)

import trainer.api
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun
from trainer.pack.device import exclusive_use
from trainer.training.autotune import Timing

pytestmark = pytest.mark.usefixtures("shared_problem")


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
        starts = fail_trainings(patch, lambda specs, named: len(specs) > 1, error, in_epoch=3)
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
    return fail_trainings(monkeypatch, lambda specs, named: "+" in named["backend"], error, in_epoch, lambda specs, named: named["backend"])


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


def test_a_broken_device_is_no_trials_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, however many trials the pack has."""
    run = PackRun(job_of(tmp_path / "out"))
    monkeypatch.setattr(trainer.api, "start", failing(RuntimeError("CUDA error: no CUDA-capable device is detected")))
    with pytest.raises(RuntimeError, match="no CUDA-capable device"):
        run.step()
    assert Store(tmp_path / "out").complete() == {}
