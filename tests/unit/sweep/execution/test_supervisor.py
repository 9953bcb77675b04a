"""The supervisor without Ray: a driver of the test's own takes the place of the process."""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sweep import api
from sweep.cluster.driver import AttemptJob
from sweep.cluster.machine import Limit, Machine
from sweep.errors import SweepError
from sweep.execution import attempt, supervisor
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig, parse_config, parse_configs
from sweep.monitor.outcome import Outcome, Timing, worst_exit_code
from sweep.monitor.progress import Snapshot
from sweep.planning.pack_job import PackJob
from sweep.planning.trials import trials_of
from sweep.store.lock import Lock, LockedError
from sweep.store.store import Store, StoreWriteError
from sweep.worker.pack_run import PackRun


def run_sweep(config: SweepConfig, told: "Told") -> Outcome:
    (outcome,) = run_sweeps((config,), told)
    return outcome


class Told:
    """What the supervisor told the user."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.snapshots: list[Snapshot] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def close(self) -> None:
        pass


class Idle:
    """A driver that dies at once."""

    started: list[AttemptJob]

    def __init__(self, job: AttemptJob, log: Path) -> None:
        self.started.append(job)
        self.sent: list[dict[str, Any]] = []

    def is_running(self) -> bool:
        return False

    def events(self) -> Iterator[dict[str, Any]]:
        yield from self.sent

    def stop_now(self) -> None:
        pass


class Inline(Idle):
    """A driver that trains its first pack in this process."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        run = PackRun(PackJob.from_json(job.packs[0]))
        while not run.step():
            pass
        self.sent = [{"event": "fit_started", "slots": 1}, {"event": "pack_ended", "pack_id": run.job.pack_id, **vars(run.spent)}]


class InlineAll(Idle):
    """A driver that trains all its packs in this process, in their order."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        for pack in job.packs:
            run = PackRun(PackJob.from_json(pack))
            while not run.step():
                pass


class Forbidden(Idle):
    """A driver that names something the user has to mend."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        self.sent = [{"event": "user_error", "message": "--address x: nobody answers there"}]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a driver class into place; returns the list of what it was started with."""

    def put(kind: type[Idle]) -> list[AttemptJob]:
        kind.started = []
        monkeypatch.setattr(attempt, "DriverProcess", kind)
        monkeypatch.setattr(supervisor, "_BACK_OFF_S", 0.0)
        return kind.started

    return put


SMALL = {"name": "multidigits", "n_train": 128, "n_validation": 32, "n_test": 32}
GRID: dict[str, Any] = {
    "problem": SMALL,
    "preferences": {"list": [[0, 0.5, 0.5], [0.1, 0.45, 0.45]]},
    "training": {"sparsify": {"outer_iterations": 1, "epochs": 1}, "retrain": {"outer_iterations": 1, "epochs": 1}},
}


@pytest.fixture
def config(tmp_path: Path) -> SweepConfig:
    return parse_config(GRID | {"output": str(tmp_path / "out")})


@pytest.fixture
def configs(tmp_path: Path) -> tuple[SweepConfig, ...]:
    """Two sweeps of two trials: results in out/multidigits and out/multidigits-2."""
    return parse_configs(GRID | {"problem": [SMALL, SMALL | {"data_seed": 1}], "output": str(tmp_path / "out")}, name="two")


@pytest.mark.full
def test_attempts_follow_each_other_until_nothing_is_left(config: SweepConfig, use: Any) -> None:
    """One pack an attempt: a second attempt is planned from the store, then the sweep is complete, and stays so."""
    started = use(Inline)
    outcome = run_sweep(config, Told())
    assert (outcome.exit_code, outcome.states, outcome.n_trained) == (0, {"ok": 2}, 2)
    assert [job.packs[0]["attempt"] for job in started] == [1, 2]
    assert outcome.timing.training_s > 0
    again = run_sweep(config, Told())
    assert (again.exit_code, again.n_trained, len(started)) == (0, 0, 2)


def test_attempts_without_progress_end_after_five(config: SweepConfig, use: Any) -> None:
    started, told = use(Idle), Told()
    outcome = run_sweep(config, told)
    assert outcome.exit_code == 3
    assert "2 trials could not be finished" in (outcome.message or "")
    assert [job.packs[0]["attempt"] for job in started] == [1, 2, 3, 4, 5]
    assert any("trying again" in message for message in told.messages)


