"""Preference vectors placed in rounds, so that their trials fill a front evenly (`preferences: {front: {n: ...}}`).

Round 1 finds the ends of the front, round 2 scans what lies between them, and each later round fills the gaps that the rounds before it
left. A round depends only on the results of earlier rounds, and neither on how many vectors are wanted in all nor on the order in which
trials ended. A larger number therefore continues the same sequence.

Directions follow Pascoletti and Serafini (Journal of Optimization Theory and Applications 42, 1984): where all weighted objectives
k_i (F_i - a_i) are equal, the ray from the reference point a with the direction 1 / k_i meets the front in F. So a target M on the front
stands for the vector k_i = b_i / (M_i - a_i), where b_i is the share of objective i in the weighted objectives of the target's neighbours.
Sparsity acts through a proximal operator and never balances, so its preference k_0 is found by inverting the response that was measured:
the sparsity of the trials as a monotone function of log(k_0 / (1 - k_0)).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Kind = Literal["ends", "scan", "fill"]
Array = NDArray[np.float64]

MAX_OBJECTIVES = 4
"""With more objectives, gaps are not compared by hypervolume and the number of directions grows beyond what a sweep can train."""
N_PROMISED = 10
"""The number of gaps whose promise decides whether placing is worth going on."""
CLOSE = 0.05
"""A vector is expected to give the same point as one that was tried if no entry differs by more than this fraction."""
_CLOSE_SHARE, _FINEST = 0.03, 0.005
"""Where sparsity rises steeply, vectors count as close only if their expected sparsities differ by less than the first (a share of its
range), or their k_0 by less than the second (a fraction)."""
_ZERO = 1e-6
_N_SCAN = 8
_SMALLEST, _LARGEST = 4, 24
_FAVOUR = 0.9
"""The share of the favoured task at an end of a front with sparsity, and k_0 at its sparse end."""
_EXTREME = 0.98
"""The share of the favoured objective at an end of a front without sparsity, whose Chebyshev points are exact."""
_LEAST_ODDS, _MOST_ODDS = 1e-6, 0.1
_DECADE = math.log(10)
_MARGIN = 0.05
_DIGITS = 4
_VALUE_DIGITS = 6
"""Results are rounded to this many digits, so that their last bits do not change a vector."""
_SCORE_DIGITS = 9
_N_LEVELS = 33
_N_DIRECTIONS = {1: 1, 2: 32, 3: 12}
_N_MIXTURES = {2: 64, 3: 24, 4: 10}
"""Divisions of the lattice of task directions (with sparsity) or of mixtures of corners (without) in which the largest empty cell is
searched, by the number of tasks."""


@dataclass(frozen=True)
class Placed:
    """A preference vector, and why it was chosen."""

    preference: tuple[float, ...]
    """Shape (n_objectives,): >= 0 and sums to 1; all entries except the largest have at most four digits."""
    reason: str
    """A phrase for the user."""


@dataclass(frozen=True)
class Round:
    """The vectors of one round."""

    kind: Kind
    placed: tuple[Placed, ...]
    """Empty if no vector is left that differs enough from those that were tried."""
    promised: float | None = None
    """The hypervolume that the middles of the `N_PROMISED` best gaps would add, as a fraction of the hypervolume that is there; None
    before the first `fill`, and if there is no front yet."""


@dataclass(frozen=True)
class Results:
    """The trials of all earlier rounds, in the order in which they were placed."""

    preferences: ArrayLike
    """Shape (n_trials, n_objectives)."""
    values: ArrayLike
    """Shape (n_trials, n_objectives), minimised, in the objectives' own units; not finite for a trial that did not end ok."""
    rates: ArrayLike | None
    """Shape (n_trials,), the sparsity rates as fractions; None if there are none, so that the sparsity objective itself is used."""
    origin: ArrayLike
    """Shape (n_objectives,), the reference point a, in units of the values."""
    scale: ArrayLike
    """Shape (n_objectives,), > 0: what each objective is divided by in training (`scaling: anchors`), otherwise ones."""
    names: Sequence[str] = field(default=())
    """Shape (n_trials,): names of the trials for the reasons."""


