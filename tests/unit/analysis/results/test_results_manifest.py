"""The manifest's rule for the best trial: what it reads, how it scores, and which values of it are refused."""

import math

import numpy as np
import pytest
from synthetic_store import TWO_TASKS, write_manifest, write_plan

from analysis import read_results
from analysis.errors import ResultsError
from analysis.results.manifest import is_selection, selection_of, selection_rule

MIXED = {"left": "accuracy", "right": "root mean squared error"}


def test_accuracies_are_compared_as_they_are():
    rule = selection_rule(TWO_TASKS, {})
    assert rule.columns == ("accuracy.validation.mean",)
    assert rule.scores([[0.5], [0.75], [np.nan]])[:2].tolist() == [0.5, 0.75]
    assert math.isnan(rule.scores([[np.nan]])[0])


def test_each_loss_counts_in_units_of_a_constant_guess():
    """Dividing both losses of a task and its guess by the same number changes no score: units do not matter."""
    rule = selection_rule(TWO_TASKS, MIXED, (2.0, 8.0))
    assert rule.columns == ("loss.validation.left", "loss.validation.right")
    losses = np.array([[1.0, 4.0], [0.5, 8.0], [2.0, 2.0]])
    assert rule.scores(losses).tolist() == [-0.5, -0.625, -0.625]
    other_units = selection_rule(TWO_TASKS, MIXED, (2.0, 8.0 / 1024))
    assert other_units.scores(losses / [1, 1024]).tolist() == rule.scores(losses).tolist()


def test_a_guess_of_zero_is_no_unit_and_a_missing_loss_is_no_score():
    rule = selection_rule(TWO_TASKS, MIXED, (0.0, 2.0))
    assert rule.scores([[1.0, 2.0], [1.0, np.nan]])[0] == -1.0
    assert math.isnan(rule.scores([[1.0, np.nan]])[0])


def test_a_rule_survives_the_manifest():
    for metrics in ({}, MIXED):
        rule = selection_rule(TWO_TASKS, metrics, (2.0, 8.0))
        again = selection_of({"tasks": list(TWO_TASKS), "metrics": metrics, "selection": rule.record()})
        assert (again.by, again.columns) == (rule.by, rule.columns)
        assert again.scores([[0.5, 0.25][: len(rule.columns)]]) == rule.scores([[0.5, 0.25][: len(rule.columns)]])


def test_a_manifest_of_an_earlier_version_names_no_rule_and_no_guess():
    assert selection_of({"tasks": ["left", "right"]}).by == "accuracy"
    rule = selection_of({"tasks": ["left", "right"], "metrics": MIXED})
    assert (rule.by, rule.guess_losses) == ("loss", (1.0, 1.0))


@pytest.mark.parametrize(
    "value",
    ["loss", [], {}, {"by": "guess"}, {"by": "loss", "guess_losses": [1.0]}, {"by": "loss", "guess_losses": ["a", "b"]}],
)
def test_other_values_are_refused(tmp_path, value):
    assert not is_selection(value, 2)
    write_manifest(tmp_path, TWO_TASKS, selection=value)
    write_plan(tmp_path, [])
    with pytest.raises(ResultsError, match="`selection` is a mapping"):
        read_results(tmp_path)