def test_what_only_the_user_can_mend_ends_the_sweep_at_once(config: SweepConfig, use: Any) -> None:
    started = use(Forbidden)
    with pytest.raises(SweepError, match="nobody answers there"):
        run_sweep(config, Told())
    assert len(started) == 1
    assert Store(Path(config.output)).lock_holder() is None


@pytest.mark.full
def test_a_torn_row_is_named_and_its_trial_trained_again(config: SweepConfig, use: Any, tmp_path: Path) -> None:
    use(Inline)
    run_sweep(config, Told())
    out = tmp_path / "out"
    (lost,) = sorted(Store(out).complete())[:1]
    with Store(out).lock():
        Store(out).forget([lost])
    torn = out / "rows" / f"{lost}.1-0.parquet"
    torn.write_bytes(b"PAR1 torn")
    told = Told()
    outcome = run_sweep(config, told)
    assert (outcome.exit_code, outcome.n_trained) == (0, 1)
    assert any(str(torn) in message and "torn" in message for message in told.messages)


# -- several sweeps -----------------------------------------------------------------------------------------------------


def roots_of(configs: Sequence[SweepConfig]) -> list[Path]:
    return [Path(config.output) for config in configs]


def test_several_sweeps_are_one_attempt_whose_packs_alternate(configs: tuple[SweepConfig, ...], use: Any) -> None:
    started, told = use(InlineAll), Told()
    outcomes = run_sweeps(configs, told)
    assert [(outcome.exit_code, outcome.states, outcome.n_trained) for outcome in outcomes] == [(0, {"ok": 2}, 2)] * 2
    assert [outcome.root for outcome in outcomes] == roots_of(configs)
    (job,) = started
    first, second = (str(root) for root in roots_of(configs))
    assert job.roots == [first, second]
    assert [pack["root"] for pack in job.packs] == [first, second] * 2
    assert told.messages == ["attempt 1: 4 of 4 trials to train in 4 packs"]
    for root, log in zip(roots_of(configs), ("logs/1.log", "../multidigits/logs/1.log"), strict=True):
        store = Store(root)
        plan = store.latest_plan()
        assert plan is not None
        assert (plan["log"], len(plan["trials"]), plan["config"]["output"]) == (log, 2, str(root))
        assert (root / log).resolve() == Path(job.log).resolve()
        assert store.verify() == []
        assert (root / "trials.parquet").exists()
        assert store.lock_holder() is None
    assert [(outcome.exit_code, outcome.n_trained) for outcome in run_sweeps(configs, Told())] == [(0, 0)] * 2
    assert len(started) == 1


def test_of_each_turn_the_largest_pack_comes_first(tmp_path: Path, use: Any) -> None:
    started = use(Idle)
    sizes = {"preferences": {"list": [[0.1, 0.45, 0.45], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4]]}, "resources": {"pack": 2}}
    small, large = (parse_config(GRID | sizes | {"output": str(tmp_path / name), "seeds": [0]}) for name in ("small", "large"))
    small = parse_config(json.loads(json.dumps(small.to_json())) | {"preferences": {"list": [[0.1, 0.45, 0.45]]}})
    run_sweeps((small, large), Told())
    assert [(Path(pack["root"]).name, len(pack["trials"])) for pack in started[0].packs] == [("large", 2), ("small", 1), ("large", 1)]


def test_a_sweep_that_is_complete_takes_no_attempt(configs: tuple[SweepConfig, ...], use: Any) -> None:
    started = use(InlineAll)
    run_sweeps(configs[:1], Told())
    told = Told()
    outcomes = run_sweeps(configs, told)
    assert [outcome.n_trained for outcome in outcomes] == [0, 2]
    assert told.messages == ["attempt 1: 2 of 4 trials to train in 2 packs"]
    job = started[-1]
    assert job.roots == [configs[1].output]
    assert Path(job.log).is_relative_to(configs[1].output), "the driver works inside a folder of its attempt"
    assert [sorted(path.name for path in (root / "plans").iterdir()) for root in roots_of(configs)] == [["1.json"], ["1.json"]]


