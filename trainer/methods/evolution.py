"""MOEA/D, evolution by decomposition: one individual for each weight vector, bred from its neighbours. Uses pymoo, an optional extra."""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_WORST = 1e300


class MissingPymooError(ImportError):
    """pymoo, which MOEA/D needs, is not installed."""


class Evolution:
    """A population with one individual for each weight vector, which moves towards the front with every `step`.

    Weight vector i keeps the individual with the smallest Chebyshev value max_j weights[i, j] (F_j - z_j) in the whole population, where z
    is the ideal point. With z = 0 the weights have the meaning of a preference k with the reference point 0 in the Chebyshev scalarization,
    and this value never increases. An Evolution that is created with the `positions`, `values` and `generation` of another one (and with
    its `ideal`, unless that is known from the start) continues exactly as the other would.

    Attributes:
        positions: shape (n, n_vars), float64, within the bounds; row i is the individual of weight vector i.
        values: shape (n, n_objectives), float64; the objectives of `positions`. A value that is not finite counts as 1e300.
        generation: number of generations so far.
        ideal: z, shape (n_objectives,): the given lower bounds, or the smallest values so far where these are lower.

    Source: Zhang and Li, IEEE Trans. Evol. Comput. 2007, with simulated binary crossover and polynomial mutation (Deb and
    Agrawal 1995; Deb and Goyal 1996), as implemented in pymoo. We depart from them in two points. First, at the end of a generation each
    weight vector takes the best individual of the whole population, not only of its neighbours. Second, the ideal point starts at a known
    lower bound: if it starts at the smallest values so far, as in the sources, it follows the first individuals, and the distant end of
    ZDT1's front stays empty (tests/theory/test_moead.py).
    """

    def __init__(
        self,
        weights: Array,
        start: Array,
        lower: Array | float,
        upper: Array | float,
        seed: int,
        evaluate: Callable[[Array], Array],
        *,
        values: Array | None = None,
        generation: int = 0,
        ideal: Array | float = 0.0,
        n_neighbors: int = 20,
    ) -> None:
        """Create a population, or continue one with its `values` and `generation`.

        Args:
            weights: reference directions, shape (n, n_objectives), n >= 2, >= 0. A weight of 0 ignores its objective.
            start: positions, shape (n, n_vars), finite; clipped to the bounds. Not modified.
            lower: smallest value of each variable, shape (n_vars,) or a number.
            upper: largest value of each variable, shape (n_vars,) or a number, > lower.
            seed: >= 0; together with `generation` it determines all random numbers. Global random states do not change.
            evaluate: maps positions of shape (any number, n_vars), float64, to objectives of shape (that number, n_objectives),
                which are minimised. It is called once with all n rows at the start, and then with the single row of each offspring,
                n times in each generation. It must return the same objectives for the same rows, or a continued run differs.
            values: objectives of `start`, if they are already known from another Evolution; None to evaluate them.
            generation: number of generations of `start`.
            ideal: lower bounds of the objectives, shape (n_objectives,) or a number; losses are known to be >= 0. With inf, the smallest
                values so far are used, as in the sources; the attribute `ideal` is then part of the state.
            n_neighbors: number of individuals, at most n, that an individual breeds and competes with, including itself.

        Raises:
            MissingPymooError: pymoo is not installed.
            ValueError: a shape or a value is violated; the message names it.
        """
        self._pymoo = _pymoo()
        self._weights, self.positions = np.array(weights, dtype=np.float64), np.array(start, dtype=np.float64)
        _check(self._weights, self.positions, seed, n_neighbors)
        n_vars = self.positions.shape[1]
        self._lower, self._upper = (np.broadcast_to(np.asarray(bound, dtype=np.float64), n_vars) for bound in (lower, upper))
        if not (self._lower < self._upper).all():
            raise ValueError(f"Evolution expects lower < upper, found lower = {lower}, upper = {upper}")
        self._seed, self._evaluate, self._n_neighbors = seed, evaluate, n_neighbors
        self.generation = generation
        self.positions = self.positions.clip(self._lower, self._upper)
        if values is None:
            self.values = self._objectives(self.positions)
            self.ideal = np.minimum(ideal, self.values.min(axis=0))
            self._settle(self.positions, self.values)
        else:
            self.values = np.array(values, dtype=np.float64)
            if self.values.shape != self._weights.shape:
                raise ValueError(f"Evolution expects values of shape {self._weights.shape}, found {self.values.shape}")
            self.ideal = np.minimum(ideal, self.values.min(axis=0))

    def step(self) -> None:
        """Run one generation: in random order, each weight vector's neighbours breed an offspring, which replaces those it improves on."""
        pymoo = self._pymoo
        (seed,) = np.random.SeedSequence([self._seed, self.generation]).generate_state(1)
        algorithm = pymoo["MOEAD"](
            ref_dirs=self._weights,
            n_neighbors=self._n_neighbors,
            decomposition=pymoo["Tchebicheff"](),
            sampling=pymoo["Population"].new(X=self.positions, F=self.values),
            crossover=pymoo["SBX"](prob=1.0, eta=20),
            mutation=pymoo["PM"](eta=20),
            seed=int(seed),
        )
        problem = pymoo["Problem"](n_var=len(self._lower), n_obj=self._weights.shape[1], xl=self._lower, xu=self._upper)
        algorithm.setup(problem, termination=pymoo["NoTermination"]())
        algorithm.tell(infills=algorithm.ask())  # the current population
        algorithm.ideal = self.ideal
        for _ in range(len(self._weights)):
            offspring = algorithm.ask()
            offspring.F = self._objectives(offspring.X[None])[0]
            algorithm.tell(infills=offspring)
        self.ideal = algorithm.ideal
        self._settle(algorithm.pop.get("X"), algorithm.pop.get("F"))
        self.generation += 1

    def _objectives(self, positions: Array) -> Array:
        values = np.asarray(self._evaluate(positions), dtype=np.float64)
        expected = (len(positions), self._weights.shape[1])
        if values.shape != expected:
            raise ValueError(f"Evolution expects evaluate to return shape {expected}, found shape {values.shape}")
        return np.where(np.isfinite(values), values, _WORST)

    def _settle(self, positions: Array, values: Array) -> None:
        """Assign the best individual to each weight vector; in a tie, the vector keeps its own."""
        excess = np.abs(values - self.ideal)
        scores = (self._weights[:, None] * excess).max(axis=2)
        best = scores.argmin(axis=1)
        own = np.arange(len(best))
        best = np.where(scores[own, own] <= scores[own, best], own, best)
        self.positions, self.values = positions[best], values[best]


