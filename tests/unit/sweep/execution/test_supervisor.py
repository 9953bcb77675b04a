"""The supervisor without Ray: a driver of the test's own takes the place of the process (`drivers.py`)."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drivers import GRID, SMALL, Forbidden, Idle, Inline, InlineAll, Messages, roots_of, run_sweep

from sweep import api
from sweep.cluster.driver import AttemptJob
from sweep.errors import SweepError
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import SweepConfig, parse_config, parse_configs
from sweep.monitor.outcome import Outcome, Timing, worst_exit_code
from sweep.planning.trials import trials_of
from sweep.store.lock import Lock, LockedError
from sweep.store.store import Store


@pytest.mark.full
def test_attempts_follow_each_other_until_nothing_is_left(config: SweepConfig, use: Any) -> None:
    """One pack an attempt: a second attempt is planned from the store, then the sweep is complete, and stays so."""
    started = use(Inline)
    outcome = run_sweep(config, Messages())
    assert (outcome.exit_code, outcome.states, outcome.n_trained) == (0, {"ok": 2}, 2)
    assert [job.packs[0]["attempt"] for job in started] == [1, 2]
    assert outcome.timing.training_s > 0
    again = run_sweep(config, Messages())
    assert (again.exit_code, again.n_trained, len(started)) == (0, 0, 2)


def test_attempts_without_progress_end_after_five(config: SweepConfig, use: Any) -> None:
    started, progress = use(Idle), Messages()
    outcome = run_sweep(config, progress)
    assert outcome.exit_code == 3
    assert "2 trials could not be finished" in (outcome.message or "")
    assert [job.packs[0]["attempt"] for job in started] == [1, 2, 3, 4, 5]
    assert any("trying again" in message for message in progress.messages)


def test_what_only_the_user_can_mend_ends_the_sweep_at_once(config: SweepConfig, use: Any) -> None:
    started = use(Forbidden)
    with pytest.raises(SweepError, match="nobody answers there"):
        run_sweep(config, Messages())
    assert len(started) == 1
    assert Store(Path(config.output)).lock_holder() is None


@pytest.mark.full
def test_a_torn_row_is_named_and_its_trial_trained_again(config: SweepConfig, use: Any, tmp_path: Path) -> None:
    use(Inline)
    run_sweep(config, Messages())
    out = tmp_path / "out"
    (lost,) = sorted(Store(out).complete())[:1]
    with Store(out).lock():
        Store(out).forget([lost])
    torn = out / "rows" / f"{lost}.1-0.parquet"
    torn.write_bytes(b"PAR1 torn")
    progress = Messages()
    outcome = run_sweep(config, progress)
    assert (outcome.exit_code, outcome.n_trained) == (0, 1)
    assert any(str(torn) in message and "torn" in message for message in progress.messages)


def test_a_sweep_that_is_complete_takes_no_attempt(configs: tuple[SweepConfig, ...], use: Any) -> None:
    started = use(InlineAll)
    run_sweeps(configs[:1], Messages())
    progress = Messages()
    outcomes = run_sweeps(configs, progress)
    assert [outcome.n_trained for outcome in outcomes] == [0, 2]
    assert progress.messages == ["attempt 1: 2 of 4 trials to train in 2 packs"]
    job = started[-1]
    assert job.roots == [configs[1].output]
    assert Path(job.log).is_relative_to(configs[1].output), "the driver works inside a folder of its attempt"
    assert [sorted(path.name for path in (root / "plans").iterdir()) for root in roots_of(configs)] == [["1.json"], ["1.json"]]


@pytest.mark.full
def test_a_limit_is_for_each_sweep(configs: tuple[SweepConfig, ...], use: Any) -> None:
    use(InlineAll)
    assert [(outcome.n_trials, outcome.states) for outcome in run_sweeps(configs, Messages(), RunOptions(limit=1))] == [(1, {"ok": 1})] * 2


@pytest.mark.parametrize("locked", [0, 1])
def test_a_folder_that_is_in_use_stops_the_run_and_frees_the_others(configs: tuple[SweepConfig, ...], use: Any, locked: int) -> None:
    started = use(InlineAll)
    with Store(roots_of(configs)[locked]).lock(), pytest.raises(LockedError, match=str(roots_of(configs)[locked])):
        run_sweeps(configs, Messages())
    assert started == []
    assert [Store(root).lock_holder() for root in roots_of(configs)] == [None, None]


def test_a_lost_lock_stops_the_run(configs: tuple[SweepConfig, ...], use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Running(Idle):
        def is_running(self) -> bool:
            return True

    use(Running)
    monkeypatch.setattr(Lock, "lost", property(lambda self: self.path.parent == roots_of(configs)[1]))
    with pytest.raises(SweepError, match=f"{roots_of(configs)[1]}: another run has taken over the lock"):
        run_sweeps(configs, Messages())


def test_exit_codes_have_an_order() -> None:
    def ended(*codes: int) -> int:
        return worst_exit_code(Outcome(Path(), code, 0, {}, 0, False, None, Timing()) for code in codes)

    assert [ended(0, 0), ended(0, 3), ended(3, 2), ended(3, 130, 2)] == [0, 3, 2, 130]


def test_sweeps_that_do_not_go_together_are_refused(configs: tuple[SweepConfig, ...], config: SweepConfig) -> None:
    other = parse_config(GRID | {"resources": {"cpus": 2}, "output": "elsewhere"})
    for wrong in ((), (config, config), (config, other)):
        with pytest.raises(ValueError, match="an output each and the same resources"):
            run_sweeps(wrong, Messages())
    assert not Path(config.output).exists()


@pytest.mark.full
@pytest.mark.parametrize("scaling", ["none", "anchors"])
def test_anchor_runs_come_first_and_give_the_reference_point(config: SweepConfig, use: Any, scaling: str) -> None:
    started = use(InlineAll)
    config = parse_config(GRID | {"reference_point": "auto", "scaling": scaling, "output": config.output})
    outcome = run_sweep(config, Messages())
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
    assert run_sweep(config, Messages()).n_trained == 0

    # A larger grid goes on with the same numbers, and trains no anchor run again.
    more = parse_config(json.loads(json.dumps(config.to_json())) | {"seeds": [0, 1]})
    assert run_sweep(more, Messages()).n_trained == 2
    after = Store(outcome.root).manifest()
    assert after is not None
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
    first, second = run_sweeps(configs, Messages())
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
    run_sweep(parse_config(GRID | {"reference_point": [0, 0.25, 0.5], "output": config.output}), Messages())
    analytic = {"problem": {"name": "analytic/zdt1", "n_steps": 1}, "preferences": {"list": [[0.5, 0.5]]}, "model": None}
    outcome = run_sweep(parse_config(GRID | analytic | {"reference_point": [0.25, 0.5], "output": str(tmp_path / "zdt1")}), Messages())
    assert [pack["reference_point"] for job in started for pack in job.packs] == [(0.0, 0.25, 0.5)] * 3
    manifest = Store(outcome.root).manifest()
    assert manifest is not None
    assert (manifest["reference_point"], manifest["reference_point_values"]) == ([0.25, 0.5], [0.25, 0.5])
    assert [objective["name"] for objective in manifest["objectives"]] == ["f1", "f2"]
    assert [row["k"] for row in Store(outcome.root).read_rows().to_pylist()] == [[0.0, 0.5, 0.5]]


def test_anchor_runs_of_a_problem_without_sparsity(use: Any, tmp_path: Path) -> None:
    started = use(InlineAll)
    analytic = {"problem": {"name": "analytic/zdt1", "n_steps": 1}, "preferences": {"list": [[0.5, 0.5]]}, "reference_point": "auto"}
    outcome = run_sweep(parse_config(GRID | analytic | {"output": str(tmp_path / "zdt1")}), Messages())
    assert outcome.states == {"ok": 3}
    manifest = Store(outcome.root).manifest()
    assert manifest is not None
    assert len(manifest["reference_point_values"]) == 2
    assert started[-1].packs[0]["reference_point"] == (0.0, *manifest["reference_point_values"])
