"""The supervisor with results in an object store: logs, patience, and what ends a run. The drivers are the test's own."""

from pathlib import Path
from typing import Any

import pytest
from drivers import GRID, SMALL, Idle, InlineAll, Messages, run_sweep
from object_store import ObjectStore, proxy_before

from sweep.cluster.driver import AttemptJob
from sweep.execution import supervisor
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import parse_config, parse_configs
from sweep.store.remote.path import RemotePath
from sweep.store.store import Store, StoreWriteError


class Logging(InlineAll):
    """Also says something."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        log.write_text("what Ray said")


class Away(Idle):
    """A driver whose workers did not reach the object store."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        self.sent = [{"event": "pack_failed", "message": "sweep.store.errors.UnreachableError: s3://b/x: cannot write: SLOW_DOWN"}]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.full
def test_a_run_leaves_results_and_its_log_in_the_object_store(s3_address: str, use: Any, cache: Path) -> None:
    started, told = use(Logging), Messages()
    outcome = run_sweep(parse_config(GRID | {"output": s3_address}), told)
    assert (outcome.exit_code, outcome.states) == (0, {"ok": 2})
    store = Store(s3_address)
    assert outcome.root == store.root
    assert started[0].roots == [s3_address]
    assert Path(started[0].log).is_relative_to(cache)
    assert any(started[0].log in message for message in told.messages)
    assert isinstance(store.root, RemotePath)
    assert (store.root / "logs" / "1.log").read_bytes() == b"what Ray said"
    assert (store.latest_plan() or {})["log"] == "logs/1.log"
    assert store.lock_holder() is None
    assert store.verify() == []
    assert run_sweep(parse_config(GRID | {"output": s3_address}), Messages()).n_trained == 0


@pytest.mark.full
def test_several_sweeps_lie_beside_each_other(s3_address: str, use: Any) -> None:
    use(Logging)
    configs = parse_configs(GRID | {"problem": [SMALL, SMALL | {"data_seed": 1}], "output": s3_address}, name="two")
    outcomes = run_sweeps(configs, Messages())
    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    plans = [Store(config.output).latest_plan() or {} for config in configs]
    assert [plan["log"] for plan in plans] == ["logs/1.log", "../multidigits/logs/1.log"]


@pytest.mark.full
def test_a_store_that_is_away_for_a_while_is_waited_for(
    s3_server: ObjectStore, s3_address: str, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes away when the attempt begins to end, and comes back while the supervisor waits to plan again."""
    monkeypatch.setattr("sweep.store.remote.path._ATTEMPTS", 2)
    with proxy_before(s3_server) as proxy:

        class Cut(Logging):
            def __init__(self, job: AttemptJob, log: Path) -> None:
                super().__init__(job, log)
                proxy.fault = lambda request: (503, b"<Error><Code>SlowDown</Code></Error>")

        def come_back(seconds: float) -> None:
            if seconds in supervisor._PATIENCE_S:  # the run waits, and nobody else
                proxy.fault = lambda request: None

        use(Cut)
        monkeypatch.setattr(supervisor.time, "sleep", come_back)
        told = Messages()
        outcome = run_sweep(parse_config(GRID | {"output": s3_server.address(s3_address.split("/")[2], port=proxy.port)}), told)
    assert outcome.exit_code == 0
    assert any("trying again in 5 s" in message for message in told.messages)
    assert Store(s3_address).complete().keys() == {
        trial["trial_id"] for job in Cut.started for pack in job.packs for trial in pack["trials"]
    }


def test_workers_that_did_not_reach_it_are_tried_again(s3_address: str, use: Any) -> None:
    started = use(Away)
    outcome = run_sweep(parse_config(GRID | {"output": s3_address}), Messages())
    assert (outcome.exit_code, len(started)) == (3, supervisor._ATTEMPTS_WITHOUT_PROGRESS)
    assert "SLOW_DOWN" in (outcome.message or "")


def test_a_bucket_that_is_not_there_ends_a_run_before_a_driver_starts(s3_server: ObjectStore, s3_address: str, use: Any) -> None:
    started = use(Idle)
    with pytest.raises(StoreWriteError, match="there is no bucket no-such-bucket"):
        run_sweep(parse_config(GRID | {"output": s3_server.address("no-such-bucket")}), Messages())
    assert started == []
