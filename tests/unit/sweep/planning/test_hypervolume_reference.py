"""The reference of the hypervolumes is taken from the whole grid, grows with it, and never moves where the grid file gives it."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sweep.cli.status import show
from sweep.execution.sweep_run import SweepRun
from sweep.grid.load import GridText, SweepConfig, parse_config
from sweep.monitor.outcome import Outcome, Timing
from sweep.monitor.status import read_status
from sweep.planning.hypervolume_reference import beyond_results, n_beyond
from sweep.planning.packs import plan_sweeps
from sweep.planning.trials import trials_of
from sweep.store.store import Store

GUESS = [math.log(10)] * 2
VECTORS = [[0.1, 0.45, 0.45], [0.2, 0.4, 0.4], [0, 0.5, 0.5]]
FACTS = parse_config({"problem": {"name": "multidigits", "n_train": 512}, "preferences": {"list": VECTORS}}).problem.facts


def config_of(root: Path, n_vectors: int = 2, **changes: Any) -> SweepConfig:
    grid = {"problem": {"name": "multidigits", "n_train": 512}, "preferences": {"list": VECTORS[:n_vectors]}, **changes}
    return parse_config(grid, name="tiny", out=root)


def run(config: SweepConfig, norms: Sequence[float | None], limit: int | None = None) -> Outcome:
    """A run whose trials end with these norms, None for a failed one, as far as it trains any."""
    member = SweepRun(config, limit, GridText(""))
    with member.store.lock():
        member.open()
        member.take_plan(plan_sweeps([(config, member.trials, member.store)], 1)[0])
        member.begin_run()
        for trial, norm in zip(trials_of(config, limit), norms, strict=True):
            losses = {f"loss.{split}.{task}": 0.5 for split in ("train", "validation", "test") for task in FACTS.tasks}
            row = {"trial_id": trial.trial_id, "attempt": 1, "retry": 0, "state": "error", "error": "ValueError: its own"}
            if norm is not None:
                row |= {"state": "ok", "error": None, "objective.sparsity": norm, **losses}
            member.store.publish(row)
        member.take_plan(plan_sweeps([(config, member.trials, member.store)], 1)[0])
        return member.finish(False, Timing())


def reference(root: Path) -> list[float] | None:
    found: list[float] | None = (Store(root).manifest() or {})["hypervolume_reference"]
    return found


def test_no_reference_is_taken_from_a_part_of_the_grid(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert not run(config, [6.39], limit=1).has_new_reference
    assert reference(tmp_path) is None
    assert run(config, [6.39, 22.98]).has_new_reference
    assert reference(tmp_path) == [23.0, *GUESS]
    assert not run(config, [6.39, 22.98]).has_new_reference


def test_a_failed_trial_has_ended_too(tmp_path: Path) -> None:
    assert run(config_of(tmp_path), [6.39, None]).has_new_reference
    assert reference(tmp_path) == [6.4, *GUESS]


def test_nothing_finished_gives_no_reference(tmp_path: Path) -> None:
    run(config_of(tmp_path), [None, None])
    assert reference(tmp_path) is None


def test_a_larger_grid_raises_it_and_a_smaller_one_does_not_lower_it(tmp_path: Path) -> None:
    run(config_of(tmp_path, 1), [6.39])
    assert reference(tmp_path) == [6.4, *GUESS]
    run(config_of(tmp_path, 3), [6.39, 22.98], limit=2)
    assert reference(tmp_path) == [6.4, *GUESS], "a part of the larger grid"
    store = Store(tmp_path)
    assert n_beyond(store) == 1
    assert "beyond the hypervolume reference, which add nothing to the hypervolume: 1" in show(read_status(tmp_path))
    run(config_of(tmp_path, 3), [6.39, 22.98, 650.0])
    assert reference(tmp_path) == [660.0, *GUESS]
    assert n_beyond(store) == 0
    assert "beyond" not in show(read_status(tmp_path))
    run(config_of(tmp_path, 1), [6.39])
    assert reference(tmp_path) == [660.0, *GUESS]


def test_a_given_reference_holds_from_the_start_and_never_moves(tmp_path: Path) -> None:
    config = config_of(tmp_path, hypervolume_reference=[10, 3, 3])
    run(config, [6.39], limit=1)
    assert reference(tmp_path) == [10.0, 3.0, 3.0]
    run(config_of(tmp_path, 3), [6.39, 22.98, 5.0])
    assert reference(tmp_path) == [10.0, 3.0, 3.0]
    assert n_beyond(Store(tmp_path)) == 1
    run(config_of(tmp_path, 3, hypervolume_reference=[30, 3, 3]), [6.39, 22.98, 5.0])
    assert reference(tmp_path) == [30.0, 3.0, 3.0]


@pytest.mark.parametrize(("was_given", "expected"), [(True, [6.4, *GUESS]), (False, [23.0, *GUESS])])
def test_an_earlier_versions_reference_grows_unless_its_grid_file_gave_it(tmp_path: Path, was_given: bool, expected: list[float]) -> None:
    """Such a manifest has the schema version 2 and does not say where its reference comes from."""
    run(config_of(tmp_path), [6.39], limit=1)
    Store(tmp_path).write_plan(1, {"config": {"hypervolume_reference": [6.4, *GUESS] if was_given else None}})
    manifest = Store(tmp_path).manifest() or {}
    del manifest["hypervolume_reference_given"]
    old = manifest | {"schema_version": 2, "hypervolume_reference": [6.4, *GUESS]}
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    run(config_of(tmp_path), [6.39, 22.98])
    assert reference(tmp_path) == expected


norms = st.lists(st.floats(0, 1e30), min_size=1, max_size=6)


@example(first=[0.0], second=[1.2], order=random.Random(0))
@given(first=norms, second=norms, order=st.randoms())
def test_it_depends_on_the_results_alone(first: list[float], second: list[float], order: Any) -> None:
    """In whatever order and parts they come; every norm lies below it, and it is at most a tenth (or 1) above the largest."""
    whole = [*first, *second]
    order.shuffle(whole)
    found = beyond_results(FACTS, [*whole, None, math.nan, math.inf, 1e300], None)
    assert beyond_results(FACTS, whole, beyond_results(FACTS, first, None)) == found
    assert max(whole) < found[0] <= max(1.0, 1.1000001 * max(whole))
    assert found[1:] == GUESS
