"""The quickstart at full size: it trains 90 vectors, or finds them complete, and shows what README says.

Run after `sweep run configs/quickstart.yaml` (as CI does) it only reads results/quickstart; to train anew, delete that
folder. No time is asserted; the run prints where its time went.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis import read_results
from analysis.measures.labels import label_points
from analysis.results.table import ResultTable

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def table() -> ResultTable:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sweep", "run", "configs/quickstart.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    return read_results(ROOT / "results" / "quickstart")


def test_ninety_vectors_are_complete_and_reported(table: ResultTable) -> None:
    assert table.counts["ok"] == table.planned == 90
    assert (Path(table.folder) / "report.html").stat().st_size > 1_000_000


def test_it_learns(table: ResultTable) -> None:
    frame = table.frame
    even = frame[(frame["k_0"] == 0) & (frame["k_1"] == 0.5)]
    assert len(even) == 1
    assert float(even["accuracy.test.mean"].iloc[0]) >= 0.96


def test_sparsity_answers_to_k0(table: ResultTable) -> None:
    """Mean SR never falls with k0, goes from 0 to 60 % and more, and one k0 lies in between; k0 = 0 prunes nothing."""
    mean = table.frame.groupby("k_0")["sparsity_rate"].mean()
    assert mean.is_monotonic_increasing
    assert float(mean.iloc[0]) == 0
    assert (table.frame.loc[table.frame["k_0"] == 0, "sparsity_rate"] == 0).all()
    assert float(mean.iloc[-1]) >= 0.6
    assert mean.between(0.1, 0.6, inclusive="neither").any()


def test_a_sparse_model_is_nearly_as_good_as_the_best_dense_one(table: ResultTable) -> None:
    frame = table.frame
    best_dense = frame.loc[frame["k_0"] == 0, "accuracy.test.mean"].max()
    best_sparse = frame.loc[frame["sparsity_rate"] >= 0.5, "accuracy.test.mean"].max()
    assert best_sparse >= best_dense - 0.02


def test_the_front_is_no_single_point(table: ResultTable) -> None:
    assert int(label_points(table)["kept"].sum()) >= 10