@pytest.mark.full
def test_each_folder_counts_its_own_attempts(configs: tuple[SweepConfig, ...], use: Any) -> None:
    started = use(InlineAll)
    run_sweeps(configs[1:], Told(), RunOptions(limit=1))
    run_sweeps(configs, Told())
    assert {(pack["root"], pack["attempt"]) for pack in started[-1].packs} == {(configs[0].output, 1), (configs[1].output, 2)}


@pytest.mark.full
def test_a_limit_is_for_each_sweep(configs: tuple[SweepConfig, ...], use: Any) -> None:
    use(InlineAll)
    assert [(outcome.n_trials, outcome.states) for outcome in run_sweeps(configs, Told(), RunOptions(limit=1))] == [(1, {"ok": 1})] * 2


@pytest.mark.full
def test_progress_is_the_sum_over_the_sweeps(configs: tuple[SweepConfig, ...], use: Any) -> None:
    class Watched(InlineAll):
        """Runs for one look of the supervisor."""

        def is_running(self) -> bool:
            self.looks = getattr(self, "looks", 0) + 1
            return self.looks == 1

    use(Watched)
    run_sweeps(configs[:1], Told())
    told = Told()
    run_sweeps(configs, told)
    (seen,) = told.snapshots
    assert (seen.n_trials, seen.states, seen.n_before) == (4, {"ok": 4}, 2)


@pytest.mark.parametrize("locked", [0, 1])
def test_a_folder_that_is_in_use_stops_the_run_and_frees_the_others(configs: tuple[SweepConfig, ...], use: Any, locked: int) -> None:
    started = use(InlineAll)
    with Store(roots_of(configs)[locked]).lock(), pytest.raises(LockedError, match=str(roots_of(configs)[locked])):
        run_sweeps(configs, Told())
    assert started == []
    assert [Store(root).lock_holder() for root in roots_of(configs)] == [None, None]


def test_a_lost_lock_stops_the_run(configs: tuple[SweepConfig, ...], use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Running(Idle):
        def is_running(self) -> bool:
            return True

    use(Running)
    monkeypatch.setattr(Lock, "lost", property(lambda self: self.path.parent == roots_of(configs)[1]))
    with pytest.raises(SweepError, match=f"{roots_of(configs)[1]}: another run has taken over the lock"):
        run_sweeps(configs, Told())


def test_ctrl_c_asks_every_folder_to_stop(configs: tuple[SweepConfig, ...], use: Any) -> None:
    asked: list[list[bool]] = []

    class Interrupted(Idle):
        """Presses Ctrl-C while it runs."""

        def is_running(self) -> bool:
            if not self.sent:
                os.kill(os.getpid(), signal.SIGINT)
                asked.append([Store(root).control.stop_requested() for root in roots_of(configs)])
            self.sent = [{"event": "fit_started", "slots": 1}]
            return False

    use(Interrupted)
    told = Told()
    outcomes = run_sweeps(configs, told)
    assert asked == [[True, True]]
    assert [(outcome.exit_code, outcome.is_interrupted) for outcome in outcomes] == [(130, True)] * 2
    assert "stopping: running epochs end and are kept; once more stops now" in told.messages


def test_sigusr1_is_a_first_ctrl_c_and_never_a_second(configs: tuple[SweepConfig, ...], use: Any) -> None:
    """A batch system may send it more than once before a time limit."""
    stopped: list[bool] = []

    class Warned(Idle):
        """Is told twice that its time is nearly up."""

        def is_running(self) -> bool:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGUSR1)
            return False

        def stop_now(self) -> None:
            stopped.append(all(Store(root).control.stop_requested() for root in roots_of(configs)))

    use(Warned)
    assert [outcome.exit_code for outcome in run_sweeps(configs, Told())] == [130, 130]
    assert stopped == [True], "once, when its driver has ended"


@pytest.mark.full
def test_a_failure_is_told_of_the_sweep_that_it_is_from(configs: tuple[SweepConfig, ...], use: Any) -> None:
    class Failing(InlineAll):
        """Trains the first sweep; the second one's pack dies."""

        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(replace(job, packs=[pack for pack in job.packs if pack["root"] == configs[0].output]), log)
            self.sent = [{"event": "pack_failed", "message": "CUDA out of memory", "root": configs[1].output}]

    use(Failing)
    first, second = run_sweeps(configs, Told())
    assert (first.exit_code, first.message) == (0, None)
    assert second.exit_code == 3
    assert second.message == f"2 trials could not be finished: CUDA out of memory (logs in {configs[1].output}/logs)"
    assert worst_exit_code([first, second]) == 3


