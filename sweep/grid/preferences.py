"""Preference grids: the vectors k of a study, which trains one network for each of them.

A vector holds k_0 (sparsity, if the problem has this objective) and one preference per task; all are >= 0 and sum to 1. Grids are
computed with fractions from the decimal text of the numbers, so that 0.9 of a tenth is 0.09 and not 0.09000000000000001.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from sweep.grid.source.mistakes import Mistake, shown
from sweep.grid.source.mistakes import Path as Keys
from sweep.grid.source.preferences_csv import read_vectors
from trainer.problems.facts import SPARSITY
from trainer.settings import Range

Vector = tuple[float, ...]
"""One preference vector, shape (n_objectives,): sparsity first (if the problem has it), then the tasks."""

MAX_VECTORS = 100_000
MAX_PLACED = 1_000
"""The largest number of vectors that are placed one round after the other; each round looks at all earlier trials."""
_SUM_KEPT = 1e-9
_SUM_ACCEPTED = 1e-6
_DIGITS = 12

_EXAMPLES: list[Any] = [
    "paper",
    {"simplex": {"divisions": 12, "k0": [0, 0.001]}},
    {"list": [[0.1, 0.4, 0.5]]},
    {"file": "k.csv"},
    {"front": {"n": 90}},
]

_Number = Annotated[float, Range()]


class Simplex(BaseModel):
    """A regular lattice on the simplex."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)

    divisions: Annotated[int, Range(ge=1, le=10_000)]
    """Steps from 0 to 1 along each edge of the lattice."""
    k0: Annotated[tuple[Annotated[float, Range(ge=0, lt=1)], ...], Field(min_length=1)] | None = None
    """Sparsity preferences: each is combined with all lattice points over the tasks, times 1 - k0. Without this key the lattice spans all
    objectives. Not for problems without sparsity."""
    interior: bool = True
    """True: every task's preference is above 0. False: some tasks, but not all, may have preference 0."""


class Until(BaseModel):
    """When to stop placing vectors before `n` is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)

    gain: Annotated[float, Range(gt=0, lt=1)]
    """Stop when the ten best gaps of the front together promise less than this fraction of the hypervolume that is there."""


class Front(BaseModel):
    """A front whose vectors are placed in rounds, each from the results of the rounds before it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, defer_build=True)

    n: Annotated[int, Range(ge=1, le=MAX_PLACED)]
    """How many vectors to place, and so how many networks to train for each seed. A larger number later continues the same sequence."""
    until: Until | None = None
    """When to stop before `n` is reached; default: never."""


class PreferenceSource(BaseModel):
    """One grid: a lattice, a list of vectors, a file of vectors, or a front whose vectors are placed as results arrive."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        defer_build=True,
        json_schema_extra={"minProperties": 1, "maxProperties": 1},
    )

    simplex: Simplex | None = None
    """A regular lattice on the simplex."""
    list: Annotated[tuple[tuple[_Number, ...], ...], Field(min_length=1, max_length=MAX_VECTORS)] | None = None
    """A list of vectors: sparsity first (if the problem has it), then the tasks; each sums to 1 (a sum within 1e-6 of 1 is rescaled)."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """A CSV file of vectors, relative to the grid file; `#` starts a comment, and a header is allowed."""
    front: Front | None = None
    """A number of vectors, placed by the product where the front has gaps, in rounds (docs/method.md). The only entry of `preferences`."""

    @model_validator(mode="after")
    def _one_kind(self) -> "PreferenceSource":
        given = [name for name in ("simplex", "list", "file", "front") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("exactly one of simplex, list, file, front expected" + (f", found {' and '.join(given)}" if given else ""))
        return self


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "<name>"
    if isinstance(value, Mapping | PreferenceSource):
        return "<source>"
    return "<union>" if isinstance(value, list | tuple) else None


_WRONG_TYPE = {
    "custom_error_type": "preference_kind",
    "custom_error_message": "`paper`, or a mapping with one of simplex, list, file, front expected",
}
PreferenceGrid = Annotated[
    Annotated[Literal["paper"], Tag("<name>")] | Annotated[PreferenceSource, Tag("<source>")],
    Discriminator(lambda value: None if isinstance(value, list | tuple) else _kind(value), **_WRONG_TYPE),
    Field(examples=_EXAMPLES),
]
Preferences = Annotated[
    Annotated[Literal["paper"], Tag("<name>")]
    | Annotated[PreferenceSource, Tag("<source>")]
    | Annotated[tuple[PreferenceGrid, ...], Field(min_length=1), Tag("<union>")],
    Discriminator(_kind, **_WRONG_TYPE),
    Field(examples=_EXAMPLES),
]
"""A grid, or a list of grids, which means their union without duplicates."""


class PreferenceError(ValueError):
    """A grid has no vectors, or a vector is not on the simplex. `mistakes` holds all mistakes, with paths below `preferences`."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def preference_vectors(preferences: Preferences, objectives: Sequence[str]) -> tuple[Vector, ...]:
    """Return the vectors of a grid or of a union of grids.

    Args:
        preferences: `"paper"`, a `PreferenceSource`, or a tuple of them.
        objectives: names of `ProblemFacts.objectives`: sparsity first, if the problem has it, then the tasks.

    Returns:
        Shape (n_vectors, n_objectives): entries are >= 0, rows sum to 1 (`math.fsum` within 1e-9), and no two rows are equal (at 12
        decimals). The rows are in the order of the grids; within a lattice they are ordered by k_0 as given, then by the first task's
        preference, ascending.

    Raises:
        PreferenceError: the grid has mistakes; the error holds all of them.
    """
    parts = preferences if isinstance(preferences, tuple) else (preferences,)
    mistakes: list[Mistake] = []
    vectors: dict[Vector, Vector] = {}
    for index, part in enumerate(parts):
        path: Keys = (index,) if isinstance(preferences, tuple) else ()
        try:
            for rounded, vector in _grid(part, objectives, path).items():
                vectors.setdefault(rounded, vector)
        except PreferenceError as error:
            mistakes += error.mistakes
    if len(vectors) > MAX_VECTORS:
        mistakes.append(_too_many((), len(vectors)))
    if mistakes:
        raise PreferenceError(mistakes)
    return tuple(vectors.values())


