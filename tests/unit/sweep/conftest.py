"""The problem that small packs share, and a record of the trainings that are started."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import trainer.api
from trainer.catalog import PROBLEMS


@pytest.fixture(scope="module")
def shared_problem() -> Any:
    """Each PackRun of `pack_jobs.py` builds its problem; the tests of a module share one, and one thread."""
    torch.set_num_threads(1)
    entry = PROBLEMS["multidigits"]
    options = entry.options(n_train=256, n_validation=64, n_test=64)
    problem = entry.build(options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(entry), "build", lambda self, asked: problem if asked == options else entry.build(asked))
        yield


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], int]]:
    """(trial ids, epoch at which it begins) of each training that is started."""
    started: list[tuple[tuple[str, ...], int]] = []
    start = trainer.api.start

    def spying(specs: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        training = start(specs, *arguments, **named)
        started.append((tuple(spec.trial_id for spec in specs), training.epoch))
        return training

    monkeypatch.setattr(trainer.api, "start", spying)
    return started
