"""MOEA/D: it approaches known fronts from poor starts, each weight vector its own point, and goes on to the bit."""

import importlib.util
import random
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from trainer.methods import evolution
from trainer.methods.evolution import Evolution, MissingPymooError

needs_pymoo = pytest.mark.skipif(importlib.util.find_spec("pymoo") is None, reason="not run: needs pymoo")


def zdt1(x: np.ndarray) -> np.ndarray:
    """Variables in [0, 1]; on the front all but the first are 0 and f2 = 1 - sqrt(f1)."""
    g = 1 + 9 * x[:, 1:].mean(axis=1)
    return np.stack([x[:, 0], g * (1 - np.sqrt(x[:, 0] / g))], axis=1)


def three_quadratics(x: np.ndarray) -> np.ndarray:
    """Squared distances to the first three unit vectors; the front is the image of their triangle."""
    return ((x[:, None] - np.eye(3, x.shape[1])) ** 2).sum(axis=2)


def simplex(n: int) -> np.ndarray:
    """n weight vectors between (0.05, 0.95) and (0.95, 0.05)."""
    share = np.linspace(0.05, 0.95, n)
    return np.stack([share, 1 - share], axis=1)


def chebyshev(weights: np.ndarray, values: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """max_j w_ij |F_j - z_j| of each weight vector i (rows) at each individual (columns)."""
    return (weights[:, None] * np.abs(values - ideal)).max(axis=2)


def grown(
    n_generations: int, weights: np.ndarray, start: np.ndarray, evaluate: Callable[[np.ndarray], np.ndarray], ideal: float = 0.0
) -> Evolution:
    found = Evolution(weights, start, 0.0, 1.0, seed=0, evaluate=evaluate, ideal=ideal)
    for _ in range(n_generations):
        found.step()
    return found


def gaps(found: Evolution, weights: np.ndarray, front: np.ndarray) -> np.ndarray:
    """How far each weight vector's Chebyshev value is above the least one on the front, for the ideal point 0."""
    return np.diagonal(chebyshev(weights, found.values, np.zeros(1))) - chebyshev(weights, front, np.zeros(1)).min(axis=1)


ZDT1_FRONT = np.stack([np.linspace(0, 1, 2001) ** 2, 1 - np.linspace(0, 1, 2001)], axis=1)


@pytest.mark.full
@needs_pymoo
def test_zdt1_from_its_worst_corner_to_its_front() -> None:
    """40 weight vectors, 5 variables, all from beside (1, ..., 1): each at its own point of the front, to 5e-3."""
    start = 1 - 0.05 * np.random.default_rng(0).random((40, 5))
    found = grown(100, simplex(40), start, zdt1)
    assert zdt1(start)[:, 1].min() > 5
    assert gaps(found, simplex(40), ZDT1_FRONT).max() < 5e-3
    assert (found.values[:, 1] - (1 - np.sqrt(found.values[:, 0]))).max() < 0.01


@pytest.mark.full
@needs_pymoo
def test_with_the_least_values_met_as_its_ideal_point_an_end_of_the_front_stays_empty() -> None:
    """The lower bound matters: of the same start the weights of the far end are off their point by more than 0.05."""
    start = 1 - 0.05 * np.random.default_rng(0).random((40, 5))
    found = grown(100, simplex(40), start, zdt1, ideal=np.inf)
    assert gaps(found, simplex(40), ZDT1_FRONT).max() > 0.05
    assert (found.ideal > 0).any()


@pytest.mark.full
@needs_pymoo
def test_three_objectives_reach_the_triangle() -> None:
    """12 weight vectors, 4 variables: each at its own point of the triangle of the minimisers, to 0.02."""
    weights = np.vstack([np.array([(i, j, 6 - i - j) for i in range(1, 5) for j in range(1, 6 - i)]) / 6, np.eye(3, 3)[:2] * 0.4 + 0.2])
    found = grown(200, weights, 0.9 + 0.1 * np.random.default_rng(0).random((len(weights), 4)), three_quadratics)
    grid = np.array([(i, j, 100 - i - j) for i in range(101) for j in range(101 - i)]) / 100
    assert gaps(found, weights, three_quadratics(np.pad(grid, ((0, 0), (0, 1))))).max() < 0.02


@needs_pymoo
@pytest.mark.parametrize("n", [2, 3])
def test_a_population_of_two_or_three(n: int) -> None:
    """From identical individuals, where mutation alone moves them: 200 generations halve each one's Chebyshev value."""
    found = grown(0, simplex(n), np.full((n, 3), 0.9), zdt1)
    before = np.diagonal(chebyshev(simplex(n), found.values, np.zeros(2))).copy()
    for _ in range(200):
        found.step()
    assert found.positions.shape == (n, 3)
    assert (np.diagonal(chebyshev(simplex(n), found.values, np.zeros(2))) < before / 2).all()


@needs_pymoo
@pytest.mark.parametrize("ideal", [0.0, np.inf])
@pytest.mark.parametrize("n_objectives", [2, 3])
def test_continued_from_its_population_it_is_the_same_to_the_bit(n_objectives: int, ideal: float) -> None:
    """Positions, values and the generation are all there is (and the ideal point, where it is not known)."""
    evaluate, weights = (zdt1, simplex(7)) if n_objectives == 2 else (three_quadratics, np.eye(3) * 0.7 + 0.1)
    start = np.random.default_rng(3).random((len(weights), 4))
    whole = grown(9, weights, start, evaluate, ideal)
    paused = grown(4, weights, start, evaluate, ideal)
    for _ in range(5):
        state = paused.positions.copy(), paused.values.copy(), paused.generation
        z = paused.ideal.copy() if np.isinf(ideal) else ideal
        paused = Evolution(weights, state[0], 0.0, 1.0, 0, evaluate, values=state[1], generation=state[2], ideal=z)
        paused.step()
    np.testing.assert_array_equal(paused.positions, whole.positions)
    np.testing.assert_array_equal(paused.values, whole.values)
    assert paused.generation == whole.generation == 9


@needs_pymoo
def test_another_seed_or_generation_is_another_continuation() -> None:
    """The hypothesis of the test above is needed: what is random depends on both."""
    start, ends = np.random.default_rng(3).random((7, 4)), []
    for seed, generation in ((0, 0), (1, 0), (0, 1)):
        found = Evolution(simplex(7), start, 0.0, 1.0, seed, zdt1, values=zdt1(start), generation=generation)
        found.step()
        ends.append(found.positions)
    assert not np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


@needs_pymoo
def test_each_weight_vector_has_the_best_of_the_population_and_never_loses_it() -> None:
    """By the Chebyshev value of its own weights, after every generation and at the start."""
    found, before = grown(0, simplex(8), np.random.default_rng(1).random((8, 4)), zdt1), np.full(8, np.inf)
    for _ in range(20):
        scores = chebyshev(simplex(8), found.values, np.zeros(2))
        np.testing.assert_array_equal(np.diagonal(scores), scores.min(axis=1))
        np.testing.assert_array_equal(found.values, zdt1(found.positions))
        assert (np.diagonal(scores) <= before).all()
        before = np.diagonal(scores).copy()
        found.step()


@needs_pymoo
def test_the_ideal_point_follows_values_below_its_lower_bound() -> None:
    start = np.random.default_rng(1).random((8, 4))
    found = grown(5, simplex(8), start, lambda x: zdt1(x) - np.array([0.5, 0.0]))
    assert found.ideal[0] < 0
    assert found.ideal[0] <= found.values[:, 0].min()
    assert found.ideal[1] == 0


@needs_pymoo
def test_the_bounds_hold_and_the_arguments_are_not_modified() -> None:
    start, weights = np.random.default_rng(1).normal(size=(6, 4)), simplex(6)
    lower, upper = np.array([0.0, 0.2, -0.5, 0.0]), np.array([1.0, 0.4, 2.0, 1.0])
    given = start.copy(), weights.copy()
    seen: list[np.ndarray] = []
    found = Evolution(weights, start, lower, upper, 0, lambda x: seen.append(x.copy()) or three_quadratics(x)[:, :2])  # type: ignore[func-returns-value]
    for _ in range(10):
        found.step()
    assert [len(x) for x in seen] == [6] + 60 * [1]
    assert all((lower <= x).all() and (x <= upper).all() for x in seen)
    np.testing.assert_array_equal(start, given[0])
    np.testing.assert_array_equal(weights, given[1])


@needs_pymoo
def test_values_that_are_not_finite_lose() -> None:
    """They do not touch the ideal point, not even -inf, and are replaced by the first that is finite."""

    def broken(x: np.ndarray) -> np.ndarray:
        values = zdt1(x)
        values[x[:, 0] > 0.5] = np.nan
        values[x[:, 0] < 0.1, 0] = -np.inf
        return values

    start = np.random.default_rng(0).random((6, 3))
    start[:3, 0] = 0.9
    found = grown(15, simplex(6), start, broken)
    assert (found.values < 100).all()
    assert ((found.positions[:, 0] <= 0.5) & (found.positions[:, 0] >= 0.1)).all()


@needs_pymoo
def test_global_random_states_are_left_alone() -> None:
    np.random.seed(1)
    random.seed(1)
    state, python_state = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[union-attr, index]
    grown(2, simplex(4), np.full((4, 3), 0.5), zdt1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[index]
    assert random.getstate() == python_state


@needs_pymoo
def test_nothing_is_printed_and_importing_the_module_does_not_import_pymoo() -> None:
    """In a fresh process, where pymoo would advise on its compiled modules once."""
    code = """
import sys
from trainer.methods.evolution import Evolution
assert not any(name.partition(".")[0] == "pymoo" for name in sys.modules)
import numpy as np
Evolution(np.eye(2), np.zeros((2, 2)), -1.0, 1.0, 0, lambda x: x**2).step()
from pymoo.config import Config
assert Config.warnings["not_compiled"]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_a_missing_pymoo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo.config", None)  # what Python does with a module that is not there
    with pytest.raises(MissingPymooError, match=r"pip install 'pareto-sweep\[moead\]'"):
        Evolution(np.eye(2), np.zeros((2, 2)), 0.0, 1.0, 0, zdt1)
    assert issubclass(evolution.MissingPymooError, ImportError)


@needs_pymoo
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.eye(3)}, r"found shapes \(3, 3\) and \(2, 2\)"),
        ({"weights": np.eye(2)[:1], "start": np.zeros((1, 2))}, "found n = 1"),
        ({"weights": -np.eye(2)}, "weights >= 0 and finite"),
        ({"start": np.full((2, 2), np.nan)}, "finite start"),
        ({"lower": 1.0}, r"lower < upper, found lower = 1\.0, upper = 1\.0"),
        ({"seed": -1}, "found seed = -1"),
        ({"values": np.zeros((2, 3))}, r"values of shape \(2, 2\), found \(2, 3\)"),
        ({"n_neighbors": 1}, "found n_neighbors = 1"),
        ({"evaluate": lambda x: x[:, 0]}, r"return shape \(2, 2\), found shape \(2,\)"),
    ],
)
def test_errors_name_the_value(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"weights": np.eye(2), "start": np.zeros((2, 2)), "lower": 0.0, "upper": 1.0, "seed": 0}
    arguments["evaluate"] = lambda x: x
    with pytest.raises(ValueError, match=message):
        Evolution(**(arguments | change))  # type: ignore[arg-type]