def _check(weights: Array, start: Array, seed: int, n_neighbors: int) -> None:
    if weights.ndim != 2 or start.ndim != 2 or len(weights) != len(start) or 0 in (*weights.shape, *start.shape):
        raise ValueError(
            f"Evolution expects weights (n, n_objectives) and start (n, n_vars), found shapes {weights.shape} and {start.shape}"
        )
    if len(weights) < 2:
        raise ValueError(f"Evolution expects at least 2 weight vectors (offspring have two parents), found n = {len(weights)}")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"Evolution expects weights >= 0 and finite, found weights = {weights.tolist()}")
    if not np.isfinite(start).all():
        raise ValueError("Evolution expects a finite start, found NaN or infinity")
    if seed < 0:
        raise ValueError(f"Evolution expects seed >= 0, found seed = {seed}")
    if n_neighbors < 2:
        raise ValueError(f"Evolution expects n_neighbors >= 2 (two parents), found n_neighbors = {n_neighbors}")


def _pymoo() -> dict[str, Any]:
    """Return the pymoo classes that are needed, by name, and suppress pymoo's message about compiled modules."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = import_module("pymoo.config").Config
            advises = config.warnings["not_compiled"]
            config.warnings["not_compiled"] = False
            try:
                import_module("pymoo.functions").FunctionLoader.get_instance()  # pymoo prints its message once per process, here
            finally:
                config.warnings["not_compiled"] = advises
            modules = {
                "MOEAD": "pymoo.algorithms.moo.moead",
                "Population": "pymoo.core.population",
                "Problem": "pymoo.core.problem",
                "NoTermination": "pymoo.core.termination",
                "Tchebicheff": "pymoo.decomposition.tchebicheff",
                "SBX": "pymoo.operators.crossover.sbx",
                "PM": "pymoo.operators.mutation.pm",
            }
            return {name: getattr(import_module(module), name) for name, module in modules.items()}
    except ImportError as error:
        raise MissingPymooError(f"MOEA/D needs pymoo ({error}): pip install 'pareto-sweep[moead]'") from error