def test_exit_codes_have_an_order() -> None:
    def ended(*codes: int) -> int:
        return worst_exit_code(Outcome(Path(), code, 0, {}, 0, False, None, Timing()) for code in codes)

    assert [ended(0, 0), ended(0, 3), ended(3, 2), ended(3, 130, 2)] == [0, 3, 2, 130]


def test_sweeps_that_do_not_go_together_are_refused(configs: tuple[SweepConfig, ...], config: SweepConfig) -> None:
    other = parse_config(GRID | {"resources": {"cpus": 2}, "output": "elsewhere"})
    for wrong in ((), (config, config), (config, other)):
        with pytest.raises(ValueError, match="an output each and the same resources"):
            run_sweeps(wrong, Told())
    assert not Path(config.output).exists()


# -- anchor runs --------------------------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("scaling", ["none", "anchors"])
def test_anchor_runs_come_first_and_give_the_reference_point(config: SweepConfig, use: Any, scaling: str) -> None:
    started = use(InlineAll)
    config = parse_config(GRID | {"reference_point": "auto", "scaling": scaling, "output": config.output})
    outcome = run_sweep(config, Told())
    assert (outcome.exit_code, outcome.states) == (0, {"ok": 4})
    first, second = started
    assert {(pack["study"], pack["reference_point"]) for pack in first.packs} == {("anchor-runs", None)}
    assert sorted(trial["k"] for pack in first.packs for trial in pack["trials"]) == [[0, 0, 1], [0, 1, 0]]
    rows = {row["trial_id"]: row for row in Store(outcome.root).read_rows().to_pylist()}
    anchors = [row for row in rows.values() if row["study"] == "anchor-runs"]
    least = [min(row[f"loss.validation.{task}"] / row["anchors"][i] for row in anchors) for i, task in ((1, "left"), (2, "right"))]
    expected = (0.0, 0.9 * least[0], 0.9 * least[1])
    manifest = Store(outcome.root).manifest()
    assert manifest is not None
    assert manifest["reference_point"] == "auto"
    assert manifest["reference_point_values"] == pytest.approx(expected)
    assert {pack["study"] for pack in second.packs} == {"main"}
    for pack in second.packs:
        assert pack["reference_point"] == pytest.approx(expected)
    assert [row["reference_point"] for row in rows.values() if row["study"] == "main"] == [pytest.approx(expected)] * 2
    assert run_sweep(config, Told()).n_trained == 0

    # A larger grid goes on with the same numbers, and trains no anchor run again.
    more = parse_config(json.loads(json.dumps(config.to_json())) | {"seeds": [0, 1]})
    assert run_sweep(more, Told()).n_trained == 2
    after = Store(outcome.root).manifest()
    assert after is not None
    grown = after.pop("hypervolume_reference")
    assert all(new >= old for new, old in zip(grown, manifest.pop("hypervolume_reference"), strict=True))
    assert after == manifest
    assert {pack["study"] for pack in started[-1].packs} == {"main"}


@pytest.mark.full
def test_a_failed_anchor_run_is_for_the_user_to_mend_and_other_sweeps_go_on(tmp_path: Path, use: Any) -> None:
    class Diverging(InlineAll):
        """The first sweep's first anchor run diverges."""

        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(
                replace(job, packs=[pack for pack in job.packs if [trial["trial_id"] for trial in pack["trials"]] != [lost.trial_id]]), log
            )
            if any([trial["trial_id"] for trial in pack["trials"]] == [lost.trial_id] for pack in job.packs):
                row = {"trial_id": lost.trial_id, "attempt": 1, "retry": 0, "state": "diverged", "error": "a loss became NaN"}
                Store(roots_of(configs)[0]).publish(row | {"study": lost.study})

    grid = GRID | {"reference_point": "auto", "problem": [SMALL, SMALL | {"data_seed": 1}], "output": str(tmp_path / "out")}
    configs = parse_configs(grid | {"resources": {"pack": 1}})
    lost = trials_of(configs[0])[0]
    use(Diverging)
    first, second = run_sweeps(configs, Told())
    assert (first.exit_code, first.states, first.n_left) == (2, {"diverged": 1, "ok": 1}, 2)
    assert first.message is not None
    assert first.message.startswith(f"{first.root}: `reference_point: auto` needs every anchor run, but\n")
    assert f"trial {lost.trial_id} (all weight on left, seed 0) ended diverged: a loss became NaN" in first.message
    assert "hint: " in first.message
    assert (second.exit_code, second.states) == (0, {"ok": 4})
    manifest = Store(first.root).manifest()
    assert manifest is not None
    assert manifest["reference_point_values"] is None
    with pytest.raises(SweepError, match="needs every anchor run"):
        api.run(configs[0], quiet=True)


