"""A small problem and short schedules, shared by the trainer's tests."""

import pytest
import torch

from trainer.api import Problem, TrainingSettings
from trainer.catalog import PROBLEMS
from trainer.settings import GrowlSettings, LsuvSettings, RetrainSettings, SparsifySettings


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def problem() -> Problem:
    entry = PROBLEMS["multidigits"]
    built: Problem = entry.build(entry.options(n_train=512, n_validation=128, n_test=128))
    return built


@pytest.fixture
def short() -> TrainingSettings:
    """Four epochs; the prox is strong enough that k0 = 0.05 prunes in the first of them."""
    return TrainingSettings(
        batch_size=128,
        learning_rate=1e-2,
        sparsify=SparsifySettings(outer_iterations=2, epochs=1),
        retrain=RetrainSettings(outer_iterations=1, epochs=2),
        growl=GrowlSettings(sparsity_min=0.1),
        lsuv=LsuvSettings(n_samples=256),
    )
