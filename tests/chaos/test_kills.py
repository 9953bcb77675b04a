"""A few of the kills of `python -m tests.chaos.run`, with each kind at least once."""

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.kills import kill_sweeps, schedule
from tests.chaos.table import lines
from tests.chaos.victims import KINDS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

N_KILLS = 5


def test_a_schedule_has_its_share_of_each_kind() -> None:
    kinds = [kind for kind, _ in schedule(200, seed=0)]
    assert len(kinds) == 200
    assert all(kinds.count(kind) >= 20 for kind in KINDS)
    assert schedule(200, seed=0) == schedule(200, seed=0) != schedule(200, seed=1)
    assert {kind for kind, _ in schedule(N_KILLS, seed=0)} == set(KINDS)


def test_whatever_is_killed_every_trial_is_there_once_and_as_undisturbed(reference: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    sweeps = list(kill_sweeps(tmp_path, len(reference), schedule(N_KILLS, seed=0), reference, 0, print))
    print("\n".join(lines(sweeps)))
    assert sum(len(sweep.kills) for sweep in sweeps) == N_KILLS
    for sweep in sweeps:
        assert (sweep.exit_codes[-1], sweep.differences, sweep.leftovers) == (0, [], [])
        assert all(kill.work.epochs <= 1 for kill in sweep.kills), sweep.kills
