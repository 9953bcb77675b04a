"""Results that version 0.1 published (results/) are still read as they were, by the tables and by the store."""

from pathlib import Path

import pytest

from analysis import label_points, read_results
from sweep.store.store import Store

RESULTS = Path(__file__).parents[2] / "results"
# folder: (trials, trials on the front, epochs, mean test accuracy)
KNOWN = {
    "multifashion-hps": (13, 7, 507, 0.8039230769230769),
    "multifashion-mdmtn": (8, 3, 312, 0.8566374999999999),
    "table1-multidigits": (442, 176, 11500, 0.9097522624434389),
    "table1-multifashion-short": (141, 112, 1810, 0.678931560283688),
}


@pytest.mark.parametrize("name", KNOWN)
def test_published_results_read_the_same(name: str) -> None:
    n_trials, n_front, n_epochs, accuracy = KNOWN[name]
    table = read_results(RESULTS / name)
    assert table.counts["ok"] == len(table.frame) == n_trials
    assert table.unreadable == ()
    assert int(label_points(table)["kept"].sum()) == n_front
    assert len(table.read_epochs()) == n_epochs
    assert float(table.ok.frame["accuracy.test.mean"].mean()) == pytest.approx(accuracy, rel=1e-12)


@pytest.mark.parametrize("name", KNOWN)
def test_the_store_knows_published_trials_as_complete(name: str) -> None:
    complete = Store(RESULTS / name).complete()
    assert len(complete) == KNOWN[name][0]
    assert set(complete) == set(read_results(RESULTS / name).frame["trial_id"])
    assert set(complete.values()) == {"ok"}
