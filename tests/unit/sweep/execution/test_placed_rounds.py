"""`preferences: {front: ...}` without Ray: rounds follow from results, and nothing that interrupts a run changes a vector."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drivers import GRID, Idle, Inline, InlineAll, Messages, run_sweep

from analysis.report.about import placing_section
from analysis.results.table import read_results
from sweep import api
from sweep.cli.run import plan_lines
from sweep.cli.status import show
from sweep.cluster.driver import AttemptJob
from sweep.cluster.slots import WorkerCount
from sweep.execution.forget import forget_trials
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import run_sweeps
from sweep.grid.append import append_preferences
from sweep.grid.load import ConfigError, SweepConfig, parse_config
from sweep.monitor.status import read_status
from sweep.planning.pack_job import PackJob
from sweep.planning.placing import with_placed
from sweep.planning.trials import trials_of, trials_of_seed
from sweep.store.store import Store, StoreError
from sweep.worker.pack_run import PackRun

SHORT: dict[str, Any] = {
    "problem": "analytic/zdt2",
    "preferences": {"front": {"n": 15}},
    "training": {
        "batch_size": 1,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "augmentation": 0,
        "lagrangian": {"penalty": 100, "penalty_max": 400, "mean_decay": 0},
        "sparsify": {"outer_iterations": 3, "epochs": 1},
        "retrain": {"outer_iterations": 0, "epochs": 1},
        "growl": {"sparsity_min": 0},
    },
}


def config_of(folder: Path, n: int = 15, until: float | None = None, **changes: Any) -> SweepConfig:
    front = {"n": n} | ({} if until is None else {"until": {"gain": until}})
    return parse_config(SHORT | {"preferences": {"front": front}, "output": str(folder / "out")} | changes)


def vectors_of(config: SweepConfig, study: str = "main") -> list[tuple[float, ...]]:
    found = next(one for one in with_placed(config, Store(config.output)).resolved_studies if one.name == study)
    return [vector for vector in found.preferences if vector is not None]


def records_of(config: SweepConfig) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted((Path(config.output) / "placements").iterdir())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The records of a run of 15 vectors that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep.execution.attempt.DriverProcess", InlineAll)
        InlineAll.started = []
        config = config_of(tmp_path_factory.mktemp("undisturbed"))
        outcome = run_sweep(config, Messages())
        assert (outcome.exit_code, outcome.n_trials) == (0, 15)
        yield records_of(config)


class Growing(Idle):
    """A driver that stays alive between rounds, as the real one does."""

    def __init__(self, job: AttemptJob, log: Path) -> None:
        super().__init__(job, log)
        self.may_grow, self.waiting = job.may_grow, list(job.packs)

    def is_running(self) -> bool:
        return bool(self.waiting) or self.may_grow

    def events(self) -> Iterator[dict[str, Any]]:
        done, self.waiting = self.waiting, []
        for pack in done:
            run = PackRun(PackJob.from_json(pack))
            while not run.step():
                pass
            yield {"event": "pack_ended", "pack_id": run.job.pack_id, **vars(run.spent)}

    def add(self, packs: Sequence[Mapping[str, Any]]) -> None:
        self.waiting += [dict(pack) for pack in packs]

    def close_queue(self) -> None:
        self.may_grow = False


def test_one_attempt_trains_all_rounds_and_each_has_a_plan(tmp_path: Path, use: Any, undisturbed: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("sweep.execution.supervisor._POLL_S", 0.0)
    started, progress, config = use(Growing), Messages(), config_of(tmp_path)
    outcome = run_sweep(config, progress)
    assert (outcome.exit_code, outcome.states, outcome.n_trials) == (0, {"ok": 15}, 15)
    assert len(started) == 1
    assert records_of(config) == undisturbed
    assert [round_["kind"] for round_ in undisturbed.values()] == ["ends", "scan", "fill"]
    assert "front main: round 2 (scan) places 8 networks, 11 of 15 so far" in progress.messages
    store = Store(config.output)
    assert len(list((store.root / "plans").iterdir())) == 3
    assert store.verify() == []
    assert show(read_status(config.output)).splitlines()[2] == "front main: 15 of 15 networks placed, round 3"
    section = placing_section(read_results(config.output))
    assert section is not None
    assert all(vector["reason"] in section.html for record in undisturbed.values() for vector in record["vectors"][:3])
    attempts = {row["attempt"] for row in store.read_rows(columns=["attempt"]).to_pylist()}
    assert attempts == {1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("request_name", ["pause", "stop"])
def test_a_held_sweep_places_nothing_and_goes_on_later(
    tmp_path: Path, use: Any, undisturbed: dict[str, Any], monkeypatch: Any, request_name: str
) -> None:
    monkeypatch.setattr("sweep.execution.supervisor._POLL_S", 0.0)
    config = config_of(tmp_path)
    control = Store(config.output).control

    class Held(Growing):
        def events(self) -> Iterator[dict[str, Any]]:
            yield from super().events()
            if len(self.started) == 1:
                getattr(control, f"request_{request_name}")()

    def resume(*_: Any) -> None:
        control.lift_pause()

    monkeypatch.setattr("sweep.execution.supervisor._Run._wait_while_paused", resume)
    started = use(Held)
    outcome = run_sweep(config, Messages())
    if request_name == "stop":
        assert (outcome.exit_code, outcome.n_trials, outcome.states) == (130, 15, {"ok": 3})
        assert list(records_of(config)) == ["main.1.json", "main.2.json"]
        use(Growing)
        outcome = run_sweep(config, Messages())
    else:
        assert len(started) == 2
    assert (outcome.exit_code, outcome.states) == (0, {"ok": 15})
    assert records_of(config) == undisturbed


@pytest.mark.slow
def test_a_run_that_is_cut_off_after_every_pack_places_the_same_vectors(tmp_path: Path, use: Any, undisturbed: dict[str, Any]) -> None:
    use(Inline)
    config = config_of(tmp_path, resources={"pack": 2})
    assert run_sweep(config, Messages()).exit_code == 0
    assert records_of(config) == undisturbed


@pytest.mark.full
def test_a_larger_n_continues_and_a_smaller_one_keeps_the_rows(tmp_path: Path, use: Any, undisturbed: dict[str, Any]) -> None:
    use(InlineAll)
    few = config_of(tmp_path, 5)
    assert run_sweep(few, Messages()).n_trials == 5
    assert Store(few.output).manifest()["hypervolume_box"] is not None  # type: ignore[index]
    assert len(vectors_of(few)) == 5
    many = config_of(tmp_path)
    planned = api.plan(many)
    assert (planned.n_todo, planned.n_unplaced) == (10, 4), "the rest of the scan, then a round that is not placed yet"
    assert run_sweep(many, Messages()).n_trained == 10
    assert records_of(many) == undisturbed
    again = run_sweep(few, Messages())
    assert (again.exit_code, again.n_trials, again.n_trained) == (0, 5, 0)
    assert len(Store(few.output).complete()) == 15
    assert read_status(few.output).snapshot.n_trials == 5


@pytest.mark.full
def test_vectors_are_placed_once_and_trained_for_every_seed(tmp_path: Path, use: Any, undisturbed: dict[str, Any]) -> None:
    use(InlineAll)
    config = config_of(tmp_path, seeds=[0, 1])
    outcome = run_sweep(config, Messages())
    assert (outcome.exit_code, outcome.n_trials) == (0, 30)
    assert records_of(config) == undisturbed
    whole = with_placed(config, Store(config.output))
    assert [t.preference for t in trials_of_seed(whole, "main", 0)] == [t.preference for t in trials_of_seed(whole, "main", 1)]


@pytest.mark.full
def test_placing_ends_when_little_is_promised_and_goes_on_with_another_until(tmp_path: Path, use: Any, undisturbed: dict[str, Any]) -> None:
    use(InlineAll)
    config, progress = config_of(tmp_path, until=0.99), Messages()
    outcome = run_sweep(config, progress)
    assert (outcome.exit_code, outcome.n_trials) == (0, 11)
    end = "front main: ended after 11 of 15 vectors: the 10 best gaps promise "
    assert any(text.startswith(end) for text in progress.messages)
    assert end in show(read_status(config.output))
    assert Store(config.output).manifest()["hypervolume_box"] is not None  # type: ignore[index]
    assert api.plan(config).n_todo == 0
    onwards = config_of(tmp_path)
    assert run_sweep(onwards, Messages()).n_trials == 15
    assert records_of(onwards) == undisturbed


@pytest.mark.slow
def test_a_removed_trial_is_trained_again_and_no_round_changes(tmp_path: Path, use: Any, undisturbed: dict[str, Any]) -> None:
    use(InlineAll)
    config = config_of(tmp_path)
    run_sweep(config, Messages())
    lost = trials_of_seed(with_placed(config, Store(config.output)), "main", 0)[3].trial_id
    forget_trials(config.output, [lost])
    assert run_sweep(config, Messages()).n_trained == 1
    assert records_of(config) == undisturbed


@pytest.mark.parametrize("limit", [2, pytest.param(5, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.full)])
def test_a_limit_counts_the_first_vectors(tmp_path: Path, use: Any, limit: int, undisturbed: dict[str, Any]) -> None:
    use(InlineAll)
    studies = [{"name": "placed"}, {"name": "listed", "preferences": {"list": [[0.4, 0.6]]}}]
    config = config_of(tmp_path, studies=studies)
    (outcome,) = run_sweeps((config,), Messages(), RunOptions(limit=limit))
    assert (outcome.exit_code, outcome.n_trials) == (0, limit)
    rows = Store(config.output).read_rows(columns=["study"]).to_pylist()
    assert [row["study"] for row in rows] == ["placed"] * limit


@pytest.mark.full
def test_a_study_waits_for_the_whole_placing_and_another_does_not(tmp_path: Path, use: Any) -> None:
    started = use(InlineAll)
    studies = [
        {"name": "after", "after": "placed", "preferences": {"list": [[0.3, 0.7]]}},
        {"name": "placed"},
        {"name": "listed", "preferences": {"list": [[0.4, 0.6]]}},
    ]
    config = config_of(tmp_path, studies=studies)
    assert run_sweep(config, Messages()).states == {"ok": 17}
    trained = [{pack["study"] for pack in job.packs} for job in started]
    assert trained == [{"placed", "listed"}, {"placed"}, {"placed"}, {"after"}]


def test_a_damaged_round_is_named(tmp_path: Path, use: Any) -> None:
    use(InlineAll)
    config = config_of(tmp_path, 5)
    run_sweep(config, Messages())
    path = Path(config.output) / "placements" / "main.2.json"
    good = path.read_text()
    for text in ("{", "{}", good.replace('"scan"', '"other"'), good.replace('"round": 2', '"round": 3')):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"main\.2\.json"):
            run_sweep(config, Messages())
        assert [finding.path.name for finding in Store(config.output).verify()] == ["main.2.json"]
        assert len(read_results(config.output).frame) == 5
    path.unlink()
    assert run_sweep(config, Messages()).exit_code == 0
    assert path.read_text() == good, "a round follows from the results of those before it"


def test_the_plan_of_a_new_front_says_that_rounds_follow(tmp_path: Path) -> None:
    config = config_of(tmp_path, 90)
    lines = list(plan_lines((config,), (api.plan(config),), WorkerCount(2, "2")))
    assert lines[0].startswith("sweep sweep: 90 trials")
    assert "  front main: 3 of 90 networks placed, round 1, later rounds follow from its results" in lines
    assert "complete: 0 (0 failed); to train: 90; waiting for others: 0" in lines
    assert not (tmp_path / "out").exists()


def test_sparse_vectors_start_from_dense_ones_of_earlier_rounds() -> None:
    """A dense network of a later round, however near, would give an earlier trial another start and so another id."""
    config = parse_config(GRID | {"preferences": {"front": {"n": 20}}, "training": {"warm_start": "neighbour"}})
    (study,) = config.resolved_studies
    assert study.placing is not None
    more = ((0.1, 0.63, 0.27), (0.0, 0.7, 0.3), (0.2, 0.56, 0.24))
    whole = replace(study, preferences=(*study.preferences, *more), placing=replace(study.placing, rounds=(1, 1, 1, 1, 2, 2, 3)))
    trials = trials_of(config.model_copy(update={"resolved_studies": (whole,)}))
    starts = {trial.preference: trial.warm_start for trial in trials}
    ids = {trial.preference: trial.trial_id for trial in trials}
    assert starts[more[0]] == ids[0.0, 0.5, 0.5]
    assert starts[more[2]] == ids[0.0, 0.7, 0.3]
    before = {trial.trial_id for trial in trials_of(config)}
    assert before <= set(ids.values())


def test_no_vectors_are_appended_to_a_front(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("problem: analytic/zdt2\npreferences: {front: {n: 9}}\n")
    with pytest.raises(ConfigError, match="a grid expected, to which vectors can be added"):
        append_preferences(path, [(0.4, 0.6)])
    assert "list" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"scaling": "anchors", "reference_point": "auto"},
        {"training": GRID["training"] | {"warm_start": "neighbour"}},
        {"problem": GRID["problem"] | {"tasks": ["left"]}},
    ],
)
def test_networks_are_placed_by_sparsity_and_tasks(tmp_path: Path, use: Any, changes: dict[str, Any]) -> None:
    use(InlineAll)
    config = parse_config(GRID | {"preferences": {"front": {"n": 15}}, "output": str(tmp_path / "out")} | changes)
    outcome = run_sweep(config, Messages())
    n_anchors = 2 * (config.reference_point == "auto")
    assert (outcome.exit_code, outcome.states) == (0, {"ok": 15 + n_anchors})
    records = list(records_of(config).values())
    assert [record["kind"] for record in records] == ["ends", "scan", "fill"]
    assert len({vector["k"][0] for vector in records[1]["vectors"]}) == 8
    assert records[2]["promised"] is not None