def _grid(grid: Any, objectives: Sequence[str], path: Keys) -> dict[Vector, Vector]:
    """Return the distinct vectors of one grid in their order, keyed by their rounded numbers."""
    has_sparsity = SPARSITY in objectives
    if grid == "paper":
        if len(objectives) != 3 or not has_sparsity:
            k0 = ", k0: [0, 1e-3]" if has_sparsity else ""
            hint = f"use `preferences: {{simplex: {{divisions: 12{k0}}}}}` for this problem"
            rule = f"the grid `paper` needs sparsity and exactly two tasks (the objectives are {', '.join(objectives)})"
            raise PreferenceError([Mistake(path, rule, "paper", hint)])
        return _distinct(paper_grid())
    if grid.simplex is not None:
        return _distinct(simplex_grid(grid.simplex, len(objectives) - has_sparsity, (*path, "simplex"), has_sparsity=has_sparsity))
    if grid.front is not None:  # only in a list: `sweep.grid.resolve` handles a front by itself
        rule = "the only entry of `preferences` expected, because its vectors follow from the results of its own trials"
        raise PreferenceError([Mistake((*path, "front"), rule, hint="write the other vectors into a study of their own")])
    if grid.list is not None:
        return _checked([((*path, "list", index), None, f"list[{index}]", row) for index, row in enumerate(grid.list)], objectives)
    rows, mistakes = read_vectors(Path(grid.file), objectives, (*path, "file"))
    if mistakes:
        raise PreferenceError(mistakes)
    return _checked([((*path, "file"), row.position, f"line {row.position.line}", row.numbers) for row in rows], objectives)


def _distinct(vectors: Iterable[Vector]) -> dict[Vector, Vector]:
    distinct: dict[Vector, Vector] = {}
    for vector in vectors:
        distinct.setdefault(_rounded(vector), vector)
    return distinct


def paper_grid() -> tuple[Vector, ...]:
    """Return the 90 vectors of the paper's experiments with two tasks: 19, 17, 18, 18, 18 for k_0 = 0, .1, .01, .001, .0001."""
    twentieth, tenth = Fraction(1, 20), Fraction(1, 10)
    firsts = {
        Fraction(0): [i * twentieth for i in range(1, 20)],
        tenth: [i * twentieth for i in range(1, 18)],
    }
    for exponent in (2, 3, 4):
        k0 = Fraction(1, 10**exponent)
        firsts[k0] = [i * tenth - k0 for i in range(1, 10)] + [i * tenth for i in range(1, 10)]
    return tuple((float(k0), float(k1), float(1 - k0 - k1)) for k0, values in firsts.items() for k1 in values)


