"""Warm starts in a sweep: who gives whom a network is settled by the grid, and dense trials train first."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from drivers import GRID, Idle, InlineAll, Messages

from sweep.cluster.driver import AttemptJob
from sweep.execution import attempt
from sweep.execution.supervisor import run_sweeps
from sweep.grid.load import ConfigError, SweepConfig, parse_config
from sweep.planning.inherit import nearest_dense, network_start, task_weights
from sweep.planning.pack_job import NetworkStart, PackJob
from sweep.planning.packs import plan_packs
from sweep.planning.trials import Trial, trials_of
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun

WARM = {"warm_start": "neighbour"}
LATTICE = {"simplex": {"divisions": 4, "k0": [0.02, 0, 0.1]}}
CIRCUMSTANCES = {
    *("attempt", "retry", "pack_id", "host", "finished_at", "peak_memory_mb", "device_s", "energy_wh", "energy_estimated"),
    *("wall_s", "wall_s_sparsify", "wall_s_tying", "wall_s_retrain"),
}


def config_of(**changes: Any) -> SweepConfig:
    return parse_config({"problem": {"name": "multidigits", "n_train": 512}, "preferences": LATTICE, "seeds": [0, 1]} | changes)


def by_id(config: SweepConfig) -> dict[str, Trial]:
    return {trial.trial_id: trial for trial in trials_of(config)}


# -- who gives ------------------------------------------------------------------------------------------------------------


def test_the_nearest_has_the_nearest_weights_of_the_tasks_alone() -> None:
    dense = [(0.0, 0.25, 0.75), (0.0, 0.5, 0.5), (0.0, 0.75, 0.25)]
    assert task_weights((0.5, 0.125, 0.375)) == (0.25, 0.75)
    assert nearest_dense((0.5, 0.125, 0.375), dense) == dense[0]
    assert nearest_dense((0.9, 0.06, 0.04), dense) == dense[1]


def test_of_equally_near_ones_the_order_decides_nothing() -> None:
    dense = [(0.0, 0.1, 0.9), (0.0, 0.5, 0.5), (0.0, 0.3, 0.7)]
    assert {nearest_dense((0.5, 0.2, 0.3), order) for order in itertools.permutations(dense)} == {(0.0, 0.3, 0.7)}


def test_every_sparse_trial_starts_from_an_earlier_dense_one_with_its_task_weights_and_seed() -> None:
    trials = by_id(config_of(training=WARM))
    seen: set[str] = set()
    for trial in trials.values():
        assert (trial.warm_start is None) == trial.is_dense
        if trial.warm_start is not None:
            start = trials[trial.warm_start]
            assert trial.warm_start in seen
            assert (start.seed, start.is_dense) == (trial.seed, True)
            assert task_weights(start.preference or ()) == pytest.approx(task_weights(trial.preference or ()))
        seen.add(trial.trial_id)


def test_the_first_trials_of_a_grid_include_the_dense_ones_they_start_from() -> None:
    for limit in range(1, 18):
        first = trials_of(config_of(training=WARM), limit)
        assert all(trial.warm_start in {None, *(other.trial_id for other in first)} for trial in first)


# -- ids ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", [{}, {"reference_point": "auto"}], ids=["origin", "anchor runs"])
def test_dense_trials_keep_their_ids_and_sparse_ones_have_others(reference: dict[str, Any]) -> None:
    cold, warm = by_id(config_of(**reference)), by_id(config_of(training=WARM, **reference))
    assert {trial_id for trial_id, trial in warm.items() if trial.is_dense} == {
        trial_id for trial_id, trial in cold.items() if trial.is_dense
    }
    assert len(cold) == len(warm)
    assert not {trial_id for trial_id, trial in warm.items() if not trial.is_dense} & set(cold)


def test_a_default_written_out_changes_no_id() -> None:
    assert trials_of(config_of(training={"warm_start": "none"})) == trials_of(config_of())


def test_an_id_changes_with_the_dense_trial_it_starts_from_and_with_no_other_vector_of_the_grid() -> None:
    sparse = [[0.1, 0.45, 0.45], [0.1, 0.09, 0.81]]

    def ids(*dense: list[float]) -> list[str]:
        config = config_of(training=WARM, seeds=[0], preferences={"list": [*sparse, *dense]})
        return [trial.trial_id for trial in trials_of(config) if not trial.is_dense]

    few = ids([0, 0.5, 0.5])
    more = ids([0, 0.9, 0.1], [0, 0.5, 0.5], [0, 0.2, 0.8])
    assert few[0] == more[0]
    assert few[1] != more[1]


# -- grid files -----------------------------------------------------------------------------------------------------------


def test_a_grid_without_dense_vectors_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.warm_start: preferences with k0 = 0 expected"):
        config_of(training=WARM, preferences={"simplex": {"divisions": 4, "k0": [0.1]}})
    studies = [{"name": "a", "training": WARM, "preferences": {"list": [[0.1, 0.5, 0.4]]}}, {"name": "b"}]
    with pytest.raises(ConfigError, match=r"studies\[0\]\.training\.warm_start: preferences with k0 = 0 expected"):
        config_of(studies=studies)
    config_of(training=WARM, preferences={"simplex": {"divisions": 4, "k0": [0]}})
    config_of(training=WARM, method="epo", model="hps", preferences={"simplex": {"divisions": 4, "k0": [0]}})


DENSE, SPARSE = ({"simplex": {"divisions": 4, "k0": [k0]}} for k0 in (0, 0.1))


def test_a_study_without_dense_vectors_starts_from_those_of_the_one_it_comes_after() -> None:
    """So that dense trials can have a longer schedule than the sparse ones that start from them."""
    first = {"name": "first", "preferences": DENSE}
    second = {"name": "second", "preferences": SPARSE, "after": "first", "training": WARM | {"retrain": {"epochs": 1}}}
    for reference in ({}, {"reference_point": "auto"}):
        trials = by_id(config_of(studies=[first, second], **reference))
        sparse = [trial for trial in trials.values() if trial.study == "second"]
        assert len(sparse) == 6
        for trial in sparse:
            start = trials[trial.warm_start or ""]
            assert (start.study, start.seed) == ("first", trial.seed)
            assert task_weights(start.preference or ()) == pytest.approx(task_weights(trial.preference or ()))
    longer = by_id(config_of(studies=[first | {"training": {"retrain": {"epochs": 4}}}, second]))
    assert set(longer).isdisjoint(by_id(config_of(studies=[first, second])))


@pytest.mark.parametrize(
    "change",
    [{"model": "hps"}, {"seeds": [0]}, {"preferences": SPARSE}, {"candidates": [{"learning_rate": 1e-3}, {"learning_rate": 2e-3}]}],
    ids=str,
)
def test_a_study_that_cannot_give_is_refused(change: dict[str, Any]) -> None:
    second = {"name": "second", "model": "mdmtn", "preferences": SPARSE, "after": "first", "training": WARM}
    with pytest.raises(ConfigError, match=r"studies\[1\]\.training\.warm_start: preferences with k0 = 0 expected"):
        config_of(studies=[{"name": "first", "model": "mdmtn", "preferences": DENSE} | change, second])


def test_a_warm_start_is_not_searched_for() -> None:
    search = {"name": "search", "candidates": [{"learning_rate": 1e-3}, WARM]}
    with pytest.raises(ConfigError, match=r"studies\[0\]\.candidates\[1\]\.warm_start: the value of the search's own"):
        config_of(studies=[search])
    searched = config_of(studies=[search | {"training": WARM}, {"name": "best", "after": "search", "training": WARM}])
    assert any(trial.warm_start for trial in trials_of(searched) if trial.study == "best")


# -- plans ----------------------------------------------------------------------------------------------------------------


def test_sparse_trials_wait_for_the_dense_one_they_start_from() -> None:
    config = config_of(training=WARM, seeds=[0])
    trials = trials_of(config)
    dense, sparse = ([trial for trial in trials if trial.is_dense == is_dense] for is_dense in (True, False))
    plan = plan_packs(config, trials, {}, [], 2)
    assert {trial for pack in plan.packs for trial in pack.trials} == set(dense)
    assert plan.n_waiting == len(sparse) == 6
    plan = plan_packs(config, trials, {dense[0].trial_id: "ok", dense[1].trial_id: "diverged"}, [], 2)
    ready = {trial for pack in plan.packs for trial in pack.trials}
    assert ready == {dense[2], *(trial for trial in sparse if trial.warm_start != dense[2].trial_id)}
    assert plan.n_waiting == 2


def test_no_trial_starts_from_a_network_that_diverged_and_the_note_names_it() -> None:
    row = {"trial_id": "a", "k": [0.0, 0.5, 0.5], "seed": 1, "state": "ok", "weights_sha256": "f00"}
    assert network_start(row) == NetworkStart("a", "f00")
    note = "began with the initial network, since trial a (k = (0, 0.5, 0.5), seed 1) ended diverged"
    assert network_start(row | {"state": "diverged", "weights_sha256": None}) == NetworkStart("a", None, note)


# -- runs -----------------------------------------------------------------------------------------------------------------

VECTORS = [[0.1, 0.45, 0.45], [0, 0.5, 0.5], [0.1, 0.18, 0.72], [0, 0.2, 0.8], [0.05, 0.5, 0.45]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def run(root: Path, monkeypatch: pytest.MonkeyPatch, driver: type[Idle] = InlineAll, **changes: Any) -> list[AttemptJob]:
    """Train a small grid without Ray; what the drivers were started with."""
    grid = GRID | {"preferences": {"list": VECTORS}, "output": str(root)} | changes
    config = parse_config(grid | {"training": grid["training"] | WARM})
    driver.started = []
    monkeypatch.setattr(attempt, "DriverProcess", driver)
    (outcome,) = run_sweeps([config], Messages())
    assert (outcome.exit_code, outcome.states) == (0, {"ok": 5})
    return driver.started


def rows_of(root: Path) -> dict[str, dict[str, Any]]:
    rows = Store(root).read_rows().to_pylist()
    return {row["trial_id"]: {name: value for name, value in row.items() if name not in CIRCUMSTANCES} for row in rows}


def test_dense_trials_train_first_and_each_row_names_the_one_it_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = run(tmp_path, monkeypatch, resources={"pack": 5})
    assert [[len(pack["trials"]) for pack in job.packs] for job in attempts] == [[2], [3]], "trials of a pack may start from different ones"
    rows = rows_of(tmp_path)
    dense = {tuple(row["k"][1:]): trial_id for trial_id, row in rows.items() if row["k_0"] == 0}
    starts = {tuple(row["k"]): row["taken_over"] for row in rows.values()}
    assert starts[0.0, 0.5, 0.5] is None
    assert starts[0.1, 0.45, 0.45] == starts[0.05, 0.5, 0.45] == [dense[0.5, 0.5]]
    assert starts[0.1, 0.18, 0.72] == [dense[0.2, 0.8]]


@pytest.mark.full
def test_the_dense_trials_may_belong_to_another_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dense, sparse = ([vector for vector in VECTORS if (vector[0] == 0) == is_dense] for is_dense in (True, False))
    studies = [
        {"name": "long", "preferences": {"list": dense}, "training": {"retrain": {"epochs": 3}}},
        {"name": "short", "preferences": {"list": sparse}, "after": "long"},
    ]
    run(tmp_path, monkeypatch, studies=studies)
    rows = rows_of(tmp_path)
    epochs = {row["study"]: row["n_epochs"] for row in rows.values()}
    assert epochs["long"] > epochs["short"]
    for row in rows.values():
        assert [rows[start]["study"] for start in row["taken_over"] or ()] == ["long"] * (row["study"] == "short")


@pytest.mark.full
def test_packs_interruptions_and_what_was_complete_when_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Halting(InlineAll):
        """Trains one epoch of its first pack and is gone, every second time; then that pack."""

        def __init__(self, job: AttemptJob, log: Path) -> None:
            Idle.__init__(self, job, log)
            pack = PackRun(PackJob.from_json(job.packs[0]))
            pack.step()
            if len(self.started) % 2 and not pack.is_done:
                pack.checkpoint()
                return
            while not pack.step():
                pass

    run(tmp_path / "whole", monkeypatch, resources={"pack": 5})
    attempts = run(tmp_path / "parts", monkeypatch, Halting, resources={"pack": 1})
    assert len(attempts) > 5
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")
