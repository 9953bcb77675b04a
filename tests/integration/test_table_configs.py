"""The grid files of Table I: what they hold, and one of them shortened, run by a real Ray from teachers to the second study."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from sweep_process import rows_of, sweep_command, sweep_process

import sweep
from sweep.grid.load import load_config
from sweep.store.store import Store
from trainer.catalog import METHODS

CONFIGS = Path(sweep.__file__).parents[1] / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("table1-*.yaml"))
ROWS_OF_THE_PAPER = {
    *(("hps", method) for method in ("mgda", "wcal_growl")),
    *(("mdmtn", method) for method in ("mgda", "wcal_growl")),
    *(("kdmtl", "kdmtl"), ("mtan", "wcal_growl"), ("stl", "stl")),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_papers_table_is_there_and_more(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    studies = config.resolved_studies
    assert {(study.model, study.method) for study in studies} >= ROWS_OF_THE_PAPER
    assert {study.method for study in studies} == set(METHODS)
    ours = [study for study in studies if study.method == "wcal_growl" and study.name in ("hps", "mdmtn")]
    assert all({vector[0] == 0 for vector in study.preferences if vector} == {True, False} for study in ours)
    assert config.output == f"results/{name}"


def test_the_papers_schedules_are_in_the_grid_files_of_its_data() -> None:
    studies = {study.name: study for study in load_config(CONFIGS / "table1-multimnist.yaml").resolved_studies}
    mgda, stl = studies["mdmtn-mgda"], studies["stl"].training
    assert (mgda.training.optimizer, mgda.training.learning_rate, mgda.training.learning_rate_decay) == ("sgd", 1e-2, 0.5)
    assert (mgda.training.one_phase.epochs, mgda.training.one_phase.decay_every, mgda.training.one_phase.momentum) == (100, 30, 0.9)
    assert len(mgda.seeds) == 10
    assert (stl.learning_rate, stl.learning_rate_decay, stl.one_phase.epochs, stl.one_phase.decay_every) == (1e-2, 0.5, 100, 30)
    kdmtl = [studies[f"kdmtl-search.{i}"].training for i in range(1, 6)]
    assert [training.distillation.weights for training in kdmtl] == [(0.01, 0.04), (0.04, 0.01), (0.02, 0.03), (0.03, 0.02), (0.025, 0.025)]
    assert {(training.data_share, training.one_phase.epochs) for training in kdmtl} == {(0.2, 200)}
    assert (kdmtl[0].distillation.adaptor_learning_rate, kdmtl[0].distillation.adaptor_weight_decay) == (1e-4, 5e-4)
    assert {studies[f"mtan-search.{i}"].training.learning_rate for i in range(1, 6)} == {1e-5, 1e-4, 1e-3, 1e-2, 1e-1}
    assert studies["mtan-search.1"].training.data_share == 0.5
    cifar = {study.name: study for study in load_config(CONFIGS / "table1-cifar10mnist.yaml").resolved_studies}
    assert len(cifar["hps-mgda"].seeds) == 5
    assert (cifar["stl"].training.learning_rate_decay, cifar["stl"].training.one_phase.decay_every) == (0.98, 1)


def shortened(node: Any) -> Any:
    """The same studies with few and short epochs, few vectors, and a prox that prunes at once."""
    if isinstance(node, list):
        return [shortened(item) for item in node]
    if not isinstance(node, dict):
        return node
    small = {key: shortened(value) for key, value in node.items()}
    for key, value in {"epochs": 1, "outer_iterations": 1, "generations": 2, "decay_every": 1}.items():
        if key in small:
            small[key] = value
    if "preferences" in small:
        simplex = small["preferences"].get("simplex", {})
        small["preferences"] = {"list": [[0, 0.5, 0.5], [0, 0.25, 0.75], *([[0.5, 0.25, 0.25]] if len(simplex.get("k0", [])) > 1 else [])]}
    return small


@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_the_table_of_multidigits_runs_from_teachers_to_the_second_study_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    pytest.importorskip("pymoo", reason="not run: needs pymoo")
    grid = shortened(YAML(typ="safe").load(CONFIGS / "table1-multidigits.yaml"))
    grid["problem"] = {"name": "multidigits", "n_train": 256, "n_validation": 64, "n_test": 64}
    grid |= {"seeds": [0], "output": "out", "resources": {"checkpoint_s": 0}}
    grid["training"] |= {"batch_size": 64, "lsuv": {"n_samples": 64}}
    grid["studies"] = [study for study in grid["studies"] if not study["name"].startswith(("mdmtn", "hps-weighted", "mtan"))]
    for study in grid["studies"]:
        if study["name"] in ("stl", "kdmtl"):
            study["seeds"] = [0, 1]
        if "candidates" in study:
            study["candidates"] = study["candidates"][:2]
    (tmp_path / "grid.yaml").write_text(json.dumps(grid), encoding="utf-8")
    root = tmp_path / "out"
    with sweep_process("run", "grid.yaml", "--no-dashboard", folder=tmp_path) as process:
        process.until(lambda: len(Store(root).complete()) >= 3, "a few complete trials")
        process.process.kill()  # the supervisor: nothing of it says goodbye
        process.until_all_are_gone(60)
    before = rows_of(root)
    ended = sweep_command("run", "grid.yaml", "--no-dashboard", folder=tmp_path, timeout=500)
    assert ended.code == 0, ended.stderr
    rows = rows_of(root)
    assert before.items() <= rows.items()
    config = load_config(tmp_path / "grid.yaml")
    by_study: dict[str, list[dict[str, Any]]] = {}
    for row in rows.values():
        by_study.setdefault(row["study"], []).append(row)
    assert set(by_study) == {study.name for study in config.resolved_studies}
    assert {row["state"] for row in rows.values()} == {"ok"}
    for study in config.resolved_studies:
        assert len(by_study[study.name]) == len(study.seeds) * len(study.preferences)
        assert all((row["k"] is None) == (study.preferences == (None,)) for row in by_study[study.name])
    blobs = {row["trial_id"]: row["seed"] for row in by_study["stl"]}
    for row in by_study["kdmtl"]:
        (teacher,) = row["taken_over"]
        assert any(teacher in note for note in row["notes"])
        assert blobs[teacher] == row["seed"]
    assert any("best candidate of kdmtl-search" in note for note in by_study["kdmtl"][0]["notes"])
    sparse = {row["trial_id"]: row["sparsity_rate"] for row in by_study["hps"] if row["sparsity_rate"] > 0}
    for row in by_study["hps-fixed"]:
        (origin,) = row["taken_over"]
        assert row["sparsity_rate"] == pytest.approx(sparse[origin])
    assert Store(root).verify() == []
    table = sweep_command("table", "out", "--format", "csv", folder=tmp_path)
    assert table.code == 0, table.stderr
    assert len(table.stdout.splitlines()) >= 8
    assert "Methods" in (root / "report.html").read_text(encoding="utf-8")
