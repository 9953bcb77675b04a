"""One attempt: the packs that the driver gets, and what the attempt leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest
from drivers import GRID, Forbidden, Idle, InlineAll, Messages, roots_of, run_sweep, sending

from sweep.cluster.driver import AttemptJob
from sweep.cluster.machine import Limit, Machine
from sweep.errors import SweepError
from sweep.execution import attempt
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig, parse_config
from sweep.store.store import Store, StoreWriteError


def test_several_sweeps_are_one_attempt_whose_packs_alternate(configs: tuple[SweepConfig, ...], use: Any) -> None:
    started, progress = use(InlineAll), Messages()
    outcomes = run_sweeps(configs, progress)
    assert [(outcome.exit_code, outcome.states, outcome.n_trained) for outcome in outcomes] == [(0, {"ok": 2}, 2)] * 2
    assert [outcome.root for outcome in outcomes] == roots_of(configs)
    (job,) = started
    first, second = (str(root) for root in roots_of(configs))
    assert job.roots == [first, second]
    assert [pack["root"] for pack in job.packs] == [first, second] * 2
    assert progress.messages == ["attempt 1: 4 of 4 trials to train in 4 packs"]
    for root, log in zip(roots_of(configs), ("logs/1.log", "../multidigits/logs/1.log"), strict=True):
        store = Store(root)
        plan = store.latest_plan()
        assert plan is not None
        assert (plan["log"], len(plan["trials"]), plan["config"]["output"]) == (log, 2, str(root))
        assert (root / log).resolve() == Path(job.log).resolve()
        assert store.verify() == []
        assert (root / "trials.parquet").exists()
        assert store.lock_holder() is None
    assert [(outcome.exit_code, outcome.n_trained) for outcome in run_sweeps(configs, Messages())] == [(0, 0)] * 2
    assert len(started) == 1


def test_of_each_turn_the_largest_pack_comes_first(tmp_path: Path, use: Any) -> None:
    started = use(Idle)
    sizes = {"preferences": {"list": [[0.1, 0.45, 0.45], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4]]}, "resources": {"pack": 2}}
    small, large = (parse_config(GRID | sizes | {"output": str(tmp_path / name), "seeds": [0]}) for name in ("small", "large"))
    small = parse_config(json.loads(json.dumps(small.to_json())) | {"preferences": {"list": [[0.1, 0.45, 0.45]]}})
    run_sweeps((small, large), Messages())
    assert [(Path(pack["root"]).name, len(pack["trials"])) for pack in started[0].packs] == [("large", 2), ("small", 1), ("large", 1)]


@pytest.mark.full
def test_each_folder_counts_its_own_attempts(configs: tuple[SweepConfig, ...], use: Any) -> None:
    started = use(InlineAll)
    run_sweeps(configs[1:], Messages(), RunOptions(limit=1))
    run_sweeps(configs, Messages())
    assert {(pack["root"], pack["attempt"]) for pack in started[-1].packs} == {(configs[0].output, 1), (configs[1].output, 2)}


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/opt/env/bin/sweep", "run", "my grid.yaml"], "sweep run 'my grid.yaml'"),
        (["/opt/env/lib/sweep/__main__.py", "run", "grid.yaml"], "sweep run grid.yaml"),
        (["notebook.py", "--x"], "notebook.py --x"),
        ([], ""),
    ],
)
def test_a_plan_names_the_command_as_a_person_would_type_it(arguments: list[str], command: str) -> None:
    assert attempt.command_line(arguments) == command


def test_a_node_at_fault_is_avoided_by_later_attempts_too(config: SweepConfig, use: Any) -> None:
    started = use(sending({"event": "node_avoided", "message": "CUDA error: ecc\nmore", "node": "ab12cd34ef", "host": "gpu-7"}))
    progress = Messages()
    run_sweep(config, progress)
    assert [job.avoided for job in started] == [[], *[["ab12cd34ef"]] * 4]
    assert [text for text in progress.messages if "node" in text] == ["node gpu-7 (ab12cd34) gets no more packs: CUDA error: ecc"]


def test_a_folder_that_takes_nothing_any_more_does_not_hide_why(config: SweepConfig, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(store: Store) -> None:
        raise StoreWriteError("cannot write: the file system is read-only")

    class Broken(Forbidden):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(job, log)
            monkeypatch.setattr(Store, "clear_live", refuse)

    use(Broken)
    with pytest.raises(SweepError, match="nobody answers there"):
        run_sweep(config, Messages())


def test_no_attempt_leaves_its_scratch_folder(config: SweepConfig, use: Any) -> None:
    seen: list[bool] = []

    class Scratched(Idle):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(job, log)
            seen.append(Path(job.scratch).is_dir())

    started = use(Scratched)
    run_sweep(config, Messages())
    assert seen == [True] * 5
    assert len({job.scratch for job in started}) == 5
    assert not any(Path(job.scratch).exists() for job in started)


@pytest.mark.full
def test_where_ray_could_not_start_nothing_is_started_and_the_folder_is_in_order(
    config: SweepConfig, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message, no attempt; the lock is free, and once it is mended the same run trains everything."""
    started = use(InlineAll)
    with monkeypatch.context() as wrong:
        wrong.setenv("RAY_TMPDIR", "/tmp/" + "a" * 115)
        with pytest.raises(SweepError, match="120 bytes are too many for the path of a socket"):
            run_sweep(config, Messages())
    store = Store(Path(config.output))
    assert started == []
    assert store.lock_holder() is None
    assert store.verify() == []
    assert not (store.root / "report.html").exists()
    assert run_sweep(config, Messages()).exit_code == 0
    with monkeypatch.context() as wrong:
        wrong.setenv("RAY_TMPDIR", "relative")
        assert run_sweep(config, Messages()).exit_code == 0, "with nothing to do no Ray is needed"


@pytest.mark.full
def test_the_driver_is_told_what_this_process_may_use(config: SweepConfig, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started = use(InlineAll)
    machine = Machine((Limit("CPU", 1, "quota"), Limit("GPU", 1, "G"), Limit("memory", 4e9, "limit")), ("0",))
    monkeypatch.setattr(attempt, "this_machine", lambda: machine)
    run_sweep(config, Messages())
    assert (started[0].n_local_cpus, started[0].local_memory, started[0].visible_gpus) == (1, 4_000_000_000, "0")
