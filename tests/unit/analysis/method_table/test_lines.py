"""The hypervolume of test losses, and what the literature has for data made alike."""

import pytest
from method_stores import study, table_rows, write_table_store
from other_stores import write_regression_store
from synthetic_store import TWO_TASKS, trial_row

from analysis import read_results
from analysis.method_table.hypervolume import LITERATURE, PUBLISHED_HYPERVOLUMES, areas_of
from analysis.method_table.lines import line_trials, loss_hypervolumes
from analysis.method_table.table import method_table

EPO = study("main", "hps", "epo")


def rows_of(losses, validation=0.1):
    """One trial a pair of test losses: (seed, left, right)."""
    return [
        trial_row(i, [0.0, (i + 1) / 16, 1 - (i + 1) / 16], TWO_TASKS, seed=seed)
        | {"loss.test.left": left, "loss.test.right": right}
        | {f"loss.validation.{task}": validation for task in TWO_TASKS}
        for i, (seed, left, right) in enumerate(losses)
    ]


def test_it_is_the_share_of_the_area_that_test_losses_dominate_for_each_seed(tmp_path):
    """Seed 0: a union of two rectangles, one dominated point and one beyond the nadir; seed 1: one rectangle; shares of an area of 4."""
    losses = [(0, 0.5, 1.0), (0, 1.0, 0.5), (0, 1.5, 1.5), (0, 0.1, 3.0), (1, 1.0, 1.0)]
    write_table_store(tmp_path, rows_of(losses), (EPO,))
    (line,) = method_table(read_results(tmp_path)).lines
    by_hand = [(1.5 * 1.0 + 1.0 * 0.5) / 4, 1.0 / 4]
    assert line.hypervolume.mean == pytest.approx(sum(by_hand) / 2)
    assert line.hypervolume.half_width == pytest.approx(12.706205 * 0.5 / 4, rel=1e-6)


@pytest.mark.parametrize(("problem", "n_published"), [("multimnist", 3), ("multifashion", 5), ("multidigits", 0)])
def test_the_literature_stands_beside_its_own_data_sets_alone(tmp_path, problem, n_published):
    write_table_store(tmp_path, problem={"name": problem, "options": {}, "fingerprint": "f"})
    (area,) = areas_of(method_table(read_results(tmp_path)))
    published = [row for group in area.groups for row in group if row.architecture == LITERATURE]
    assert len(published) == n_published == len(PUBLISHED_HYPERVOLUMES.get(problem, ()))
    assert ("The data differ" in area.caption) == (n_published > 0)
    assert "(2, 2)" in area.caption
    assert len([row for group in area.groups for row in group]) == 11 + n_published


def test_only_two_classification_tasks_have_it(tmp_path):
    write_regression_store(tmp_path / "regression", {"a": "rmse", "b": "accuracy"})
    write_table_store(tmp_path / "three", table_rows((EPO,), tasks=("a", "b", "c")), (EPO,), ("a", "b", "c"))
    own = [{"name": task, "column": f"loss.validation.{task}", "sense": "min", "unit": "hinge"} for task in TWO_TASKS]
    write_table_store(tmp_path / "own loss", rows_of([(0, 0.5, 0.5)]), (EPO,), objectives=own, hypervolume_reference=[2.0, 2.0])
    for name in ("regression", "three", "own loss"):
        table = read_results(tmp_path / name)
        assert areas_of(method_table(table)) == []
        with pytest.raises(ValueError, match="expects two classification tasks"):
            loss_hypervolumes(table, line_trials(table)[0])
