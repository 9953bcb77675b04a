"""What a study has from earlier ones: searches and their best candidate, teachers, sparse networks; ids, order, faults."""

from pathlib import Path
from typing import Any

import pytest

from sweep.grid.load import Study, SweepConfig, dump_config, parse_config
from sweep.planning.inherit import inherit
from sweep.planning.manifest import manifest_of
from sweep.planning.packs import plan_packs
from sweep.planning.trials import Trial, trials_of
from sweep.store.manifest import selection_of, selection_rule
from trainer.settings import TrainingSettings

TASKS = {"simplex": {"divisions": 4, "k0": [0]}}
WEIGHTS = [[0.01, 0.04], [0.04, 0.01], [0.02, 0.03]]
STUDIES: list[dict[str, Any]] = [
    {"name": "kdmtl", "method": "kdmtl", "after": ["stl", "search"], "training": {"learning_rate": 2e-3}},
    {
        "name": "search",
        "method": "kdmtl",
        "after": "stl",
        "seeds": [0],
        "training": {"data_share": 0.2, "learning_rate": 1e-3},
        "candidates": [{"distillation": {"weights": weights}} for weights in WEIGHTS],
    },
    {"name": "stl", "method": "stl"},
    {"name": "ours", "model": "hps", "preferences": {"list": [[0, 0.5, 0.5], [0.1, 0.5, 0.4]]}},
    {"name": "second", "model": "hps", "method": "fixed_architecture", "preferences": TASKS, "after": "ours"},
    {"name": "evolved", "model": "hps", "method": "moead", "preferences": TASKS, "after": "ours"},
]


def config_of(studies: list[dict[str, Any]] = STUDIES, **changes: Any) -> SweepConfig:
    return parse_config({"problem": {"name": "multidigits", "n_train": 512}, "seeds": [0, 1], "studies": studies} | changes)


def study_of(config: SweepConfig, name: str) -> Study:
    return next(study for study in config.resolved_studies if study.name == name)


def row(study: str, accuracy: float | None, seed: int = 0, **changes: Any) -> dict[str, Any]:
    losses = {f"loss.validation.{task}": 1.0 for task in ("left", "right")}
    base = {
        "trial_id": f"{study}-{seed}-{accuracy}",
        "state": "ok",
        "k": None,
        "sparsity_rate": 0.0,
        "weights_sha256": f"{study}-{accuracy}",
    }
    return (
        base
        | losses
        | {"study": study, "seed": seed, "accuracy.validation.mean": accuracy, "k_0": (changes.get("k") or [None])[0]}
        | changes
    )


def taken(name: str, rows: list[dict[str, Any]], seed: int = 0, config: SweepConfig | None = None) -> Any:
    config = config or config_of()
    studies = {study.name: study for study in config.resolved_studies}
    return inherit(study_of(config, name), seed, studies, rows, selection_of(manifest_of(config, "now")))


def test_a_search_is_a_study_a_candidate() -> None:
    studies = config_of().resolved_studies
    assert [study.name for study in studies] == ["stl", "search.1", "search.2", "search.3", "kdmtl", "ours", "second", "evolved"]
    assert [study.training.distillation.weights for study in studies[1:4]] == [tuple(weights) for weights in WEIGHTS]
    assert {(study.training.data_share, study.training.learning_rate, study.candidate_of) for study in studies[1:4]} == {
        (0.2, 1e-3, "search")
    }
    kdmtl = study_of(config_of(), "kdmtl")
    assert kdmtl.after == ("stl", "search.1", "search.2", "search.3")
    assert (kdmtl.tuned_by, kdmtl.searched) == ("search", (("distillation", "weights"),))


def test_methods_have_the_model_and_the_trials_that_they_need() -> None:
    trials: dict[str, list[Trial]] = {}
    for trial in trials_of(config_of()):
        trials.setdefault(trial.study, []).append(trial)
    assert {study.name: study.model for study in config_of().resolved_studies if study.name in ("stl", "kdmtl")} == {
        "stl": "stl",
        "kdmtl": "kdmtl",
    }
    assert [(trial.preference, trial.seed) for trial in trials["stl"]] == [(None, 0), (None, 1)]
    assert len(trials["search.2"]) == 1
    assert len(trials["second"]) == 2 * 3
    assert all(trial.is_dense for trial in trials["stl"] + trials["second"])


def test_a_dump_reads_back_equal(tmp_path: Path) -> None:
    config = config_of()
    path = tmp_path / "grid.yaml"
    path.write_text(dump_config(config))
    from sweep.grid.load import load_config

    again = load_config(path)
    assert again.resolved_studies == config.resolved_studies
    assert manifest_of(again, "now") == manifest_of(config, "now")