@pytest.mark.full
def test_a_given_reference_point_goes_to_the_packs(config: SweepConfig, use: Any, tmp_path: Path) -> None:
    started = use(InlineAll)
    run_sweep(parse_config(GRID | {"reference_point": [0, 0.25, 0.5], "output": config.output}), Told())
    analytic = {"problem": {"name": "analytic/zdt1", "n_steps": 1}, "preferences": {"list": [[0.5, 0.5]]}, "model": None}
    outcome = run_sweep(parse_config(GRID | analytic | {"reference_point": [0.25, 0.5], "output": str(tmp_path / "zdt1")}), Told())
    assert [pack["reference_point"] for job in started for pack in job.packs] == [(0.0, 0.25, 0.5)] * 3
    manifest = Store(outcome.root).manifest()
    assert manifest is not None
    assert (manifest["reference_point"], manifest["reference_point_values"]) == ([0.25, 0.5], [0.25, 0.5])
    assert [objective["name"] for objective in manifest["objectives"]] == ["f1", "f2"]
    assert [row["k"] for row in Store(outcome.root).read_rows().to_pylist()] == [[0.0, 0.5, 0.5]]


def test_anchor_runs_of_a_problem_without_sparsity(use: Any, tmp_path: Path) -> None:
    started = use(InlineAll)
    analytic = {"problem": {"name": "analytic/zdt1", "n_steps": 1}, "preferences": {"list": [[0.5, 0.5]]}, "reference_point": "auto"}
    outcome = run_sweep(parse_config(GRID | analytic | {"output": str(tmp_path / "zdt1")}), Told())
    assert outcome.states == {"ok": 3}
    manifest = Store(outcome.root).manifest()
    assert manifest is not None
    assert len(manifest["reference_point_values"]) == 2
    assert started[-1].packs[0]["reference_point"] == (0.0, *manifest["reference_point_values"])


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


# -- failures -------------------------------------------------------------------------------------------------------------


def test_a_trial_that_fails_is_told_while_the_run_goes_on(config: SweepConfig, use: Any) -> None:
    use(InlineAll)
    diverging = parse_config(json.loads(json.dumps(config.to_json())) | {"training": GRID["training"] | {"learning_rate": 1e30}})
    told = Told()
    assert run_sweep(diverging, told).exit_code == 3
    (line,) = [message for message in told.messages if "failed" in message]
    assert line.startswith("1 trial failed: diverged, ")
    assert line.endswith("1.log)")
    told.messages.clear()
    assert run_sweep(diverging, told).exit_code == 3
    assert told.messages == [], "old failures are no news"


def test_fail_fast_stops_at_the_first_failed_trial_and_keeps_running_epochs(config: SweepConfig, use: Any) -> None:
    asked: list[bool] = []

    class One(Inline):
        """Trains one pack; then looks whether it was asked to stop."""

        def is_running(self) -> bool:
            self.sent = []
            asked.append(Store(Path(config.output)).control.stop_requested())
            return len(asked) < 3

    started = use(One)
    diverging = parse_config(json.loads(json.dumps(config.to_json())) | {"training": GRID["training"] | {"learning_rate": 1e30}})
    (outcome,) = run_sweeps((diverging,), Told(), RunOptions(fails_fast=True))
    assert outcome.exit_code == 3
    assert not outcome.is_interrupted
    assert outcome.n_left == 1
    assert "stopped by --fail-fast: 1 trial failed: diverged" in (outcome.message or "")
    assert asked == [False, True, True]
    assert len(started) == 1
    use(InlineAll)
    assert run_sweep(diverging, Told()).n_left == 0, "the next run goes on"


