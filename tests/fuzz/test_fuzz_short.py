"""A short form of `python -m tests.fuzz.run`: a hundred mutated grid files and some results folders."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.run import fuzz, report

SEED = 20260131
CASES = {"grids": 120, "stores": 14}


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="memory limits and pipes as Linux has them")
@pytest.mark.parametrize("kind", CASES)
def test_no_mutated_input_ends_in_anything_but_one_clear_error(kind: str, tmp_path: Path) -> None:
    outcome = fuzz(kind, 0, CASES[kind], SEED, tmp_path)
    assert outcome.n_cases == CASES[kind]
    assert not outcome.found, report(kind, outcome, SEED)
    assert {code.rpartition(" ")[2] for code in outcome.codes} >= {"0", "2"}, "both good and bad inputs are wanted"
