"""pause, stop, resume, rm, status and notify for a results folder in an object store, over a real HTTP server."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import call
from object_store import ObjectStore

from sweep.cli import run as run_command
from sweep.grid.load import GridText, load_config
from sweep.planning.manifest import manifest_of
from sweep.planning.trials import trials_of
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store

GRID = "problem: {name: analytic/zdt1, n_steps: 1}\npreferences: {list: [[0.5, 0.5], [0.25, 0.75]]}\n"


def looks_at(store: Store) -> Store:
    """Another process's view, which has seen nothing yet."""
    return Store(store.root)


@pytest.fixture
def results(s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """What a run of grid.yaml left that ended after one of its two trials."""
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID, encoding="utf-8")
    config = load_config("grid.yaml", out=s3_address)
    trials = trials_of(config)
    store = Store(config.output)
    store.create(manifest_of(config, "now"))
    planned = [
        {"trial_id": trial.trial_id, "study": trial.study, "k": list(trial.preference or ()), "seed": trial.seed} for trial in trials
    ]
    record = {"config": json.loads(config.model_dump_json()), "grid_file": GRID, "trials": planned, "n_complete_before": 0}
    store.write_plan(1, {"attempt": 1, "started": "2026-01-31T12:00:00+00:00", **record})
    losses = {f"loss.{split}.{task}": 0.25 for split in ("train", "validation", "test") for task in config.problem.facts.tasks}
    row = {"trial_id": trials[0].trial_id, "attempt": 1, "retry": 0, "study": "main", "seed": 0, "k": planned[0]["k"]}
    store.publish(row | {"state": "diverged", "error": "a loss became NaN", "device_s": 7200.0, "objective.sparsity": 0.0, **losses})
    return store


def test_pause_stop_and_status(results: Store) -> None:
    address = str(results.root)
    assert call("stop", address).stdout == "nothing to stop: nothing is running\n"
    assert call("pause", address).stdout == f"paused: nothing is running; the next run will wait; `sweep resume {address}` ends the pause\n"
    assert looks_at(results).control.pause_requested()
    assert not looks_at(results).control.stop_requested()
    with results.lock():
        assert "stopping: the run on " in call("stop", address).stdout
        status = json.loads(call("status", address, "--format", "json").stdout)
        assert (status["is_running"], status["is_paused"], status["is_stopping"]) == (True, True, True)
        assert status["silent_s"] < 60
    assert looks_at(results).control.stop_requested()
    assert call("verify", address).exit_code == 0
    for watch in ((), ("--watch",)):
        shown = call("status", address, *watch)
        text = shown.stdout + shown.stderr
        assert f"paused: no pack starts until `sweep resume {address}`" in text
        assert "diverged: a loss became NaN" in text
        assert "complete trials used 2 device hours" in text


@pytest.mark.parametrize("grid", [(), ("--grid", "grid.yaml")])
def test_resume_lifts_the_pause_and_runs_into_the_address(results: Store, grid: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(run_command, "run_and_summarise", lambda configs, text, *_, **__: calls.append((configs[0], text)) or 0)
    results.control.request_pause()
    assert call("resume", str(results.root), *grid).exit_code == 0
    ((config, text),) = calls
    assert Store(config.output).root == results.root
    assert text == GridText(GRID)
    assert not looks_at(results).control.pause_requested()


def test_resume_finds_the_address_in_a_grid_file_of_several(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(run_command, "run_and_summarise", lambda configs, text, *_, **__: calls.append(configs[0]) or 0)
    several = GRID.replace("{name: analytic/zdt1, n_steps: 1}", "[analytic/zdt1, analytic/zdt2]")
    above, _, query = str(results.root).partition("?")
    Path("several.yaml").write_text(f"{several}output: {json.dumps(f'{above}/list?{query}')}\n", encoding="utf-8")
    refused = call("resume", str(results.root), "--grid", "several.yaml")
    assert refused.exit_code == 2
    assert "none of its 2 sweeps has the output" in refused.stderr
    assert isinstance(results.root, RemotePath)
    store = Store(results.root / "list" / "zdt2")
    store.create(manifest_of(load_config("grid.yaml"), "now"))
    assert call("resume", str(store.root), "--grid", "several.yaml").exit_code == 0
    assert [config.problem.name for config in calls] == ["analytic/zdt2"]


def test_a_resumed_run_that_is_on_goes_on(results: Store) -> None:
    results.control.request_pause()
    with results.lock():
        assert "the pause is over: the run on " in call("resume", str(results.root)).stdout
    assert not looks_at(results).control.pause_requested()


def test_rm_forgets_under_the_lock(results: Store) -> None:
    (trial_id,) = results.complete()
    with results.lock():
        refused = call("rm", str(results.root), trial_id)
    assert refused.exit_code == 2
    assert "another run works here" in refused.stderr
    assert call("rm", str(results.root), trial_id).stdout == f"{trial_id}: removed (its state was diverged)\n"
    assert looks_at(results).complete() == {}


def test_a_store_that_is_away_leaves_a_pause_as_it_was(results: Store, s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a paused run would begin packs in every pause of the network."""
    results.control.request_pause()
    assert results.control.pause_requested()
    seen = results.control._seen
    seen.update({name: (seen_at - 60, found) for name, (seen_at, found) in seen.items()})

    def away(path: RemotePath) -> bool:
        raise OSError("network is unreachable")

    monkeypatch.setattr(RemotePath, "exists", away)
    assert results.control.pause_requested()
    assert results.control.is_held()