def sending(*events: dict[str, Any]) -> type[Idle]:
    """A driver that sends these and ends."""

    class Sending(Idle):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(job, log)
            self.sent = [dict(event) for event in events]

    return Sending


def test_workers_that_are_tried_again_are_told_once(config: SweepConfig, use: Any) -> None:
    retried = {"event": "pack_retried", "message": "OSError: stale handle 17\nmore", "root": config.output}
    use(sending(retried, retried))
    told = Told()
    (outcome,) = run_sweeps((config,), told, RunOptions(fails_fast=True))
    assert [message for message in told.messages if "stale" in message][:1] == [
        f"1 worker failed: OSError: stale handle 17 (its pack is tried again; log: {config.output}/logs/1.log)"
    ]
    assert sum("stale" in message for message in told.messages) == 2, "at the first failure and at the tenth"
    assert "--fail-fast" not in (outcome.message or ""), "what is tried again has not failed yet"


def test_a_pack_that_retries_did_not_help_stops_a_run_that_fails_fast(config: SweepConfig, use: Any) -> None:
    started = use(sending({"event": "pack_failed", "message": "CUDA out of memory", "root": config.output}))
    (outcome,) = run_sweeps((config,), Told(), RunOptions(fails_fast=True))
    assert (outcome.exit_code, len(started)) == (3, 1)
    assert "stopped by --fail-fast: 1 pack failed: CUDA out of memory" in (outcome.message or "")


def test_a_node_at_fault_is_avoided_by_later_attempts_too(config: SweepConfig, use: Any) -> None:
    started = use(sending({"event": "node_avoided", "message": "CUDA error: ecc\nmore", "node": "ab12cd34ef", "host": "gpu-7"}))
    told = Told()
    run_sweep(config, told)
    assert [job.avoided for job in started] == [[], *[["ab12cd34ef"]] * 4]
    assert [text for text in told.messages if "node" in text] == ["node gpu-7 (ab12cd34) gets no more packs: CUDA error: ecc"]


def test_a_folder_that_takes_nothing_any_more_does_not_hide_why(config: SweepConfig, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(store: Store) -> None:
        raise StoreWriteError("cannot write: the file system is read-only")

    class Broken(Forbidden):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(job, log)
            monkeypatch.setattr(Store, "clear_live", refuse)

    use(Broken)
    with pytest.raises(SweepError, match="nobody answers there"):
        run_sweep(config, Told())


def test_no_attempt_leaves_its_scratch_folder(config: SweepConfig, use: Any) -> None:
    seen: list[bool] = []

    class Scratched(Idle):
        def __init__(self, job: AttemptJob, log: Path) -> None:
            super().__init__(job, log)
            seen.append(Path(job.scratch).is_dir())

    started = use(Scratched)
    run_sweep(config, Told())
    assert seen == [True] * 5
    assert len({job.scratch for job in started}) == 5
    assert not any(Path(job.scratch).exists() for job in started)


# -- the machine ---------------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_where_ray_could_not_start_nothing_is_started_and_the_folder_is_in_order(
    config: SweepConfig, use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message, no attempt; the lock is free, and once it is mended the same run trains everything."""
    started = use(InlineAll)
    with monkeypatch.context() as wrong:
        wrong.setenv("RAY_TMPDIR", "/tmp/" + "a" * 115)
        with pytest.raises(SweepError, match="120 bytes are too many for the path of a socket"):
            run_sweep(config, Told())
    store = Store(Path(config.output))
    assert started == []
    assert store.lock_holder() is None
    assert store.verify() == []
    assert not (store.root / "report.html").exists()
    assert run_sweep(config, Told()).exit_code == 0
    with monkeypatch.context() as wrong:
        wrong.setenv("RAY_TMPDIR", "relative")
        assert run_sweep(config, Told()).exit_code == 0, "with nothing to do no Ray is needed"


@pytest.mark.full
def test_the_driver_is_told_what_this_process_may_use(config: SweepConfig, use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started = use(InlineAll)
    machine = Machine((Limit("CPU", 1, "quota"), Limit("GPU", 1, "G"), Limit("memory", 4e9, "limit")), ("0",))
    monkeypatch.setattr(attempt, "this_machine", lambda: machine)
    run_sweep(config, Told())
    assert (started[0].n_local_cpus, started[0].local_memory, started[0].visible_gpus) == (1, 4_000_000_000, "0")
