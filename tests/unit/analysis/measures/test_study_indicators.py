"""Indicators of a study's front, its trade-offs, and which trials did not converge."""

from pathlib import Path

import numpy as np
import pytest
from other_stores import NOTHING_PRUNED, no_accuracies, task_objectives, write_analytic_store, write_store_of
from synthetic_store import TWO_TASKS, trial_row, write_manifest, write_plan, write_row

from analysis.measures.convergence import IMPROVABLE, UNCONVERGED, is_unconverged, residual_share, unconverged_texts
from analysis.measures.decision_front import decision_fronts, quantities, steps, steps_from, trade_offs
from analysis.measures.study_indicators import compared_values, hypervolume_caption, study_indicators
from analysis.pareto.indicators import Box, epsilon_additive, hypervolume, spread
from analysis.results.columns import PARAMETERS_KEPT
from analysis.results.table import read_results


def write_plane_store(folder: Path, of_seed: list[list[tuple[float, float]]], **manifest: object) -> None:
    """Two objectives without sparsity; trials of seed s at the points of_seed[s]."""
    rows = []
    for seed, points in enumerate(of_seed):
        for i, point in enumerate(points):
            values = {
                f"{kind}.{split}.{task}": float(value)
                for kind in ("loss", "metric")
                for split in ("train", "validation", "test")
                for task, value in zip(("f1", "f2"), point, strict=True)
            }
            changes = values | no_accuracies(("f1", "f2")) | NOTHING_PRUNED | {"seed": seed}
            rows.append(trial_row(100 * seed + i, [0.0, 0.5, 0.5], ("f1", "f2"), **changes))
    known = {
        "metrics": dict.fromkeys(("f1", "f2"), "value"),
        "objectives": task_objectives(("f1", "f2")),
        "hypervolume_reference": [4.0, 4.0],
    }
    write_store_of(folder, rows, ("f1", "f2"), **(known | manifest))


def write_accuracy_store(folder: Path, points: list[tuple[float, float, float]], **changes: object) -> None:
    """One trial at each (sparsity rate, accuracy left, accuracy right); the losses go the other way."""
    write_manifest(folder, TWO_TASKS)
    rows = []
    for i, (rate, *accuracies) in enumerate(points):
        row = trial_row(i, [0.01, 0.5, 0.49], TWO_TASKS, **changes)
        row |= {"sparsity_rate": rate, "parameter_sharing": row["compression_rate"] * (1 - rate), "objective.sparsity": 100 * (1 - rate)}
        for split in ("train", "validation", "test"):
            row |= {f"accuracy.{split}.{task}": value for task, value in zip(TWO_TASKS, accuracies, strict=True)}
            row |= {f"loss.{split}.{task}": 1 - value for task, value in zip(TWO_TASKS, accuracies, strict=True)}
            row[f"accuracy.{split}.mean"] = sum(accuracies) / 2
        rows.append(row)
    write_plan(folder, rows)
    for row in rows:
        write_row(folder, row, TWO_TASKS)


def test_the_hypervolume_is_computed_for_each_seed_and_averaged(tmp_path):
    write_plane_store(tmp_path, [[(1.0, 3.0), (3.0, 1.0)], [(2.0, 2.0)]])
    (found,) = study_indicators(read_results(tmp_path))
    assert found.hypervolumes == {0: 5.0 / 16, 1: 4.0 / 16}
    assert found.hypervolume is not None
    assert (found.hypervolume.mean, found.hypervolume.low, found.hypervolume.high) == (4.5 / 16, 4.0 / 16, 5.0 / 16)
    assert found.seeds == (0, 1)


def test_the_box_is_the_manifests_and_never_taken_from_the_results(tmp_path):
    write_plane_store(tmp_path, [[(1.0, 3.0)]], hypervolume_reference=None)
    table = read_results(tmp_path)
    assert study_indicators(table)[0].hypervolume is None
    assert "states no nadir yet" in hypervolume_caption(table)
    given = study_indicators(table, Box((0.0, 0.0), (2.0, 5.0)))[0].hypervolume
    assert given is not None
    assert given.mean == 2.0 / 10


def test_an_objective_to_maximise_is_turned_with_its_box(tmp_path):
    objectives = task_objectives(("f1", "f2"))
    objectives[1]["sense"] = "max"
    write_plane_store(tmp_path, [[(1.0, 3.0), (2.0, 2.0)]], objectives=objectives, hypervolume_reference=[4.0, 1.0])
    assert study_indicators(read_results(tmp_path))[0].hypervolumes == {}, "an earlier version states no ideal of such an objective"
    axes = [o["column"] for o in objectives]
    box = {"axes": axes, "ideal": [0.0, 5.0], "nadir": [4.0, 1.0], "origin": "grid file"}
    write_plane_store(tmp_path, [[(1.0, 3.0), (2.0, 2.0)]], objectives=objectives, hypervolume_box=box)
    (found,) = study_indicators(read_results(tmp_path))
    assert found.hypervolumes == {0: 6.0 / 16}