def end_vectors(objectives: Sequence[str], has_sparsity: bool) -> tuple[Placed, ...]:
    """Return the vectors of round 1, at the ends of a front of which nothing is known yet.

    Args:
        objectives: names of the objectives, sparsity first if `has_sparsity`.
        has_sparsity: whether the first objective is sparsity, which k_0 = 0 turns off.

    Returns:
        With sparsity: the dense network with even tasks, a dense one that favours each task, and the sparsest. Otherwise: even, then
        each objective favoured, then (with more than two objectives) each objective sacrificed.
    """
    tasks = objectives[1:] if has_sparsity else objectives
    m = len(tasks)
    even = [1 / m] * m
    if has_sparsity:
        dense = [_placed([0.0, *even], "dense, tasks even" if m > 1 else "dense")]
        if m > 1:
            dense += [_placed([0.0, *_favouring(i, m, _FAVOUR)], f"dense, most weight on {task}") for i, task in enumerate(tasks)]
        return (*dense, _placed([_FAVOUR, *((1 - _FAVOUR) * w for w in even)], f"sparsest: {_FAVOUR} on sparsity"))
    ends = [_placed(even, "all objectives even")]
    ends += [_placed(_favouring(i, m, _EXTREME), f"an end: most weight on {task}") for i, task in enumerate(tasks)]
    if m > 2:
        ends += [_placed(_favouring(i, m, 1 - _EXTREME), f"an end: least weight on {task}") for i, task in enumerate(tasks)]
    return tuple(ends)