def test_nothing_starts_before_what_it_takes_over() -> None:
    config = config_of()
    trials = trials_of(config)

    def ready(*complete: str) -> set[str]:
        states = {trial.trial_id: "ok" for trial in trials if trial.study in complete}
        return {trial.study for pack in plan_packs(config, trials, states, [], 2).packs for trial in pack.trials}

    searches = ("search.1", "search.2", "search.3")
    assert ready() == {"stl", "ours"}
    assert ready("stl") == {*searches, "ours"}
    assert ready("stl", *searches[:2], "ours") == {"search.3", "second", "evolved"}
    assert ready("stl", *searches, "ours") == {"kdmtl", "second", "evolved"}


def test_one_network_for_many_vectors_is_one_pack_a_seed() -> None:
    config = config_of([{"name": "c", "method": "cosmos", "preferences": {"simplex": {"divisions": 20, "k0": [0]}}}], resources={"pack": 2})
    packs = plan_packs(config, trials_of(config), {}, [], 8).packs
    assert [len(pack.trials) for pack in packs] == [19, 19]
    assert [{trial.seed for trial in pack.trials} for pack in packs] == [{0}, {1}]


def ids_of(config: SweepConfig, study: str, seed: int = 0) -> list[str]:
    return [trial.trial_id for trial in trials_of(config) if (trial.study, trial.seed) == (study, seed)]


def changed(name: str, **changes: Any) -> SweepConfig:
    return config_of([study | (changes if study["name"] == name else {}) for study in STUDIES])


def test_an_id_depends_on_all_that_is_inherit_and_on_nothing_else() -> None:
    config = config_of()
    other_teachers = changed("stl", training={"learning_rate": 0.1})
    assert set(ids_of(config, "kdmtl")).isdisjoint(ids_of(other_teachers, "kdmtl"))
    assert ids_of(config, "second") == ids_of(other_teachers, "second")
    longer_search = changed("search", candidates=[{"distillation": {"weights": weights}} for weights in [*WEIGHTS, [0.1, 0.1]]])
    assert set(ids_of(config, "kdmtl")).isdisjoint(ids_of(longer_search, "kdmtl"))
    assert ids_of(config, "stl") == ids_of(longer_search, "stl")
    larger_front = changed("ours", preferences={"list": [[0, 0.5, 0.5], [0.1, 0.5, 0.4], [0.2, 0.4, 0.4]]})
    assert set(ids_of(config, "second")).isdisjoint(ids_of(larger_front, "second"))
    more_seeds = changed("ours", seeds=[0, 1, 2])
    for study in ("second", "kdmtl", "evolved"):
        assert ids_of(config, study) == ids_of(more_seeds, study)
    assert len({trial.trial_id for trial in trials_of(config)}) == len(trials_of(config))


def test_evolution_depends_on_the_whole_grid_and_others_do_not() -> None:
    fewer = [
        study | ({"preferences": {"simplex": {"divisions": 2, "k0": [0]}}} if study["name"] in ("second", "evolved") else {})
        for study in STUDIES
    ]
    config, small = config_of(), config_of(fewer)
    assert set(ids_of(small, "second")) < set(ids_of(config, "second"))
    assert set(ids_of(small, "evolved")).isdisjoint(ids_of(config, "evolved"))


def test_settings_that_a_method_does_not_read_change_no_id() -> None:
    config = config_of()
    assert ids_of(config, "stl") == ids_of(config_of(training={"sparsify": {"epochs": 7}, "tying": {"preference": 0.1}}), "stl")
    assert ids_of(config, "ours") == ids_of(config_of(training={"one_phase": {"epochs": 7}, "cosmos": {"cosine": 1}}), "ours")


def test_the_best_candidate_on_validation_data_settles_what_was_searched() -> None:
    teacher = row("stl", 0.9)
    rows = [
        teacher,
        row("search.1", 0.7),
        row("search.2", 0.8, **{"accuracy.test.mean": 0.1}),
        row("search.3", 0.75, **{"accuracy.test.mean": 0.99}),
    ]
    found = taken("kdmtl", rows)
    assert found.training.distillation.weights == (0.04, 0.01)
    assert (found.training.learning_rate, found.training.data_share) == (2e-3, 1.0)  # the study's own, not the search's
    assert (found.weights_sha256, found.trial_ids) == (teacher["weights_sha256"], (teacher["trial_id"],))
    assert found.notes[0] == "settings of search.2, the best candidate of search on validation data"
    assert found.notes[1].startswith("teachers: the networks of trial stl-0-0.9 (study stl, seed 0)")
    assert found.fault is None