def simplex_grid(simplex: Simplex, n_tasks: int, path: Keys = ("simplex",), *, has_sparsity: bool = True) -> Iterator[Vector]:
    """Yield the points of a regular lattice on the simplex.

    Args:
        simplex: the description of the lattice.
        n_tasks: number of tasks.
        path: its path in the grid file, for mistakes.
        has_sparsity: whether the vectors begin with k_0; otherwise the lattice spans the tasks.

    Returns:
        Vectors of shape (n_tasks + has_sparsity,), in the order of `preference_vectors`.

    Raises:
        PreferenceError: there is no point, there are too many, a k_0 is repeated, or k_0 is given without a sparsity objective.
    """
    d, spans_all = simplex.divisions, simplex.k0 is None and has_sparsity
    levels = [Fraction(0)] if simplex.k0 is None else [_exact(k0) for k0 in simplex.k0]
    mistakes = [
        Mistake((*path, "k0", index), f"each value once expected (it is k0[{levels.index(k0)}] already)", shown(float(k0)), "remove it")
        for index, k0 in enumerate(levels)
        if levels.index(k0) < index
    ]
    if simplex.k0 is not None and not has_sparsity:
        rule = "no `k0` expected, as this problem has no sparsity objective"
        mistakes = [Mistake((*path, "k0"), rule, hint="remove it: the lattice spans the tasks")]
    least = 1 if simplex.interior else 0
    # The least number of steps of each objective that the lattice spans.
    floors = [0] * spans_all + [least] * n_tasks
    if d < sum(floors):
        rule = f"a whole number >= {sum(floors)} expected, so that every task's preference is above 0"
        mistakes.append(Mistake((*path, "divisions"), rule, str(d), "raise it, or set `interior: false`"))
    n_points = len(levels) * math.comb(max(0, d - sum(floors) + len(floors) - 1), len(floors) - 1)
    if n_points > MAX_VECTORS:
        mistakes.append(_too_many((*path, "divisions"), n_points))
    if mistakes:
        raise PreferenceError(mistakes)
    if not has_sparsity or spans_all:
        return _lattice(d, floors, spans_all)
    return ((float(k0), *(float((1 - k0) * Fraction(i, d)) for i in steps)) for k0 in levels for steps in _compositions(d, floors))


def _lattice(d: int, floors: Sequence[int], spans_sparsity: bool) -> Iterator[Vector]:
    """Yield all points except the one with all weight on sparsity."""
    return (tuple(i / d for i in steps) for steps in _compositions(d, floors) if not (spans_sparsity and steps[0] == d))


def _compositions(total: int, floors: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield all ways to write `total` as an ordered sum with part i >= floors[i], in ascending order of the first part."""
    free = total - sum(floors) + len(floors)
    for cuts in combinations(range(1, free), len(floors) - 1):
        bounds = (0, *cuts, free)
        yield tuple(bounds[i + 1] - bounds[i] - 1 + floor for i, floor in enumerate(floors))


def _checked(rows: Sequence[tuple[Keys, Any, str, Sequence[float]]], objectives: Sequence[str]) -> dict[Vector, Vector]:
    """Return the rows (path, position, name, numbers) as vectors; a row whose sum is off by at most 1e-6 is divided by its sum."""
    mistakes: list[Mistake] = []
    vectors: dict[Vector, Vector] = {}
    first: dict[Vector, str] = {}
    for path, position, name, numbers in rows:
        broken = _broken_rule(numbers, objectives)
        if broken is None:
            vector = _normalised(numbers)
            rounded = _rounded(vector)
            if rounded not in vectors:
                vectors[rounded], first[rounded] = vector, name
                continue
            earlier = first[rounded]
            broken = f"{name} repeats {earlier}", "remove one of them"
        mistakes.append(Mistake(path, broken[0], shown(list(numbers)), broken[1], position))
    if mistakes:
        raise PreferenceError(mistakes)
    return vectors


def _broken_rule(numbers: Sequence[float], objectives: Sequence[str]) -> tuple[str, str] | None:
    """Return the rule that a row breaks and a hint, or None if it breaks none."""
    names = f"{len(objectives)} = {', '.join(objectives)}"
    if len(numbers) != len(objectives):
        return f"one number per objective expected ({names})", f"this vector has {len(numbers)}"
    for number, objective in zip(numbers, objectives, strict=True):
        if not math.isfinite(number):
            return f"finite numbers expected ({objective} is {shown(number)})", f"the objectives in order: {names}"
        if number < 0:
            return f"numbers >= 0 expected ({objective} is {shown(number)})", f"the objectives in order: {names}"
    total = math.fsum(numbers) if max(numbers) < 2 else sum(numbers)  # fsum raises where sum overflows to infinity
    if abs(total - 1) > _SUM_ACCEPTED:
        return f"numbers that sum to 1 expected (the sum is {total:.9g})", "a sum within 1e-6 of 1 is accepted and rescaled"
    if not any(number for number, objective in zip(numbers, objectives, strict=True) if objective != SPARSITY):
        return "a task with a preference above 0 expected", f"the objectives in order: {names}"
    return None


def _normalised(numbers: Sequence[float]) -> Vector:
    if abs(math.fsum(numbers) - 1) <= _SUM_KEPT:
        return tuple(abs(float(number)) for number in numbers)  # abs turns -0.0 into 0.0
    exact = [_exact(number) for number in numbers]
    total = sum(exact, Fraction(0))
    return tuple(float(number / total) for number in exact)


def _exact(number: float) -> Fraction:
    """Return the number as it was written, that is the shortest decimal that is read as this float."""
    return Fraction(repr(float(number)))


def _rounded(vector: Vector) -> Vector:
    return tuple(round(number, _DIGITS) for number in vector)


def _too_many(path: Keys, n_vectors: int) -> Mistake:
    return Mistake(
        path, f"at most {MAX_VECTORS} vectors expected", str(n_vectors), "use fewer divisions; one network is trained for each vector"
    )