def next_round(objectives: Sequence[str], has_sparsity: bool, n_rounds: int, results: Results) -> Round:
    """Return the vectors of the round that follows the given results.

    Args:
        objectives: as for `end_vectors`.
        has_sparsity: as for `end_vectors`.
        n_rounds: number of earlier rounds, at least 1.
        results: all trials of the earlier rounds, complete or failed.

    Returns:
        A `scan` after round 1, and a `fill` after any other. The vectors of a round are in an order in which every beginning is useful.

    Raises:
        ValueError: shapes do not match, or `n_rounds` is 0.
    """
    front = _Front(objectives, has_sparsity, results)
    if n_rounds < 1:
        raise ValueError("next_round expects at least one earlier round; `end_vectors` returns the first")
    if n_rounds == 1:
        return Round("scan", tuple(_new(front, front.scan(), _N_SCAN)))
    gaps = front.gaps()
    promised = sum(gain for gain, _ in gaps[:N_PROMISED]) / front.volume if front.volume > 0 else None
    size = min(_LARGEST, max(_SMALLEST, 2 * len(front.k) // 3))
    by_volume = (_gap(front, gain, pair) for gain, pair in gaps)
    return Round("fill", tuple(_alternating(front, by_volume, size)), None if promised is None else float(f"{promised:.{_DIGITS}g}"))


def _new(front: "_Front", candidates: Iterator[Placed], n: int) -> Iterator[Placed]:
    """Yield at most n candidates that are not close to a vector that was tried or yielded before."""
    for candidate in candidates:
        if n and front.try_vector(candidate):
            n -= 1
            yield candidate


def _alternating(front: "_Front", by_volume: Iterator[Placed], n: int) -> Iterator[Placed]:
    """Yield n vectors, in turn for the gap that promises most hypervolume and for the largest empty place."""
    sources: list[Iterator[Placed]] = [_new(front, by_volume, n), front.emptiest()]
    turn = 0
    while n and sources:
        candidate = next(sources[turn % len(sources)], None)
        if candidate is None:
            sources.pop(turn % len(sources))
            continue
        turn, n = turn + 1, n - 1
        yield candidate


def _gap(front: "_Front", gain: float, pair: tuple[int, int]) -> Placed:
    share = 100 * gain / front.volume
    names = " and ".join(front.names[row] for row in pair)
    return _placed(front.vector_between(*pair), f"between trials {names}, promises {share:.2g} % of the hypervolume")


class _Front:
    """The results of the earlier rounds in comparable units, and the vectors that were placed in this round so far."""

    def __init__(self, objectives: Sequence[str], has_sparsity: bool, results: Results) -> None:
        k = np.asarray(results.preferences, dtype=np.float64)
        raw, scale = np.asarray(results.values, dtype=np.float64), np.asarray(results.scale, dtype=np.float64)
        if k.ndim != 2 or raw.shape != k.shape or k.shape[1] != len(objectives) or scale.shape != (k.shape[1],):
            raise ValueError(
                f"next_round expects preferences and values of shape (n_trials, {len(objectives)}), found {k.shape} and {raw.shape}"
            )
        self.objectives, self.has_sparsity, self.k = tuple(objectives), has_sparsity, k
        self.names = tuple(results.names) or tuple(str(row + 1) for row in range(len(k)))
        self.origin = np.asarray(results.origin, dtype=np.float64) / scale
        self.weighed = _short(raw / scale, _VALUE_DIGITS)
        """The objectives as they are weighted in training, shape (n_trials, n_objectives)."""
        self.rates = None if results.rates is None else _short(np.asarray(results.rates, dtype=np.float64), _VALUE_DIGITS)
        shown = self.weighed.copy()
        if has_sparsity and self.rates is not None:
            shown[:, 0] = 1 - self.rates
        self.is_ok: NDArray[np.bool_] = np.isfinite(np.concatenate([self.weighed, shown], axis=1)).all(axis=1)
        self.values = _unit(shown, self.is_ok)
        """The objectives between ideal (0) and nadir (1) of the front, shape (n_trials, n_objectives)."""
        self.rows = np.flatnonzero(_nondominated(self.values, self.is_ok))
        """The trials on the front."""
        self.corner = np.full(k.shape[1], 1 + _MARGIN)
        self.volume = _volume(self.values[self.rows], self.corner)
        self.done = k
        self.response = _Response(k[:, 0], shown[:, 0], self.is_ok) if has_sparsity else None
        self.corners = [] if has_sparsity else [1, 2] if len(objectives) == 2 else list(range(1 + k.shape[1], 1 + 2 * k.shape[1]))
        """Without sparsity, the trials of round 1 at each of which only one objective is large (after the even vector)."""
        self.chosen: list[Array] = []
        """Where the vectors of this round are expected, see `_place`."""

    def try_vector(self, candidate: Placed) -> bool:
        """Return whether a vector differs from all that were tried, and if so count it as tried."""
        if not np.isfinite(candidate.preference).all():
            return False
        vector = np.asarray(candidate.preference)
        apart = np.abs(self.done - vector)
        is_close = apart <= CLOSE * np.maximum(self.done, vector) + _ZERO
        if self.response is not None:  # where sparsity rises steeply, k_0 is resolved more finely
            expected = np.abs(self.response.expected(self.done[:, 0]) - self.response.expected(vector[:1]))
            is_close[:, 0] &= (expected < _CLOSE_SHARE) | (apart[:, 0] <= _FINEST * vector[0] + _ZERO)
        if is_close.all(axis=1).any():
            return False
        self.done = np.concatenate([self.done, [vector]])
        self.chosen.append(self._place(vector))
        return True

    # -- scan -----------------------------------------------------------------------------------------------------------

    def scan(self) -> Iterator[Placed]:
        """Yield vectors spread evenly over what lies between the ends, by a low-discrepancy sequence."""
        m = self.k.shape[1] - self.has_sparsity
        if self.has_sparsity:
            low, high = math.log(self._balanced_odds() / 10), math.log(_FAVOUR / (1 - _FAVOUR))
            for index in range(_N_SCAN):
                k0 = _sigmoid(low + _reversed_bits(index, _N_SCAN) * (high - low))
                vector = [k0, *((1 - k0) * _weights(_spacings(index + 1, m)))]
                yield _placed(vector, f"scan: k0 = {k0:.2g}{_tasks_text(self.objectives[1:], vector[1:])}")
            return
        for index in range(2 * _N_SCAN):  # some may be close to an end
            shares = _spacings(index + 1, m)
            yield _placed(self._mixed(self.corners, shares, slice(None)), "scan: an even step between the ends")

    def _balanced_odds(self) -> float:
        """Return k_0 / (1 - k_0) at which sparsity weighs as much as the tasks of a dense network."""
        dense = self.weighed[self.is_ok & (self.k[:, 0] == 0)]
        tasks = (dense[:, 1:] - self.origin[1:]).max(axis=1, initial=-np.inf) / (self.k.shape[1] - 1)
        sparsity = dense[:, 0] - self.origin[0]
        known = (tasks / np.where(sparsity > 0, sparsity, np.nan))[:1] if len(dense) else np.array([np.nan])
        odds = float(known[0])
        return min(_MOST_ODDS, max(10 * _LEAST_ODDS, float(f"{odds:.{_DIGITS}g}"))) if math.isfinite(odds) and odds > 0 else 1e-3

    # -- fill -----------------------------------------------------------------------------------------------------------

    def gaps(self) -> list[tuple[float, tuple[int, int]]]:
        """Return the gaps between neighbours on the front, each with the hypervolume that its middle adds to those before it."""
        from analysis.pareto.neighbors import MAX_POINTS, farthest_points, neighbours

        rows = self.rows
        if len(rows) > MAX_POINTS:
            rows = np.sort(rows[farthest_points(self.values[rows], MAX_POINTS)])
        if len(rows) < 2:
            return []
        pairs = [(int(rows[i]), int(rows[j])) for i, j in neighbours(self.values[rows])]
        middles = [(self.values[i] + self.values[j]) / 2 for i, j in pairs]
        points = self.values[rows]
        volume = _volume(points, self.corner)
        bounds = [_volume(np.concatenate([points, [middle]]), self.corner) - volume for middle in middles]
        gains: list[tuple[float, tuple[int, int]]] = []
        left = set(range(len(pairs)))
        # A middle adds less, the more points there are, so an earlier gain is an upper bound and most need not be computed again.
        while left and len(gains) < 2 * _LARGEST:
            fresh: set[int] = set()
            while (best := max(left, key=lambda at: (round(bounds[at], _SCORE_DIGITS), -at))) not in fresh:
                bounds[best] = _volume(np.concatenate([points, [middles[best]]]), self.corner) - volume
                fresh.add(best)
            left.discard(best)
            if round(bounds[best], _SCORE_DIGITS) <= 0:
                break
            gains.append((float(round(bounds[best], _SCORE_DIGITS)), pairs[best]))
            points = np.concatenate([points, [middles[best]]])
            volume += bounds[best]
        return gains

    def vector_between(self, i: int, j: int) -> Array:
        """Return the vector that is aimed at the middle of two trials."""
        if self.response is None:
            return self._mixed([i, j], np.array([0.5, 0.5]), slice(None))
        weights = self._mixed([i, j], np.array([0.5, 0.5]), slice(1, None))
        place = (self.response.shares[i] + self.response.shares[j]) / 2
        odds = [self.response.log_odds[row] for row in (i, j)]
        k0 = self.response.inverse(place, float(np.mean(odds)))
        return np.array([k0, *((1 - k0) * weights)])

    def emptiest(self) -> Iterator[Placed]:
        """Yield vectors for the places that are farthest from all trials, one after the other.

        With sparsity, places are cells of the square of sparsity and task direction; otherwise mixtures of the front's corners.
        """
        m = self.k.shape[1] - self.has_sparsity
        lattice = _lattice(m, (_N_DIRECTIONS if self.has_sparsity else _N_MIXTURES)[m])
        levels = np.linspace(0, 1, _N_LEVELS if self.response is not None and self.response.rises else 1)
        cells = np.array([(s, *q) for s in levels for q in lattice]) if self.has_sparsity else lattice
        side = np.array([*([1.0] * self.has_sparsity), *([math.sqrt(0.5)] * m)])  # every side of the square or simplex has length 1
        distance = _nearest(cells * side, np.array([self._measured_place(row) for row in range(len(self.k))]) * side)
        n_counted = 0
        while (distance > 0).any():
            for place in self.chosen[n_counted:]:
                distance = np.minimum(distance, _nearest(cells * side, place[None] * side))
            n_counted = len(self.chosen)
            best = int(np.round(distance, _SCORE_DIGITS).argmax())
            if distance[best] <= 0:
                return
            distance[best] = 0
            placed = self._at(cells[best])
            if self.try_vector(placed):
                self.chosen[-1] = cells[best]
                yield placed

    def _at(self, place: Array) -> Placed:
        """Return the vector that is aimed at a place."""
        if self.response is None:
            vector = self._mixed(self.corners, place, slice(None))
            return _placed(vector, f"the emptiest place of the front{_tasks_text(self.objectives, vector)}")
        k0 = self.response.inverse(place[0], None)
        vector = np.array([k0, *((1 - k0) * _weights(place[1:]))])
        return _placed(vector, f"the emptiest place: {self.response.text(place[0])}{_tasks_text(self.objectives[1:], vector[1:])}")

    def _measured_place(self, row: int) -> Array:
        """Return the place of a trial: where it was found if it ended ok, otherwise where its vector is expected."""
        expected = self._place(self.k[row])
        if not self.is_ok[row]:
            return expected
        if self.response is not None:
            return np.array([self.response.shares[row], *expected[1:]])
        return self._mixture(self.weighed[row] - self.origin, expected)

    def _place(self, k: Array) -> Array:
        """Return where a vector is expected: its sparsity, between 0 and 1, and its direction, or its mixture of the corners."""
        if self.response is not None:
            return np.array([float(self.response.expected(k[:1])[0]), *_direction(k[1:])])
        ray = 1 / np.maximum(k, _ZERO)
        return self._mixture(ray, ray / ray.sum())

    def _mixture(self, ray: Array, otherwise: Array) -> Array:
        """Return the mixture of the corners that a ray from the reference point meets, shape (n_objectives,)."""
        corners = self.weighed[self.corners] - self.origin
        if not self.is_ok[self.corners].all() or abs(np.linalg.det(corners)) < _ZERO * np.abs(corners).max() ** len(corners):
            return otherwise
        shares = np.clip(np.linalg.solve(corners.T, ray), 0, None)
        return np.asarray(shares / shares.sum()) if shares.sum() > 0 else otherwise

    def _mixed(self, rows: Sequence[int], shares: Array, part: slice) -> Array:
        """Return the preferences of some objectives for a mixture of the points of several trials.

        The balance of the weighted objectives is mixed, too; where it is not known, preferences are mixed geometrically.
        """
        k, values, origin = self.k[rows][:, part], self.weighed[rows][:, part], self.origin[part]
        known = self.weighed[self.is_ok][:, part]
        least = known.min(axis=0, initial=np.inf)
        span = known.max(axis=0, initial=-np.inf) - least
        origin = np.where(origin < least, origin, least - _MARGIN * np.where(span > 0, span, 1.0))
        with np.errstate(all="ignore"):
            weighted = k * (values - origin)
            balance = shares @ (weighted / weighted.sum(axis=1, keepdims=True))
            mixed = balance / (shares @ values - origin)
            if not (np.isfinite(mixed) & (mixed > 0)).all():
                mixed = np.exp(shares @ np.log(np.maximum(k, _ZERO)))
        return np.asarray(mixed / mixed.sum())


class _Response:
    """The measured sparsity as a monotone function of the log odds of k_0, linear between trials.

    Args:
        k0: shape (n_trials,).
        objective: shape (n_trials,), 1 - sparsity rate, or the sparsity objective; smaller is sparser.
        is_ok: shape (n_trials,).

    Source of the fit: the pool-adjacent-violators algorithm, Ayer et al., Annals of Mathematical Statistics 26(4), 1955.
    """

    def __init__(self, k0: Array, objective: Array, is_ok: NDArray[np.bool_]) -> None:
        known = objective[is_ok]
        self._most, self._least = (float(known.max()), float(known.min())) if len(known) else (1.0, 1.0)
        length = self._most - self._least
        self.shares = np.where(is_ok, (self._most - np.where(is_ok, objective, 0.0)) / (length or 1.0), np.nan)
        """Shape (n_trials,): 0 for the least sparse trial and 1 for the sparsest; NaN for those that did not end ok."""
        self.rises = length > 0
        sparse = k0[k0 > 0]
        least = max(_LEAST_ODDS * 10, float(sparse.min())) if len(sparse) else 10 * _LEAST_ODDS
        # Dense trials stand a decade below the smallest k_0, so that a response that has risen there already is searched further down.
        self._dense = _logit(least) - _DECADE
        self.log_odds = np.array([_logit(share) if share > 0 else self._dense for share in k0])
        self._is_rate = bool(((known >= 0) & (known <= 1)).all())
        self._x, self._fit = _isotonic(self.log_odds[is_ok], self.shares[is_ok])

    def expected(self, k0: Array) -> Array:
        """Return the sparsities, between 0 and 1, that are expected for several k_0; shape (n,)."""
        log_odds = [_logit(share) if share > 0 else self._dense for share in k0]
        return np.interp(log_odds, self._x, self._fit) if len(self._x) else np.zeros(len(k0))

    def inverse(self, share: float, near: float | None) -> float:
        """Return the k_0 at which a sparsity is expected.

        Args:
            share: between 0 (least sparse) and 1 (sparsest).
            near: log odds to prefer where several k_0 give the same sparsity; None prefers the middle.
        """
        x, fit = self._x, self._fit
        if not len(x) or (share <= fit[0] + _ZERO and (near is None or near <= self._dense + _ZERO)):
            return 0.0
        share = min(max(share, float(fit[0])), float(fit[-1]))
        same = np.flatnonzero(np.abs(fit - share) <= _ZERO)
        if len(same):
            low, high = float(x[same[0]]), float(x[same[-1]])
            log_odds = (low + high) / 2 if near is None else min(max(near, low), high)
        else:
            above = int(np.searchsorted(fit, share))
            step = (share - fit[above - 1]) / (fit[above] - fit[above - 1])
            log_odds = float(x[above - 1] + step * (x[above] - x[above - 1]))
        k0 = _sigmoid(log_odds)
        return 0.0 if log_odds <= self._dense + _ZERO or k0 < _LEAST_ODDS else k0

    def text(self, share: float) -> str:
        """Describe a sparsity between 0 and 1 in the units of the objective."""
        value = self._most - share * (self._most - self._least)
        return f"about {100 * (1 - value):.0f} % sparsity" if self._is_rate else f"a sparsity objective of about {value:.3g}"


def _isotonic(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the distinct x in ascending order, and the non-decreasing values that are nearest to the means of y there."""
    distinct, inverse = np.unique(np.round(x, _SCORE_DIGITS), return_inverse=True)
    blocks: list[list[float]] = []  # sum, weight, number of x
    for at in range(len(distinct)):
        here = y[inverse == at]
        blocks.append([float(here.sum()), float(len(here)), 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    fit = [total / weight for total, weight, n in blocks for _ in range(int(n))]
    return distinct, np.asarray(np.round(fit, _SCORE_DIGITS), dtype=np.float64)


def _unit(values: Array, is_ok: NDArray[np.bool_]) -> Array:
    """Divide objectives by their range between ideal and nadir of the front; NaN for trials that are not ok."""
    front = values[_nondominated(values, is_ok)]
    if not len(front):
        return np.full(values.shape, np.nan)
    least, length = front.min(axis=0), np.ptp(front, axis=0)
    return np.asarray(np.where(is_ok[:, None], (values - least) / np.where(length > 0, length, 1.0), np.nan))


def _nondominated(values: Array, is_ok: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from analysis.pareto.dominance import nondominated

    return np.asarray(nondominated(np.where(is_ok[:, None], values, np.nan)), dtype=np.bool_) & is_ok


def _volume(points: Array, corner: Array) -> float:
    from analysis.pareto.indicators import hypervolume

    return hypervolume(points, corner) if len(points) else 0.0


def _lattice(m: int, divisions: int) -> Array:
    """Return the points of a regular lattice on the simplex, shape (n_points, m)."""
    steps = [step for step in product(range(divisions + 1), repeat=m) if sum(step) == divisions]
    return np.array(steps, dtype=np.float64) / divisions


def _nearest(cells: Array, points: Array) -> Array:
    """Return the distance from each cell to the nearest point, shape (n_cells,)."""
    if not len(points):
        return np.full(len(cells), np.inf)
    return np.asarray(np.sqrt(((cells[:, None] - points[None]) ** 2).sum(axis=2)).min(axis=1))


def _favouring(index: int, m: int, share: float) -> list[float]:
    return [share if i == index else (1 - share) / (m - 1) for i in range(m)]


def _weights(direction: Array) -> Array:
    """Return the task weights of a direction: at its corners the ends of the front, geometric in between; shape (n_tasks,)."""
    weights = np.exp(_steepness(len(direction)) * np.asarray(direction))
    return np.asarray(weights / weights.sum())


def _direction(weights: Array) -> Array:
    """Return the direction of task weights, which sums to 1; the inverse of `_weights`, clipped to the range that the ends span."""
    m = len(weights)
    if m == 1 or not (weights > 0).any():
        return np.full(m, 1 / m)
    log = np.log(np.maximum(weights, _ZERO))
    inside = np.clip(1 / m + (log - log.mean()) / _steepness(m), 0, None)
    return np.asarray(inside / inside.sum())


def _steepness(m: int) -> float:
    return math.log(_FAVOUR * (m - 1) / (1 - _FAVOUR)) if m > 1 else 1.0


def _spacings(index: int, m: int) -> Array:
    """Return point `index` (1, 2, ...) of a sequence that fills the simplex evenly, shape (m,), >= 0, sums to 1.

    Source: the additive recurrence R_d of Roberts (2018), sorted, whose spacings are uniform on the simplex.
    """
    ratio = 2.0
    for _ in range(60):  # the generalised golden ratio solves x^m = x + 1
        ratio = (1 + ratio) ** (1 / m)
    coordinates = np.sort([(0.5 + index / ratio**power) % 1 for power in range(1, m)])
    return np.diff(np.concatenate([[0.0], coordinates, [1.0]]))


def _reversed_bits(index: int, n: int) -> float:
    """Return index / n with its binary digits reversed, so that every beginning of the sequence is spread; n is a power of two."""
    digits = f"{index:0{n.bit_length() - 1}b}"
    return int(digits[::-1], 2) / n


def _tasks_text(tasks: Sequence[str], weights: ArrayLike) -> str:
    shares_of = np.asarray(weights, dtype=np.float64)
    total = float(shares_of.sum())
    shares = [f"{100 * weight / total:.0f} % {task}" for task, weight in zip(tasks, shares_of.tolist(), strict=True)]
    return f", tasks {' / '.join(shares)}" if len(tasks) > 1 else ""


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def _short(values: Array, digits: int) -> Array:
    """Round to significant digits."""
    flat = [float(f"{value:.{digits}g}") for value in np.asarray(values, dtype=np.float64).ravel()]
    return np.asarray(flat, dtype=np.float64).reshape(np.shape(values))


def _placed(vector: ArrayLike, reason: str) -> Placed:
    """Round a vector to four significant digits; the largest entry is adjusted so that the sum is 1."""
    short = _short(np.asarray(vector, dtype=np.float64), _DIGITS)
    if np.isfinite(short).all():
        largest = int(short.argmax())
        short[largest] = round(1 - float(np.delete(short, largest).sum()), 12)
    return Placed(tuple(float(entry) for entry in short), reason)