def test_a_candidate_that_failed_once_is_not_the_best() -> None:
    rows = [row("stl", 0.9), row("search.1", 0.7), row("search.2", 0.8), row("search.2", None, state="diverged"), row("search.3", 0.6)]
    assert taken("kdmtl", rows).training.distillation.weights == (0.01, 0.04)
    failed = [row("stl", 0.9), *(row(f"search.{i}", None, state="diverged") for i in (1, 2, 3))]
    assert taken("kdmtl", failed).fault == "no candidate of search ended ok"


def test_networks_come_from_the_same_seed() -> None:
    rows = [row("stl", 0.9, seed=0), row("stl", 0.8, seed=1), *(row(f"search.{i}", 0.5) for i in (1, 2, 3))]
    assert [taken("kdmtl", rows, seed).weights_sha256 for seed in (0, 1)] == ["stl-0.9", "stl-0.8"]
    assert taken("kdmtl", rows, 7).weights_sha256 == "stl-0.9"  # no such seed: the best of all


def test_the_architecture_is_that_of_the_best_sparse_trial_and_evolution_begins_from_the_best_dense_one() -> None:
    rows = [
        row("ours", 0.97, k=[0.0, 0.5, 0.5]),
        row("ours", 0.93, k=[0.0, 0.2, 0.8]),
        row("ours", 0.94, k=[0.1, 0.5, 0.4], sparsity_rate=0.5),
        row("ours", 0.95, k=[0.01, 0.5, 0.49], sparsity_rate=0.3),
        row("ours", 0.99, k=[0.2, 0.4, 0.4], sparsity_rate=0.6, state="error"),
    ]
    second = taken("second", rows)
    assert second.weights_sha256 == "ours-0.95"
    assert second.notes == ("the sparse architecture of trial ours-0-0.95 (study ours, seed 0, k = (0.01, 0.5, 0.49))",)
    assert taken("evolved", rows).weights_sha256 == "ours-0.97"
    assert "with a suppressed row, but no such trial ended ok" in taken("second", rows[:2]).fault
    assert "with k0 = 0, but no such trial ended ok" in taken("evolved", rows[2:]).fault


def test_evolution_begins_from_k0_of_0_and_not_from_what_merely_was_not_pruned() -> None:
    rows = [row("ours", 0.97, k=[0.1, 0.5, 0.4]), row("ours", 0.95, k=[0.0, 0.5, 0.5])]
    assert taken("evolved", rows).weights_sha256 == "ours-0.95"


def test_a_trial_without_a_sparsity_rate_gives_no_architecture() -> None:
    assert taken("second", [row("ours", 0.9, k=[0.0, 0.5, 0.5], sparsity_rate=None)]).fault is not None


def test_an_architecture_that_is_as_sparse_as_was_asked_for_comes_first() -> None:
    rows = [row("ours", 0.97, sparsity_rate=0.01, sparsity_reached=False), row("ours", 0.95, sparsity_rate=0.4, sparsity_reached=True)]
    assert taken("second", rows).weights_sha256 == "ours-0.95"
    assert taken("second", rows[:1]).weights_sha256 == "ours-0.97"


def test_without_accuracies_the_least_mean_loss_counts_each_in_units_of_a_guess() -> None:
    """In plain numbers trial 0 has the lower mean loss; relative to the constant guesses 10 and 0.1, trial 1 has."""
    losses = [{"loss.validation.left": 1.0, "loss.validation.right": 0.1}, {"loss.validation.left": 2.0, "loss.validation.right": 0.05}]
    rows = [row("ours", None, sparsity_rate=0.1, weights_sha256=str(i), **values) for i, values in enumerate(losses)]
    config, metrics = config_of(), dict.fromkeys(("left", "right"), "root mean squared error")
    for guesses, best in (((1.0, 1.0), "0"), ((10.0, 0.1), "1")):
        rule = selection_rule(("left", "right"), metrics, guesses)
        assert inherit(study_of(config, "second"), 0, {s.name: s for s in config.resolved_studies}, rows, rule).weights_sha256 == best


def test_the_manifest_says_what_comes_after_what_and_what_was_searched() -> None:
    studies = {study["name"]: study for study in manifest_of(config_of(), "now")["studies"]}
    assert studies["stl"]["after"] is None
    assert studies["second"]["after"] == "ours"
    assert studies["kdmtl"]["after"] == ["stl", "search.1", "search.2", "search.3"]
    assert (studies["kdmtl"]["tuned_by"], studies["search.1"]["candidate_of"]) == ("search", "search")
    assert "candidate_of" not in studies["kdmtl"]
    assert set(studies["stl"]["training"]) < set(TrainingSettings.__dataclass_fields__)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_limit_takes_whole_studies_before_what_waits_for_them(limit: int) -> None:
    assert {trial.study for trial in trials_of(config_of(), limit)} <= {"stl", "search.1", "search.2", "search.3"}