def test_test_losses_are_compared_on_request(tmp_path):
    write_plane_store(tmp_path, [[(1.0, 3.0)]])
    table = read_results(tmp_path)
    table.frame["loss.test.f1"] = 3.0
    assert study_indicators(table)[0].hypervolumes == {0: 3 / 16}
    assert study_indicators(table, split="test")[0].hypervolumes == {0: 1 / 16}


def test_a_dense_network_of_a_small_architecture_does_not_beat_a_spread_front_of_a_large_one(tmp_path):
    """By GrOWL norms below a common reference it did: a small network has a small norm even if no row is zero."""
    rows = [
        trial_row(i, [0.01, 0.5, 0.49], TWO_TASKS, study="large", model="mdmtn")
        | {"sparsity_rate": rate, "objective.sparsity": 600.0 * (1 - rate), "removable_params": 200 * rate, "n_params": 400}
        | {f"loss.{split}.{task}": 0.1 + 0.4 * rate for split in ("validation", "test") for task in TWO_TASKS}
        for i, rate in enumerate((0.0, 0.2, 0.4, 0.6, 0.8))
    ]
    small = trial_row(9, [0.0, 0.5, 0.5], TWO_TASKS, study="small", model="hps", sparsity_rate=0.0)
    small |= {"objective.sparsity": 50.0} | {f"loss.{split}.{task}": 0.3 for split in ("validation", "test") for task in TWO_TASKS}
    studies = [{"name": name, "model": model, "method": "wcal_growl"} for name, model in (("large", "mdmtn"), ("small", "hps"))]
    old, corner = {"studies": studies, "hypervolume_reference": [660.0, 2.3, 2.3]}, [660.0, 2.3, 2.3]
    write_store_of(tmp_path, [*rows, small], TWO_TASKS, **old)
    table = read_results(tmp_path)
    norms = table.values()
    is_small = np.array([study == "small" for study in table.frame["study"]])
    assert hypervolume(norms[is_small], corner) > hypervolume(norms[~is_small], corner), "the rule of earlier versions"
    large_front, small_front = study_indicators(table)
    assert large_front.hypervolumes[0] > 0.4
    assert small_front.hypervolumes[0] == 0
    assert "660 for sparsity is a GrOWL norm and is not used" in hypervolume_caption(table)
    # The same by parameters: half of what the rows say here.
    axes = [PARAMETERS_KEPT, *(f"loss.validation.{task}" for task in TWO_TASKS)]
    write_manifest(tmp_path, TWO_TASKS, **old, hypervolume_box={"axes": axes, "ideal": [0, 0, 0], "nadir": [1, 2.3, 2.3], "origin": "rule"})
    table = read_results(tmp_path)
    assert compared_values(table)[~is_small, 0] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6])
    assert 0 < study_indicators(table)[0].hypervolumes[0] < large_front.hypervolumes[0]
    assert "share of parameters kept from 0 to 1" in hypervolume_caption(table)


def test_igd_plus_is_there_where_the_exact_front_is_known(tmp_path):
    write_analytic_store(tmp_path)
    (found,) = study_indicators(read_results(tmp_path))
    assert found.igd_plus is not None
    assert found.igd_plus.mean is not None
    assert 0 < found.igd_plus.mean < 0.1


def test_spread_is_zero_on_an_even_front_and_grows_with_a_gap():
    even = [[float(i), float(4 - i)] for i in range(5)]
    assert spread(even) == pytest.approx(0)
    assert spread([*even, [20.0, -16.0]]) > 0.5
    assert np.isnan(spread(even[:2]))
    assert spread(np.array(even) * [1, 1000]) == pytest.approx(0)


def test_additive_epsilon_is_the_least_shift_that_dominates():
    points = [[1.0, 3.0], [3.0, 1.0]]
    assert epsilon_additive(points, [[2.0, 2.0]]) == 1.0
    assert epsilon_additive([[2.0, 2.0]], points) == 1.0
    assert epsilon_additive(points, [[4.0, 4.0]]) == -1.0
    assert epsilon_additive(np.zeros((0, 2)), points) == np.inf
    shifted = np.array(points) - epsilon_additive(points, [[2.0, 2.0]])
    assert hypervolume([*shifted, [2.0, 2.0]], [5.0, 5.0]) == hypervolume(shifted, [5.0, 5.0])


