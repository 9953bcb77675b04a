"""tests/bench/same_results.py sees what changed, and nothing where nothing did."""

import copy
import json
from pathlib import Path

import pytest

from tests.bench.files_touched import COMMANDS, files_of
from tests.bench.same_results import differences, is_result, results_of

GRID = """
name: tiny
problem: {name: multidigits, n_train: 200, n_validation: 50, n_test: 50}
model: hps
preferences: {list: [[0, 0.5, 0.5], [0.2, 0.4, 0.4]]}
training:
  batch_size: 100
  sparsify: {outer_iterations: 1, epochs: 1}
  retrain: {outer_iterations: 1, epochs: 1}
  lsuv: {n_samples: 32}
output: tiny
"""


@pytest.mark.full
def test_two_trainings_are_equal_and_a_changed_number_is_named(tmp_path: Path) -> None:
    before, after = (results_of(tmp_path / name, {"tiny": GRID}) for name in ("a", "b"))
    assert before == json.loads(json.dumps(before))
    assert list(differences(before, after)) == []
    (first, second) = before["tiny"]["trial_ids"]
    assert set(before["tiny"]["rows"]) == set(before["tiny"]["curves"]) == {first, second}
    assert len(before["tiny"]["rows"][first]["weights_sha256"]) == 64
    changed = copy.deepcopy(after)
    changed["tiny"]["rows"][second]["penalty"] = 7.25
    (found,) = differences(before, changed)
    assert found.startswith(f"tiny/rows/{second}/penalty: ")
    assert found.endswith("7.25 now")


def test_differences_name_what_is_gone_new_and_of_another_length() -> None:
    assert list(differences({"a": 1, "b": [1, 2]}, {"b": [1], "c": 2})) == ["a: gone", "b: [1, 2] before, [1] now", "c: new"]


def test_circumstances_are_not_compared() -> None:
    assert not any(map(is_result, ("host", "wall_s", "wall_s_tying", "energy_wh", "attempt")))
    assert all(map(is_result, ("weights_sha256", "loss.test.left", "backend", "seed")))


def test_files_touched_counts_files_of_the_product() -> None:
    files = files_of(COMMANDS["front"])
    assert len(files) > 5
    assert {file.split("/")[0] for file in files} <= {"sweep", "trainer", "analysis"}
