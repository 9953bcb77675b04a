"""Vectors placed in rounds along simulated fronts: even, reproducible, and the same beginning for every number of vectors."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from analysis.pareto.placing import CLOSE, Results, end_vectors, next_round

TASKS = ["left", "right", "sum"]
Measure = Callable[[Sequence[float]], tuple[list[float], float | None]]
"""Maps a vector to the objectives (sparsity as a norm, then the tasks) and the sparsity rate, as a trial would measure them."""


def network(steepness: float, threshold: float = -3.0, cap: float = 0.8) -> Measure:
    """A network whose sparsity is a sigmoid of log(k0 / (1 - k0)) up to a cap, and whose tasks conflict more the sparser it is."""

    def measure(k: Sequence[float]) -> tuple[list[float], float]:
        log_odds = math.log(k[0] / (1 - k[0])) if k[0] > 0 else -50.0
        rate = cap / (1 + math.exp(min(700.0, -steepness * (log_odds - threshold))))
        weights = np.array(k[1:]) / sum(k[1:])
        losses = (0.1 + 0.3 * rate**2) * (1 + 0.5 * (1 - weights) ** 1.5)
        return [60 * (1 - rate) + 1, *losses.tolist()], rate

    return measure


def sphere(k: Sequence[float]) -> tuple[list[float], None]:
    """The exact Chebyshev point on the positive part of the unit sphere, the front of DTLZ2."""
    ray = 1 / np.maximum(k, 1e-12)
    return (ray / np.linalg.norm(ray)).tolist(), None


def simulate(measure: Measure, n_tasks: int, n: int, has_sparsity: bool = True, noise: float = 0.0, **changes: Any) -> list[Any]:
    """Place at least n vectors; returns (round, kind, vector, reason, promised) for each."""
    objectives = [*(["sparsity"] if has_sparsity else []), *TASKS[:n_tasks]]
    random = np.random.default_rng(0)
    found = [(1, "ends", one.preference, one.reason, None) for one in end_vectors(objectives, has_sparsity)]
    while len(found) < n:
        vectors = [vector for _, _, vector, _, _ in found]
        measured = [measure(vector) for vector in vectors]
        values = np.array([values for values, _ in measured]) * (1 + noise * random.uniform(-1, 1, (len(found), len(objectives))))
        rates = None if not has_sparsity else [rate for _, rate in measured]
        d = len(objectives)
        given = {"preferences": vectors, "values": values, "rates": rates, "origin": np.zeros(d), "scale": np.ones(d)} | changes
        placed = next_round(objectives, has_sparsity, found[-1][0], Results(**given))
        if not placed.placed:
            break
        found += [(found[-1][0] + 1, placed.kind, one.preference, one.reason, placed.promised) for one in placed.placed]
    return found


def rates_of(found: list[Any], measure: Measure) -> np.ndarray:
    return np.array([measure(vector)[1] for _, _, vector, _, _ in found])


@pytest.mark.parametrize(("n_tasks", "n_ends"), [(1, 2), (2, 4), (3, 5)])
def test_the_first_round_finds_the_ends(n_tasks, n_ends):
    ends = end_vectors(["sparsity", *TASKS[:n_tasks]], True)
    assert len(ends) == n_ends
    assert [end.preference[0] for end in ends] == pytest.approx([0.0] * (n_ends - 1) + [0.9], abs=2e-5)
    assert ends[0].reason.startswith("dense")
    assert ends[-1].reason == "sparsest: 0.9 on sparsity"


@pytest.mark.parametrize("has_sparsity", [True, False])
@pytest.mark.parametrize("n_tasks", [2, 3])
def test_vectors_are_on_the_simplex_and_none_is_close_to_another(n_tasks, has_sparsity):
    found = simulate(network(2) if has_sparsity else sphere, n_tasks, 60, has_sparsity)
    vectors = np.array([vector for _, _, vector, _, _ in found])
    assert (vectors >= 0).all()
    assert np.allclose(vectors.sum(axis=1), 1, atol=1e-12)
    assert all(len(reason) > 10 for _, _, _, reason, _ in found)
    for i, vector in enumerate(vectors):
        others = np.delete(vectors, i, axis=0)
        assert not (np.abs(others - vector) <= CLOSE * 0.99 * np.maximum(others, vector)).all(axis=1).any()


@pytest.mark.parametrize("steepness", [1, 4, 50])
@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_a_front_is_filled_evenly_however_steeply_sparsity_answers(n_tasks, steepness):
    """At 50, all sparsity lies between k0 = 0.045 and 0.05, which no fixed grid of k0 would meet."""
    measure = network(steepness)
    rates = np.sort(rates_of(simulate(measure, n_tasks, 60), measure))
    assert rates[0] < 0.01
    assert rates[-1] > 0.79
    assert np.diff(rates).max() < 0.1 if n_tasks < 3 else np.diff(rates).max() < 0.15


def test_task_directions_are_filled_at_every_sparsity():
    measure = network(2)
    found = simulate(measure, 2, 90)
    rates, share = rates_of(found, measure), np.array([vector[1] / sum(vector[1:]) for _, _, vector, _, _ in found])
    for low in (0.0, 0.2, 0.4, 0.6):
        here = share[(rates >= low) & (rates < low + 0.2 + 1e-9)]
        assert np.histogram(here, bins=[0, 0.35, 0.65, 1.01])[0].min() >= 2


def test_a_larger_number_continues_the_same_sequence():
    few, many = simulate(network(4), 2, 20), simulate(network(4), 2, 80)
    assert many[: len(few)] == few


def test_the_last_bits_of_results_do_not_change_a_vector():
    exact = simulate(network(4), 2, 60)
    assert simulate(network(4), 2, 60, noise=1e-15) == exact
    assert simulate(network(4), 2, 60, noise=1e-3) != exact


def test_an_exact_front_is_filled_more_evenly_than_by_a_simplex():
    found = simulate(sphere, 3, 66, has_sparsity=False)[:66]
    simplex = [(i / 12, j / 12, (12 - i - j) / 12) for i in range(1, 12) for j in range(1, 12 - i)]
    assert len(simplex) == 55

    def emptiest(vectors: Sequence[Sequence[float]]) -> float:
        points = np.array([sphere(vector)[0] for vector in vectors])
        front = np.abs(np.random.default_rng(1).normal(size=(2000, 3)))
        front /= np.linalg.norm(front, axis=1, keepdims=True)
        return float(np.sqrt(((front[:, None] - points[None]) ** 2).sum(axis=2)).min(axis=1).max())

    assert emptiest([vector for _, _, vector, _, _ in found]) < 0.8 * emptiest(simplex)


def test_promises_shrink_as_the_front_fills():
    promised = [each for each in dict.fromkeys(promised for *_, promised in simulate(network(2), 2, 90)) if each is not None]
    assert promised[0] > 0.05 > 0.02 > promised[-1] > 0
    assert promised == sorted(promised, reverse=True)


def failing(which: Callable[[Sequence[float]], bool]) -> Measure:
    def measure(k: Sequence[float]) -> tuple[list[float], float | None]:
        return ([math.nan] * len(k), math.nan) if which(k) else network(2)(k)

    return measure


@pytest.mark.parametrize(
    "measure",
    [
        failing(lambda k: k[0] > 0.5),  # the sparse end
        failing(lambda k: k[0] == 0),  # everything dense
        failing(lambda k: True),
        lambda k: ([60.0, *[0.1] * (len(k) - 1)], 0.0),  # nothing changes
        lambda k: ([60.0 - 40 * (k[0] > 0.01), *[0.1 + k[0]] * (len(k) - 1)], 0.7 * (k[0] > 0.01)),  # a jump
        lambda k: ([60.0 - 40 * (k[0] > 0), *[0.1 + 0.01 / s for s in k[1:]]], 0.7 * (k[0] > 0)),  # at the cap for every k0
        lambda k: ([0.0, *[0.0] * (len(k) - 1)], 0.0),  # at the reference point
    ],
)
@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_strange_results_still_give_vectors(measure, n_tasks):
    found = simulate(measure, n_tasks, 40)
    vectors = np.array([vector for _, _, vector, _, _ in found])
    assert np.isfinite(vectors).all()
    assert len(found) >= (10 if n_tasks == 1 else 30)


def test_without_sparsity_rates_the_objective_is_used():
    assert np.sort(rates_of(simulate(network(4), 2, 60, rates=None), network(4)))[::6].max() > 0.7


def test_the_scan_begins_where_sparsity_weighs_as_much_as_the_tasks():
    """A dense network with L0 = 600 and losses of 0.1 is balanced at k0 = 0.05 / 600; the scan begins a decade below."""
    found = simulate(lambda k: ([600.0, 0.1, 0.1], 0.0), 2, 5)
    k0 = sorted(vector[0] for _, kind, vector, _, _ in found if kind == "scan")
    assert k0[0] == pytest.approx(0.05 / 600 / 10, rel=1e-3)
    assert 0.1 < k0[-1] < 0.9
    scaled = simulate(lambda k: ([600.0, 0.1, 0.1], 0.0), 2, 5, scale=[600.0, 0.1, 0.1])
    assert min(vector[0] for _, kind, vector, _, _ in scaled if kind == "scan") > 10 * k0[0]


@pytest.mark.parametrize("changes", [{"values": np.zeros((4, 2))}, {"scale": [1.0]}])
def test_wrong_shapes_are_named(changes):
    with pytest.raises(ValueError, match="next_round expects preferences and values of shape"):
        simulate(network(2), 2, 10, **changes)


def test_the_first_round_needs_no_results():
    with pytest.raises(ValueError, match="at least one earlier round"):
        next_round(["a", "b"], False, 0, Results([[0.5, 0.5]], [[1.0, 1.0]], None, [0, 0], [1, 1]))