def test_a_trade_off_between_neighbours_is_told_in_points(tmp_path):
    write_accuracy_store(tmp_path, [(0.5, 0.90, 0.953), (0.6, 0.90, 0.95), (0.8, 0.80, 0.90)])
    table = read_results(tmp_path)
    (front,) = decision_fronts(table)
    assert [quantity.column for quantity in front.quantities] == ["sparsity_rate", "accuracy.validation.left", "accuracy.validation.right"]
    texts = [str(step) for step in steps(front)]
    assert texts == [
        "+10.0 points of sparsity rate cost 0.3 points of right accuracy",
        "+20.0 points of sparsity rate cost 10.0 points of left accuracy and 5.0 points of right accuracy",
    ]
    middle = front.frame["trial_id"].iloc[1]
    assert {step.start for step in steps_from(front, middle)} == {middle}
    frame = trade_offs(table)
    assert frame["change.sparsity_rate"].to_list() == pytest.approx([0.1, 0.2])
    assert frame["rate.accuracy.validation.right"].to_list() == pytest.approx([-0.03, -0.25])


def test_a_trial_that_another_beats_in_what_people_decide_by_is_not_on_their_front(tmp_path):
    write_accuracy_store(tmp_path, [(0.5, 0.9, 0.9), (0.5, 0.9, 0.8), (0.2, 0.95, 0.95)])
    (front,) = decision_fronts(read_results(tmp_path))
    assert front.frame["sparsity_rate"].to_list() == [0.2, 0.5]


def test_without_accuracies_the_losses_are_what_people_decide_by(tmp_path):
    write_plane_store(tmp_path, [[(1.0, 3.0), (3.0, 1.0)]])
    table = read_results(tmp_path)
    assert [(q.column, q.is_maximised) for q in quantities(table)] == [("loss.validation.f1", False), ("loss.validation.f2", False)]
    assert trade_offs(table)["text"].to_list() == ["-2 of f1 cost +2 of f2"]


def test_an_unconverged_trial_has_a_residual_above_a_tenth_of_its_value(tmp_path):
    write_accuracy_store(tmp_path, [(0.5, 0.9, 0.9)], largest=1.0, residual=UNCONVERGED)
    assert not is_unconverged(read_results(tmp_path)).any()
    write_accuracy_store(tmp_path / "more", [(0.5, 0.9, 0.9)], largest=1.0, residual=UNCONVERGED * 1.01)
    table = read_results(tmp_path / "more")
    assert is_unconverged(table).all()
    assert study_indicators(table)[0].n_unconverged == 1


def test_each_residual_is_divided_by_the_largest_of_its_own_objectives(tmp_path):
    """Sparsity counts for the problem as stated alone, and may be a hundred times as large as the tasks."""
    columns = {"residual": 0.2, "largest": 1.0, "residual_stated": 1.0, "largest_stated": 100.0}
    write_accuracy_store(tmp_path, [(0.5, 0.9, 0.9)], scalarized=100.0, **columns)
    assert residual_share(read_results(tmp_path)).tolist() == [0.2]
    write_accuracy_store(tmp_path / "stated", [(0.5, 0.9, 0.9)], **columns | {"residual_stated": 50.0})
    assert residual_share(read_results(tmp_path / "stated")).tolist() == [0.5]


def test_rows_of_earlier_versions_have_no_share(tmp_path):
    """Their residual is that of the last phase, and `scalarized` is of all objectives."""
    write_accuracy_store(tmp_path, [(0.5, 0.9, 0.9)], scalarized=1.0, residual=1.0)
    assert np.isnan(residual_share(read_results(tmp_path))).all()
    assert not is_unconverged(read_results(tmp_path)).any()


def test_a_search_decides_where_there_is_one(tmp_path):
    write_accuracy_store(tmp_path, [(0.5, 0.9, 0.9)], largest=1.0, residual=1.0, improvement=IMPROVABLE)
    assert not is_unconverged(read_results(tmp_path)).any()
    write_accuracy_store(tmp_path / "more", [(0.5, 0.9, 0.9)], largest=1.0, residual=0.0, improvement=0.25)
    table = read_results(tmp_path / "more")
    assert is_unconverged(table).all()
    assert unconverged_texts(table) == ["a search lowers max g by 25 %"]


def test_a_weighted_sum_does_not_aim_at_these_conditions(tmp_path):
    write_accuracy_store(tmp_path, [(0.5, 0.9, 0.9)], largest=1.0, residual=1.0)
    training = {"scalarization": "weighted_sum"}
    write_manifest(tmp_path, TWO_TASKS, studies=[{"name": "main", "model": "mdmtn", "method": "wcal_growl", "training": training}])
    assert np.isnan(residual_share(read_results(tmp_path))).all()


def test_an_empty_sweep_has_no_indicators(tmp_path):
    write_manifest(tmp_path, TWO_TASKS)
    table = read_results(tmp_path)
    assert study_indicators(table) == []
    assert trade_offs(table).empty
