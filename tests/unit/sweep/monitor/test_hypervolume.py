"""The box of the hypervolumes follows from the problem or the grid file, never from results, and trials beyond its nadir are counted."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.cli.status import show
from sweep.execution.sweep_run import SweepRun
from sweep.grid.load import GridText, SweepConfig, parse_config
from sweep.grid.resolve import hypervolume_box
from sweep.monitor.outcome import Outcome, Timing
from sweep.monitor.status import n_beyond, read_status
from sweep.planning.packs import plan_sweeps
from sweep.planning.trials import trials_of
from sweep.store.store import Store

GUESS = [math.log(10)] * 2
VECTORS = [[0.1, 0.45, 0.45], [0.2, 0.4, 0.4], [0, 0.5, 0.5]]
ROWS, PARAMETERS = "1 - sparsity_rate", "1 - removable_params / n_params"


def config_of(root: Path, n_vectors: int = 2, **changes: Any) -> SweepConfig:
    grid = {"problem": {"name": "multidigits", "n_train": 512}, "preferences": {"list": VECTORS[:n_vectors]}, **changes}
    return parse_config(grid, name="tiny", out=root)


def run(config: SweepConfig, rates: Sequence[float | None], limit: int | None = None, loss: float = 0.5) -> Outcome:
    """A run whose trials end with these sparsity rates, None for a failed one, as far as it trains any."""
    member = SweepRun(config, limit, GridText(""))
    with member.store.lock():
        member.open()
        member.take_plan(plan_sweeps([(config, member.trials, member.store)], 1)[0])
        member.begin_run()
        for trial, rate in zip(trials_of(config, limit), rates, strict=True):
            losses = {f"loss.{split}.{task}": loss for split in ("train", "validation", "test") for task in config.problem.facts.tasks}
            row = {"trial_id": trial.trial_id, "attempt": 1, "retry": 0, "state": "error", "error": "ValueError: its own"}
            if rate is not None:
                row |= {"state": "ok", "error": None, "sparsity_rate": rate, "objective.sparsity": 600 * (1 - rate), **losses}
                row |= {"n_params": 1000, "removable_params": round(500 * rate)}
            member.store.publish(row)
        member.take_plan(plan_sweeps([(config, member.trials, member.store)], 1)[0])
        return member.finish(False, Timing())


def box(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = (Store(root).manifest() or {})["hypervolume_box"]
    return found


def test_the_box_is_stated_before_any_result_and_no_result_moves_it(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    run(config, [None], limit=1)
    stated = box(tmp_path)
    assert stated == {"axes": [ROWS, *_losses()], "ideal": [0.0, 0.0, 0.0], "nadir": [1.0, *GUESS], "origin": "rule"}
    assert not run(config, [None, 0.9]).has_new_box
    assert not run(config_of(tmp_path, 3), [None, 0.9, 0.0], loss=5.0).has_new_box
    assert box(tmp_path) == stated
    assert n_beyond(Store(tmp_path)) == 2
    assert "finished trials beyond the nadir of the hypervolume, which add nothing to it: 2" in show(read_status(tmp_path))


def test_a_network_that_keeps_everything_is_not_beyond(tmp_path: Path) -> None:
    run(config_of(tmp_path), [0.0, 0.5])
    assert n_beyond(Store(tmp_path)) == 0
    assert "beyond" not in show(read_status(tmp_path))


def test_a_given_box_holds_from_the_start_and_only_the_grid_file_moves_it(tmp_path: Path) -> None:
    run(config_of(tmp_path, hypervolume_reference=[0.8, 3, 3]), [0.1], limit=1)
    assert (box(tmp_path)["nadir"], box(tmp_path)["origin"]) == ([0.8, 3.0, 3.0], "grid file")
    assert n_beyond(Store(tmp_path)) == 1
    assert not run(config_of(tmp_path, 3), [0.1, 0.5, 0.0]).has_new_box
    assert run(config_of(tmp_path, 3, hypervolume_reference=[0.95, 3, 3], hypervolume_ideal=[0, 0.1, 0]), [0.1, 0.5, 0.0]).has_new_box
    assert (box(tmp_path)["ideal"], box(tmp_path)["nadir"]) == ([0.0, 0.1, 0.0], [0.95, 3.0, 3.0])


def test_parameters_are_counted_on_request(tmp_path: Path) -> None:
    run(config_of(tmp_path, hypervolume_reference=[0.8, 3, 3], hypervolume_sparsity="parameters"), [0.3, 0.5])
    assert box(tmp_path)["axes"][0] == PARAMETERS
    assert n_beyond(Store(tmp_path)) == 1, "of a rate of 0.3, 15 % of the parameters"


def test_a_norm_in_an_old_grid_file_counts_as_1_and_is_noted(tmp_path: Path) -> None:
    config = config_of(tmp_path, hypervolume_reference=[120, 2.5, 2.5])
    stated = hypervolume_box(config, config.problem.facts)
    assert stated.nadir == (1.0, 2.5, 2.5)
    assert stated.note.startswith("the reference 120 for sparsity is a GrOWL norm, as in earlier versions")


def test_a_folder_of_an_earlier_version_gets_the_box_at_the_end_of_the_next_run(tmp_path: Path) -> None:
    run(config_of(tmp_path), [0.1, 0.2])
    manifest = Store(tmp_path).manifest() or {}
    del manifest["hypervolume_box"]
    old = manifest | {"schema_version": 2, "hypervolume_reference": [6.4, 0.4, 2.3]}
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    assert n_beyond(Store(tmp_path)) == 2, "the tasks keep their stored numbers"
    assert run(config_of(tmp_path), [0.1, 0.2]).has_new_box
    assert box(tmp_path)["nadir"] == [1.0, *GUESS]
    assert (Store(tmp_path).manifest() or {})["hypervolume_reference"] == [6.4, 0.4, 2.3]


@pytest.mark.parametrize(
    ("problem", "ideal", "nadir"),
    [
        ("analytic/zdt1", (0, 0), (1, 1)),
        ({"name": "analytic/dtlz1", "objectives": 4}, (0,) * 4, (0.5,) * 4),
        ({"name": "analytic/dtlz2", "objectives": 3}, (0,) * 3, (1,) * 3),
        ("analytic/vlmop2", (0, 0), (1 - math.exp(-4),) * 2),
    ],
)
def test_an_exact_front_states_its_own_ideal_and_nadir(problem: Any, ideal: tuple[float, ...], nadir: tuple[float, ...]) -> None:
    config = parse_config({"problem": problem, "preferences": {"simplex": {"divisions": 5}}})
    stated = hypervolume_box(config, config.problem.facts)
    assert stated.origin == "exact front"
    assert stated.ideal == pytest.approx(ideal, abs=1e-12)
    assert stated.nadir == pytest.approx(nadir)


def test_the_norm_stays_where_its_exact_front_is_known() -> None:
    config = parse_config({"problem": "analytic/owl", "preferences": {"list": [[0.5, 0.5]]}})
    stated = hypervolume_box(config, config.problem.facts)
    assert stated.axes == ("objective.sparsity", "loss.validation.distance")
    assert stated.ideal == pytest.approx((0, 0))
    assert stated.nadir[1] == pytest.approx(config.problem.facts.guess_losses[0])


def _losses() -> list[str]:
    return ["loss.validation.left", "loss.validation.right"]
