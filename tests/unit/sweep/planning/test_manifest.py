"""From a grid file to trials and packs: what an id depends on, and that every trial left is in exactly one pack."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.execution.supervisor import expected_workers
from sweep.grid.load import SweepConfig, parse_config
from sweep.planning.manifest import manifest_of
from sweep.planning.packs import Plan, pack_size, plan_packs, plan_sweeps
from sweep.planning.trials import Trial, trials_of
from sweep.store.store import Checkpoint, Store

VECTORS = [[0.0, 0.5, 0.5], [0.0, 0.25, 0.75], [0.25, 0.25, 0.5], [0.125, 0.375, 0.5], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]
GRID: dict[str, Any] = {
    "problem": {"name": "multidigits", "n_train": 512},
    "preferences": {"list": VECTORS},
    "seeds": [0, 1],
    "resources": {"pack": 2},
}


def config_of(**changes: Any) -> SweepConfig:
    return parse_config(GRID | changes)


def checkpoint_of(trials: Any, epoch: int = 3, pack_id: str = "pack-old") -> Checkpoint:
    return Checkpoint(pack_id, 1, 0, tuple(trial.trial_id for trial in trials), epoch, Path(f"{pack_id}.1-0.safetensors"))


def ids(trials: Any) -> set[str]:
    return {trial.trial_id for trial in trials}


def ids_by_k(config: SweepConfig) -> dict[tuple[int, tuple[float, ...]], str]:
    return {(trial.seed, trial.preference): trial.trial_id for trial in trials_of(config)}


# -- ids ----------------------------------------------------------------------------------------------------------------

RESULT_DEPENDS_ON = {
    "number of samples": {"problem": {"name": "multidigits", "n_train": 513}},
    "test samples": {"problem": {"name": "multidigits", "n_train": 512, "n_test": 999}},
    "data": {"problem": {"name": "multidigits", "n_train": 512, "data_seed": 1}},
    "model": {"model": "hps"},
    "learning rate": {"training": {"learning_rate": 1e-3}},
    "nested constant": {"training": {"growl": {"beta1": 0.7}}},
    "epochs": {"training": {"retrain": {"epochs": 4}}},
    "scaling": {"scaling": "anchors"},
    "reference point": {"reference_point": [0.0, 0.0, 0.5]},
    "anchor runs": {"reference_point": "auto"},
}
RESULT_DOES_NOT_DEPEND_ON = {
    "name": {"name": "other"},
    "output": {"output": "results/elsewhere"},
    "device": {"resources": {"device": "cpu"}},
    "pack size": {"resources": {"pack": 5}},
    "cores, memory, checkpoints": {"resources": {"cpus": 2.0, "gpus": 0.5, "memory": "3GB", "checkpoint_s": 0.0}},
    "costs": {"costs": {"usd_per_device_hour": 1.2, "usd_per_kwh": 0.3, "g_co2_per_kwh": 380.0}},
    "box of the hypervolume": {
        "hypervolume_reference": [0.9, 3.0, 3.0],
        "hypervolume_ideal": [0.1, 0, 0],
        "hypervolume_sparsity": "parameters",
    },
    "defaults written out": {"model": "mdmtn", "method": "wcal_growl", "scaling": "none", "training": {"batch_size": 256}},
    "name of the study": {"studies": [{"name": "first"}]},
}


@pytest.mark.parametrize("change", RESULT_DEPENDS_ON.values(), ids=RESULT_DEPENDS_ON)
def test_what_changes_the_result_changes_every_id(change: dict[str, Any]) -> None:
    assert ids(trials_of(config_of())).isdisjoint(ids(trials_of(config_of(**change))))


@pytest.mark.parametrize("change", RESULT_DOES_NOT_DEPEND_ON.values(), ids=RESULT_DOES_NOT_DEPEND_ON)
def test_what_does_not_change_the_result_changes_no_id(change: dict[str, Any]) -> None:
    assert ids_by_k(config_of()) == ids_by_k(config_of(**change))


def test_the_method_is_part_of_an_id() -> None:
    dense = {"list": VECTORS[:2]}
    ours, epo = (ids(trials_of(config_of(preferences=dense, method=method))) for method in ("wcal_growl", "epo"))
    assert len(ours) == len(epo) == 4
    assert ours.isdisjoint(epo)


def test_preference_and_seed_are_part_of_an_id() -> None:
    trials = trials_of(config_of())
    assert len(trials) == len(ids(trials)) == 2 * len(VECTORS)


def test_other_vectors_and_seeds_change_no_id() -> None:
    small, large = ids_by_k(config_of(preferences={"list": VECTORS[2:4]}, seeds=[1])), ids_by_k(config_of(seeds=[3, 1, 2]))
    assert small.items() <= large.items()


def test_the_same_vector_written_in_another_way_is_the_same_trial() -> None:
    lattice = parse_config(GRID | {"preferences": {"simplex": {"divisions": 4, "k0": [0]}}})
    written = ids_by_k(config_of(preferences={"list": [[0, 0.25, 0.75], [0, 0.5, 0.5], [0, 0.75, 0.25]]}))
    assert ids_by_k(lattice) == written


def test_ids_are_valid_names_and_stay_as_they_are() -> None:
    """Changed ids orphan every result that exists: this list changes only together with a new fingerprint of the data."""
    trials = trials_of(config_of())
    assert all(re.fullmatch(r"[0-9a-f]{16}", trial.trial_id) for trial in trials)
    assert [trial.trial_id for trial in trials_of(config_of())] == [trial.trial_id for trial in trials]


def test_trials_come_by_study_seed_and_preference() -> None:
    trials = trials_of(config_of(seeds=[5, 3], studies=[{"name": "b"}, {"name": "a", "model": "hps"}]))
    assert [(trial.study, trial.seed) for trial in trials[:: len(VECTORS)]] == [("b", 5), ("b", 3), ("a", 5), ("a", 3)]
    assert [list(trial.preference) for trial in trials[: len(VECTORS)]] == VECTORS


def test_a_trial_in_two_studies_is_planned_once_for_the_first() -> None:
    both = config_of(studies=[{"name": "a"}, {"name": "again", "preferences": {"list": [*VECTORS[:3], [0.75, 0.125, 0.125]]}}])
    trials = trials_of(both)
    assert len(trials) == len(ids(trials)) == 2 * (len(VECTORS) + 1)
    assert [trial.study for trial in trials].count("again") == 2


@pytest.mark.parametrize("limit", [1, 5, 12, 100])
def test_a_limit_takes_the_first_trials(limit: int) -> None:
    everything = trials_of(config_of())
    assert trials_of(config_of(), limit) == everything[:limit]
    plan = plan_packs(config_of(), trials_of(config_of(), limit), {}, [], 2)
    assert plan.n_todo == sum(len(pack.trials) for pack in plan.packs) == min(limit, len(everything))


def test_a_reference_point_of_zeros_is_none() -> None:
    """Manifests agree, so ids have to."""
    zeros = config_of(reference_point=[0, 0, 0])
    assert ids_by_k(zeros) == ids_by_k(config_of())
    assert manifest_of(zeros, "now") == manifest_of(config_of(), "now")


# -- anchor runs --------------------------------------------------------------------------------------------------------


def studies_of(config: SweepConfig) -> dict[str, set[str]]:
    """study -> ids of its trials."""
    found: dict[str, set[str]] = {}
    for trial in trials_of(config):
        found.setdefault(trial.study, set()).add(trial.trial_id)
    return found


def test_anchor_runs_are_one_dense_trial_a_task_before_all_others() -> None:
    studies = [{"name": "late", "after": "early", "model": "hps"}, {"name": "early"}, {"name": "other", "seeds": [7]}]
    config = config_of(reference_point="auto", studies=studies, seeds=[4, 5])
    trials = trials_of(config)
    assert [(trial.study, trial.preference, trial.seed) for trial in trials[:2]] == [
        ("anchor-runs", (0.0, 1.0, 0.0), 4),
        ("anchor-runs", (0.0, 0.0, 1.0), 4),
    ]
    assert len(trials) == 2 + (2 + 2 + 1) * len(VECTORS)
    anchors, *others = config.resolved_studies
    assert (anchors.name, anchors.model, anchors.after, anchors.training) == ("anchor-runs", "hps", (), config.training)
    assert {study.name: study.after for study in others} == {"early": ("anchor-runs",), "other": ("anchor-runs",), "late": ("early",)}
    plan = plan_packs(config, trials, {}, [], 2)
    check_packs(plan, {})
    assert {trial.study for pack in plan.packs for trial in pack.trials} == {"anchor-runs"}
    after = plan_packs(config, trials, dict.fromkeys(ids(trials[:2]), "ok"), [], 2)
    assert {trial.study for pack in after.packs for trial in pack.trials} == {"early", "other"}


def test_ids_say_which_anchor_runs_the_reference_point_comes_from() -> None:
    base = studies_of(config_of(reference_point="auto"))
    assert base["anchor-runs"].isdisjoint(base["main"])
    assert base["main"].isdisjoint(ids(trials_of(config_of())))
    more = studies_of(config_of(reference_point="auto", seeds=[0, 1, 2], preferences={"list": [*VECTORS, [0.5, 0.125, 0.375]]}))
    assert more["anchor-runs"] == base["anchor-runs"]
    assert more["main"] > base["main"]
    for change in ({"seeds": [1, 0]}, {"studies": [{"name": "first", "model": "hps"}, {"name": "main"}]}, {"scaling": "anchors"}):
        other = studies_of(config_of(reference_point="auto", **change))
        assert other["anchor-runs"].isdisjoint(base["anchor-runs"])
        assert other["main"].isdisjoint(base["main"]), "other anchor runs, so another reference point"


def test_the_manifest_says_which_anchor_runs_there_are() -> None:
    manifest = manifest_of(config_of(reference_point="auto", seeds=[3, 4]), "now")
    assert (manifest["reference_point"], manifest["reference_point_values"]) == ("auto", None)
    assert [(study["name"], study["after"], study.get("seed")) for study in manifest["studies"]] == [
        ("anchor-runs", None, 3),
        ("main", "anchor-runs", None),
    ]
    given = manifest_of(config_of(reference_point=[0, 0.5, 0.25]), "now")
    assert given["reference_point"] == given["reference_point_values"] == [0.0, 0.5, 0.25]


# -- problems without sparsity ------------------------------------------------------------------------------------------


def test_a_problem_without_sparsity_is_planned_with_k0_0() -> None:
    grid = {"problem": "analytic/zdt1", "preferences": {"list": [[0.25, 0.75], [1, 0]]}, "reference_point": "auto"}
    config = parse_config(grid)
    trials = trials_of(config)
    assert [(trial.study, trial.preference) for trial in trials] == [
        ("anchor-runs", (0.0, 1.0, 0.0)),
        ("anchor-runs", (0.0, 0.0, 1.0)),
        ("main", (0.0, 0.25, 0.75)),
        ("main", (0.0, 1.0, 0.0)),
    ]
    assert len(ids(trials)) == 4, "the same k, but another reference point"
    manifest = manifest_of(parse_config(grid | {"reference_point": [0.5, 0.25], "hypervolume_reference": [2, 2]}), "now")
    assert [objective["column"] for objective in manifest["objectives"]] == ["loss.validation.f1", "loss.validation.f2"]
    assert (manifest["reference_point_values"], manifest["hypervolume_box"]) == (
        [0.5, 0.25],
        {"axes": ["loss.validation.f1", "loss.validation.f2"], "ideal": [0.0, 0.0], "nadir": [2.0, 2.0], "origin": "grid file"},
    )


# -- packs --------------------------------------------------------------------------------------------------------------


def check_packs(plan: Plan, states: Mapping[str, str]) -> None:
    """What holds for every plan."""
    packed = [trial for pack in plan.packs for trial in pack.trials]
    todo = [trial for trial in plan.trials if trial.trial_id not in states]
    assert len(packed) == len(ids(packed)), "a trial is in two packs"
    assert len(packed) + plan.n_waiting == plan.n_todo == len(todo)
    assert ids(packed) <= ids(todo)
    assert len({pack.pack_id for pack in plan.packs}) == len(plan.packs)
    for pack in plan.packs:
        assert len({(trial.study, trial.seed, trial.is_dense) for trial in pack.trials}) == 1
        if pack.checkpoint is not None:
            assert ids(pack.trials) <= set(pack.checkpoint.trial_ids)


def test_packs_are_of_one_study_seed_and_kind() -> None:
    config = config_of(studies=[{"name": "a"}, {"name": "b", "model": "hps"}], resources={"pack": 100})
    plan = plan_packs(config, trials_of(config), {}, [], 2)
    check_packs(plan, {})
    assert sorted(len(pack.trials) for pack in plan.packs) == [2, 2, 2, 2, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("n_trials", "size", "n_workers", "sizes"),
    [
        (7, 3, 1, [3, 2, 2]),
        (9, 8, 1, [5, 4]),
        (8, 8, 1, [8]),
        (3, 50, 1, [3]),
        (5, 1, 1, [1] * 5),
        (7, 3, 2, [3, 2, 2]),
        (8, 8, 2, [8]),
        (3, 50, 16, [3]),
        (7, "auto", 2, [2, 2, 2, 1]),
        (12, "auto", 2, [3, 3, 3, 3]),
        (3, "auto", 16, [1, 1, 1]),
        (1, "auto", 16, [1]),
    ],
)
def test_packs_are_evenly_filled_and_auto_fills_the_workers(n_trials: int, size: int | str, n_workers: int, sizes: list[int]) -> None:
    config = config_of(preferences={"simplex": {"divisions": n_trials + 1, "k0": [0.25]}}, seeds=[0], resources={"pack": size})
    plan = plan_packs(config, trials_of(config), {}, [], n_workers)
    check_packs(plan, {})
    assert [len(pack.trials) for pack in plan.packs] == sizes


def test_auto_gives_every_worker_several_packs_and_short_epochs() -> None:
    config = config_of(resources={"pack": "auto"})
    n_trials = len(trials_of(config))
    assert len(plan_packs(config, trials_of(config), {}, [], 2).packs) >= 4
    assert pack_size(config, n_trials, n_workers=2) < n_trials
    large = pack_size(config, n_trials=10_000, n_workers=2)
    assert large >= 2
    assert large * 512 <= 100_000, "an epoch of a pack is short"
    assert pack_size(config_of(problem={"name": "multidigits", "n_train": 10**6}, resources={"pack": "auto"}), 10_000, 2) == 1
    assert pack_size(config, n_trials=0, n_workers=0) == 1


def test_on_gpus_each_worker_gets_one_large_pack() -> None:
    """Whatever the length of an epoch; sparse and dense trials apart, all of a kind alike."""
    config = config_of(problem={"name": "multidigits", "n_train": 50_000}, resources={"pack": "auto", "gpus": 0.5})
    assert pack_size(config, 90, n_workers=2) == 45
    assert pack_size(config, 90, n_workers=8) == 12
    assert pack_size(config, 90, n_workers=8, n_sweeps=2) == 23
    assert pack_size(config_of(resources={"pack": 7, "gpus": 1}), 90, n_workers=2) == 7


def test_the_gpus_of_this_machine_are_counted_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(resources={"gpus": 0.5, "cpus": 0.01, "memory": 1})
    for visible, n_gpus in (("GPU-aa", 1), ("GPU-aa,GPU-bb,-1", 2), ("", 0), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        workers = expected_workers(config, None)
        assert workers.n == 2 * n_gpus
        assert f"CUDA_VISIBLE_DEVICES={visible}" in workers.why


def test_sweeps_that_share_the_workers_make_few_packs() -> None:
    """Starting a pack costs seconds, and the packs of all sweeps together fill the workers."""
    config = config_of(preferences={"simplex": {"divisions": 41, "k0": [0.25]}}, seeds=[0], resources={"pack": "auto"})
    for n_sweeps, n_packs in ((1, 4), (2, 2), (4, 1), (40, 1)):
        plan = plan_packs(config, trials_of(config), {}, [], 2, n_sweeps)
        check_packs(plan, {})
        assert len(plan.packs) == n_packs
    few = plan_packs(config_of(resources={"pack": 3}), trials_of(config), {}, [], 2, 40)
    assert max(len(pack.trials) for pack in few.packs) == 3, "a size that is given stays"


def test_complete_sweeps_share_no_workers(tmp_path: Path) -> None:
    config = config_of(preferences={"simplex": {"divisions": 41, "k0": [0.25]}}, seeds=[0], resources={"pack": "auto"})
    stores = [Store(tmp_path / name) for name in "ab"]
    (done, plan) = plan_sweeps([(config, (), stores[0]), (config, trials_of(config), stores[1])], 2)
    assert (done.n_todo, len(plan.packs)) == (0, 4)
    assert [len(plan.packs) for plan in plan_sweeps([(config, trials_of(config), store) for store in stores], 2)] == [2, 2]
    assert list(tmp_path.iterdir()) == [], "planning writes nothing"


def test_a_pack_keeps_its_id_while_its_trials_stay() -> None:
    config = config_of()
    first, second = (plan_packs(config, trials_of(config), {}, [], 2) for _ in range(2))
    assert first == second
    fewer = plan_packs(config, trials_of(config), {first.packs[0].trials[0].trial_id: "ok"}, [], 2)
    assert fewer.packs[0].pack_id != first.packs[0].pack_id


def test_failed_trials_are_complete() -> None:
    config = config_of()
    trials = trials_of(config)
    states = {trials[0].trial_id: "diverged", trials[1].trial_id: "error", "0123456789abcdef": "ok"}
    plan = plan_packs(config, trials, states, [], 2)
    check_packs(plan, states)
    assert plan.complete == {trials[0].trial_id: "diverged", trials[1].trial_id: "error"}
    assert plan.n_todo == len(trials) - 2


# -- checkpoints --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 100, "auto"])
def test_a_checkpoint_is_adopted_first_whatever_the_pack_size(size: Any) -> None:
    old = trials_of(config_of())[2:5]
    config = config_of(resources={"pack": size})
    plan = plan_packs(config, trials_of(config), {}, [checkpoint_of(old)], 2)
    check_packs(plan, {})
    assert plan.packs[0].trials == old
    assert plan.packs[0].checkpoint == checkpoint_of(old)
    assert all(pack.checkpoint is None for pack in plan.packs[1:])


def test_what_is_complete_leaves_an_adopted_pack() -> None:
    config = config_of()
    trials = trials_of(config)
    states = {trials[3].trial_id: "ok"}
    plan = plan_packs(config, trials, states, [checkpoint_of(trials[2:5])], 2)
    check_packs(plan, states)
    assert plan.packs[0].trials == (trials[2], trials[4])


def test_of_two_checkpoints_of_a_trial_the_further_one_is_taken() -> None:
    config = config_of()
    trials = trials_of(config)
    near, far = checkpoint_of(trials[2:4], epoch=2, pack_id="pack-a"), checkpoint_of(trials[3:6], epoch=9, pack_id="pack-b")
    plan = plan_packs(config, trials, {}, [near, far], 2)
    check_packs(plan, {})
    assert [(pack.trials, pack.checkpoint) for pack in plan.packs[:2]] == [(trials[3:6], far), (trials[2:3], near)]


def test_a_checkpoint_of_trials_that_nobody_asks_for_is_left_alone() -> None:
    config = config_of()
    stranger = Checkpoint("pack-x", 1, 0, ("ffffffffffffffff",), 5, Path("x"))
    plan = plan_packs(config, trials_of(config), {}, [stranger], 2)
    check_packs(plan, {})
    assert all(pack.checkpoint is None for pack in plan.packs)


ALL = trials_of(config_of(studies=[{"name": "a"}, {"name": "b", "model": "hps"}]))
GROUPS: dict[tuple[str, int, bool], list[Trial]] = {}
for _trial in ALL:
    GROUPS.setdefault((_trial.study, _trial.seed, _trial.is_dense), []).append(_trial)


@st.composite
def checkpoints(draw: st.DrawFn) -> list[Checkpoint]:
    """Unfinished packs as earlier runs with other pack sizes may have left them; they may overlap."""
    found = []
    for number in range(draw(st.integers(0, 6))):
        group = draw(st.sampled_from(sorted(GROUPS)))
        members = draw(st.lists(st.sampled_from(GROUPS[group]), unique=True, min_size=1))
        found.append(checkpoint_of(members, draw(st.integers(0, 9)), f"pack-{number}"))
    return found


@pytest.mark.full
@given(
    done=st.sets(st.sampled_from(ALL)),
    found=checkpoints(),
    size=st.one_of(st.just("auto"), st.integers(1, 9)),
    n_workers=st.integers(1, 9),
    is_ordered=st.booleans(),
)
@settings(deadline=None, derandomize=True, max_examples=200)
def test_every_trial_left_is_in_exactly_one_pack(
    done: set[Trial], found: list[Checkpoint], size: Any, n_workers: int, is_ordered: bool
) -> None:
    config = config_of(
        studies=[{"name": "a"}, {"name": "b", "model": "hps"} | ({"after": "a"} if is_ordered else {})], resources={"pack": size}
    )
    states = {trial.trial_id: "ok" for trial in done}
    plan = plan_packs(config, ALL, states, found, n_workers)
    check_packs(plan, states)
    first_is_unfinished = any(trial.study == "a" and trial.trial_id not in states for trial in ALL)
    waiting = [trial for trial in ALL if trial.study == "b" and trial.trial_id not in states]
    assert plan.n_waiting == (len(waiting) if is_ordered and first_is_unfinished else 0)
    adopted = ids(trial for pack in plan.packs if pack.checkpoint for trial in pack.trials)
    ready = ids(trial for pack in plan.packs for trial in pack.trials)
    assert adopted == ready & {trial_id for checkpoint in found for trial_id in checkpoint.trial_ids}
    limit = pack_size(config, len(ready - adopted), n_workers)
    assert all(len(pack.trials) <= limit for pack in plan.packs if pack.checkpoint is None)


def test_a_checkpoint_whose_trials_came_to_two_studies_is_adopted_by_two_packs() -> None:
    """A study that is added in front of another one, and shares trials with it, becomes theirs."""
    alone = config_of(studies=[{"name": "b"}], seeds=[0])
    checkpoint = checkpoint_of(trials_of(alone)[2:])
    config = config_of(studies=[{"name": "a", "preferences": {"list": VECTORS[2:4]}}, {"name": "b"}], seeds=[0])
    plan = plan_packs(config, trials_of(config), {}, [checkpoint], 2)
    check_packs(plan, {})
    assert [(pack.trials[0].study, len(pack.trials)) for pack in plan.packs if pack.checkpoint == checkpoint] == [("a", 2), ("b", 2)]


# -- studies that wait --------------------------------------------------------------------------------------------------


def test_a_study_waits_for_the_one_it_comes_after() -> None:
    config = config_of(studies=[{"name": "late", "model": "hps", "after": "early"}, {"name": "early"}], seeds=[0])
    trials = trials_of(config)
    plan = plan_packs(config, trials, {}, [], 2)
    check_packs(plan, {})
    assert {trial.study for pack in plan.packs for trial in pack.trials} == {"early"}
    assert plan.n_waiting == len(VECTORS)
    early = {trial.trial_id: "ok" for trial in trials if trial.study == "early"}
    almost = dict(list(early.items())[1:])
    assert plan_packs(config, trials, almost, [], 2).n_waiting == len(VECTORS)
    after = plan_packs(config, trials, early, [], 2)
    assert after.n_waiting == 0
    assert {trial.study for pack in after.packs for trial in pack.trials} == {"late"}


def test_a_failed_trial_lets_the_next_study_start() -> None:
    config = config_of(studies=[{"name": "early"}, {"name": "late", "model": "hps", "after": "early"}], seeds=[0])
    trials = trials_of(config)
    states = {trial.trial_id: "diverged" for trial in trials if trial.study == "early"}
    assert plan_packs(config, trials, states, [], 2).n_waiting == 0


def test_a_checkpoint_of_a_waiting_study_waits_too() -> None:
    config = config_of(studies=[{"name": "early"}, {"name": "late", "model": "hps", "after": "early"}], seeds=[0])
    trials = trials_of(config)
    late = [trial for trial in trials if trial.study == "late"]
    plan = plan_packs(config, trials, {}, [checkpoint_of(late[2:4])], 2)
    check_packs(plan, {})
    assert all(pack.checkpoint is None for pack in plan.packs)


# -- size ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", ["simplex", "list"])
def test_twenty_thousand_trials_are_planned(grid: str) -> None:
    started = time.perf_counter()
    k0 = [0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256]
    simplex = {"simplex": {"divisions": 501, "k0": k0}}
    written = {"list": [[value, (1 - value) * i / 512, (1 - value) * (512 - i) / 512] for value in k0 for i in range(1, 501)]}
    config = config_of(preferences=simplex if grid == "simplex" else written, seeds=list(range(4)), resources={"pack": "auto"})
    trials = trials_of(config)
    states = {trial.trial_id: "ok" for trial in trials[::3]}
    plan = plan_packs(config, trials, states, [checkpoint_of(trials[1:3])], 16)
    print(f"{len(trials)} trials, {len(plan.packs)} packs in {time.perf_counter() - started:.2f} s")
    assert len(trials) == 20_000
    check_packs(plan, states)


# -- facts about a plan -------------------------------------------------------------------------------------------------


NOT_IDENTITY = ("name", "hypervolume_box", "studies")


def test_the_manifest_says_what_the_ids_depend_on() -> None:
    """Two grids whose manifests agree have equal ids for equal (study, seed, k), and the other way round."""
    base = manifest_of(config_of(), "now")
    for change in RESULT_DEPENDS_ON.values():
        assert manifest_of(config_of(**change), "now") != base
    identity = {key: value for key, value in base.items() if key not in NOT_IDENTITY}
    for change in RESULT_DOES_NOT_DEPEND_ON.values():
        other = manifest_of(config_of(**change), "now")
        assert {key: value for key, value in other.items() if key in identity} == identity
