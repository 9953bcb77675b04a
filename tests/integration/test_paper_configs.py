"""The grid files of the paper's experiments: its constants, and a short run of each on small files in the original formats."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweep_process import rows_of

import sweep
from sweep.grid.load import SweepConfig, load_config
from sweep.planning.trials import trials_of
from sweep.store.store import Store
from trainer.settings import LagrangianSettings, RetrainSettings, SparsifySettings, TrainingSettings

CONFIGS = Path(sweep.__file__).parents[1] / "configs"
NAMES = [f"{problem}-{model}" for problem in ("multimnist", "multifashion", "cifar10mnist") for model in ("mdmtn", "hps")]
SIZES = {"n_train": 40, "n_validation": 12, "n_test": 11}
ONCE = {"outer_iterations": 1, "epochs": 1}


@pytest.mark.parametrize("name", NAMES)
def test_the_constants_are_the_papers(name: str) -> None:
    """The table of docs/method.md and of the paper's appendix; everything else is our default, the penalty too."""
    is_cifar, is_mdmtn = name.startswith("cifar"), name.endswith("mdmtn")
    least, cap = (0.2 if is_mdmtn else 0.1, 0.8) if not is_cifar else (0.1 if is_mdmtn else 0.05, 0.3 if is_mdmtn else 0.15)
    ours = TrainingSettings()
    expected = replace(
        ours,
        learning_rate=1e-4 if is_cifar else 2.5e-3,
        learning_rate_decay=0.98 if is_cifar else 0.5,
        batch_size=256,
        augmentation=1e-4,
        lagrangian=LagrangianSettings(penalty_growth=2),
        sparsify=SparsifySettings(outer_iterations=3, epochs=3),
        retrain=RetrainSettings(outer_iterations=10, epochs=3),
        growl=replace(ours.growl, sparsity_min=least, layer_sparsity_max=cap),
        tying=replace(ours.tying, preference=0.8 if is_cifar else 0.7),
    )
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.training == expected
    assert config.training.lagrangian.penalty is None
    (study,) = config.resolved_studies
    assert len(study.preferences) == 90
    assert (config.name, config.output, config.problem.name) == (name, f"results/{name}", name.partition("-")[0])
    assert (study.model, study.method, study.seeds) == (name.partition("-")[2], "wcal_growl", (0,))
    options = config.problem.options
    assert (options.n_train, options.n_validation, options.n_test) == (40_000 if is_cifar else 50_000, 10_000, 10_000)


def write_override(folder: Path, original_data: Path, **more: Any) -> Path:
    """Small data, one epoch a phase; `problem` and `training` are merged key by key over those of the grid file."""
    changes = {
        "problem": {"root": str(original_data), "cache": str(folder / "cache"), **SIZES},
        "training": {"batch_size": 20, "sparsify": ONCE, "retrain": ONCE, "lsuv": {"n_samples": 20}},
        "resources": {"memory": "1GB"},
        **more,
    }
    path = folder / f"override{len(more)}.yaml"
    path.write_text(json.dumps(changes), encoding="utf-8")
    return path


def check(config: SweepConfig, original_data: Path) -> None:
    """Two trials are complete, with everything that a row says; the constants that no override touched are the file's."""
    root = Path(config.output)
    store = Store(root)
    expected = [trial.trial_id for trial in trials_of(config, 2)]
    assert store.complete() == dict.fromkeys(expected, "ok")
    assert store.verify() == []
    assert (root / "report.html").exists()
    manifest = store.manifest()
    assert manifest is not None
    assert manifest["problem"]["name"] == config.problem.name
    assert manifest["problem"]["options"] | SIZES == manifest["problem"]["options"]
    assert manifest["problem"]["options"]["root"] == str(original_data)
    for row in rows_of(root).values():
        assert (row["problem"], row["model"]) == (config.problem.name, config.model)
        assert row["n_epochs"] == 2
        assert row["n_params"] > 22_000


@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("names", [["cifar10mnist-mdmtn"], pytest.param(NAMES, marks=pytest.mark.slow)], ids=["one", "all six"])
def test_they_run_shortened(names: list[str], tmp_path: Path, original_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one Ray: of MultiMNIST the first two of the paper's vectors, which are dense; of the others two sparse ones."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CONFIGS.parent), os.environ.get("PYTHONPATH", "")]))
    dense = write_override(tmp_path, original_data)
    sparse = write_override(tmp_path, original_data, preferences={"list": [[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]]})
    configs = [
        load_config(CONFIGS / f"{name}.yaml", override=dense if name.startswith("multimnist") else sparse, out=tmp_path / "out" / name)
        for name in names
    ]
    sweep.run_all(configs, dashboard=False, limit=2, quiet=True)
    for config in configs:
        check(config, original_data)
        for row in rows_of(Path(config.output)).values():
            assert (row["sparsity_rate"] > 0) is (row["k_0"] > 0)
            assert max(dict(row["layer_sparsity"]).values()) <= config.training.growl.layer_sparsity_max
