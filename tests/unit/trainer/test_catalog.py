"""The registry of methods: one entry is all that planning, training, export and tables need to know of a method."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from analysis.method_table.formats import method_text
from analysis.method_table.table import method_table
from analysis.results.table import read_results
from sweep.artifacts.networks import TrainedTrials
from sweep.errors import SweepError
from sweep.grid.load import ConfigError, parse_config
from sweep.planning.manifest import manifest_of
from sweep.planning.pack_job import PackJob, TrialJob
from sweep.planning.packs import plan_packs
from sweep.planning.trials import trials_of
from sweep.store.store import Store
from sweep.worker.pack_run import PackRun
from trainer.catalog import METHODS, MethodEntry, read_by
from trainer.methods.one_phase import OnePhase
from trainer.settings import TrainingSettings

GRID: dict[str, Any] = {
    "problem": {"name": "multidigits", "n_train": 128, "n_validation": 32, "n_test": 32},
    "model": "hps",
    "method": "toy",
    "preferences": {"list": [[0, 0.5, 0.5], [0, 0.2, 0.8]]},
    "training": {"batch_size": 64, "one_phase": {"epochs": 2}, "lsuv": {"n_samples": 32}},
}


class Toy(OnePhase):
    """Minimises the plain sum of the task losses, whatever the preference."""

    def _backward(self, inputs: Tensor, targets: Tensor, generator: Generator) -> Tensor:
        return self.pack.backward_of_sum(inputs, targets)


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = frozenset(("batch_size", "learning_rate", "optimizer", "one_phase", "growl", "lsuv"))
    entry = MethodEntry(f"{__name__}:Toy", label="Toy method", reads=reads, compression_obstacle="its network is a toy")
    monkeypatch.setitem(METHODS, "toy", entry)


@pytest.mark.usefixtures("_toy")
def test_a_method_that_is_registered_in_one_place_is_planned_trained_and_shown(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = parse_config(GRID | {"output": str(tmp_path / "results")})
    store = Store(tmp_path / "results")
    store.create(manifest_of(config, "2026-01-31T12:00:00+00:00"))
    trials = trials_of(config)
    for pack in plan_packs(config, trials, {}, (), n_workers=1).packs:
        run = PackRun(
            PackJob(
                root=str(store.root),
                attempt=1,
                pack_id=pack.pack_id,
                problem="multidigits",
                problem_options=dataclasses.asdict(config.problem.options),
                study="main",
                model="hps",
                method="toy",
                training=dataclasses.asdict(config.training),
                scaling="none",
                reference_point=None,
                seed=0,
                trials=[TrialJob(trial.trial_id, trial.preference) for trial in pack.trials],
            )
        )
        while not run.step():
            pass
    table = read_results(store.root)
    assert table.frame["state"].tolist() == ["ok", "ok"]
    assert "Toy method" in method_text(method_table([table]), "text")
    networks = TrainedTrials(store, config)
    row = networks.row(trials[0].trial_id)
    with pytest.raises(SweepError, match=r"its network is a toy \(method toy\), and is not compressed"):
        networks.network(row)


@pytest.mark.usefixtures("_toy")
def test_only_the_settings_that_a_method_reads_identify_its_trials() -> None:
    ids = [
        [trial.trial_id for trial in trials_of(parse_config(GRID | {"training": GRID["training"] | change}))]
        for change in ({}, {"cosmos": {"cosine": 1.0}}, {"learning_rate": 0.1})
    ]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])
    assert "cosmos" not in read_by("toy", TrainingSettings())


def test_a_method_that_is_not_registered_is_refused_with_all_that_are() -> None:
    with pytest.raises(ConfigError, match=f"one of {', '.join(METHODS)} expected"):
        parse_config(GRID | {"method": "mgdaa"})


@pytest.mark.parametrize("method", METHODS)
def test_an_entry_agrees_with_itself_and_with_the_settings(method: str) -> None:
    entry = METHODS[method]
    assert entry.reads <= {item.name for item in dataclasses.fields(TrainingSettings)}
    assert (entry.inherits is None) == (entry.inherits_from is None)
    assert entry.inherits_from is None or entry.inherits_from in METHODS
    assert entry.model is not None or not entry.owns_model
    assert entry.has_preferences or not entry.prunes


def test_the_label_follows_the_scalarization_where_the_method_has_one() -> None:
    labels = {
        name: METHODS["wcal_growl"].label_of(TrainingSettings(scalarization=name))  # type: ignore[arg-type]
        for name in ("chebyshev_al", "weighted_sum", "smooth_chebyshev", "paper")
    }
    assert labels == {
        "chebyshev_al": "WC-AL",
        "weighted_sum": "Weighted sum",
        "smooth_chebyshev": "Smooth Chebyshev",
        "paper": "WC-AL (paper's Lagrangian)",
    }
    assert METHODS["mgda"].label_of(TrainingSettings(scalarization="weighted_sum")) == "MGDA"
