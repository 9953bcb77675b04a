"""Preference grids lie on the simplex, hold exact decimals, and refuse what does not."""

import json
import math
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sweep.grid.preferences import PreferenceError, Preferences, Simplex, Vector, paper_grid, preference_vectors, simplex_grid

OBJECTIVES = ("sparsity", "left", "right")


def vectors_of(spec: Any, objectives: tuple[str, ...] = OBJECTIVES) -> tuple[Vector, ...]:
    adapter: TypeAdapter[Any] = TypeAdapter(Preferences)
    return preference_vectors(adapter.validate_json(json.dumps(spec)), objectives)


def mistakes_of(spec: Any, objectives: tuple[str, ...] = OBJECTIVES) -> list[str]:
    with pytest.raises(PreferenceError) as caught:
        vectors_of(spec, objectives)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_the_paper_grid_has_90_vectors_in_the_papers_order():
    grid = paper_grid()
    assert list(Counter(k[0] for k in grid).items()) == [(0.0, 19), (0.1, 17), (0.01, 18), (0.001, 18), (0.0001, 18)]
    assert len(set(grid)) == 90
    assert grid[0] == (0.0, 0.05, 0.95)
    assert grid[18] == (0.0, 0.95, 0.05)
    assert [k[1] for k in grid if k[0] == 0.0001] == [
        *(0.0999, 0.1999, 0.2999, 0.3999, 0.4999, 0.5999, 0.6999, 0.7999, 0.8999),
        *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ]
    assert [k[2] for k in grid if k[0] == 0.1][:3] == [0.85, 0.8, 0.75]


@pytest.mark.parametrize("objectives", [("sparsity", "only"), ("sparsity", "a", "b", "c"), ("f1", "f2"), ("f1", "f2", "f3")])
def test_the_paper_grid_needs_sparsity_and_two_tasks(objectives):
    (message,) = mistakes_of("paper", objectives)
    assert f"needs sparsity and exactly two tasks (the objectives are {', '.join(objectives)})" in message
    assert ("k0: [0, 1e-3]" in message) == ("sparsity" in objectives)
    assert "{simplex: {divisions: 12" in message


@settings(deadline=None, derandomize=True)
@given(divisions=st.integers(4, 12), n_tasks=st.integers(1, 4), interior=st.booleans())
def test_without_sparsity_a_lattice_spans_the_tasks(divisions, n_tasks, interior):
    grid = list(simplex_grid(Simplex(divisions=divisions, interior=interior), n_tasks, has_sparsity=False))
    assert len(set(grid)) == len(grid)
    assert {len(k) for k in grid} == {n_tasks}
    assert all(abs(math.fsum(k) - 1) < 1e-9 and min(k) >= 0 for k in grid)
    assert all(min(k) > 0 for k in grid) or not interior
    least = int(interior)
    assert len(grid) == math.comb(divisions - least * n_tasks + n_tasks - 1, n_tasks - 1)


def test_without_sparsity_a_vector_has_one_number_a_task(tmp_path):
    objectives = ("f1", "f2")
    assert vectors_of({"list": [[1, 0], [0.25, 0.75]]}, objectives) == ((1.0, 0.0), (0.25, 0.75))
    assert vectors_of({"simplex": {"divisions": 2, "interior": False}}, objectives) == ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))
    assert "no `k0` expected" in mistakes_of({"simplex": {"divisions": 4, "k0": [0.1, 0.1]}}, objectives)[0]
    file = tmp_path / "k.csv"
    for header in ("", "f1,f2\n", "k_1,k_2\n"):
        file.write_text(f"{header}0.25,0.75\n")
        assert vectors_of({"file": str(file)}, objectives) == ((0.25, 0.75),)
    file.write_text("k_0,k_1\n0.25,0.75\n")
    assert "the header `f1,f2` or `k_1,k_2` expected" in mistakes_of({"file": str(file)}, objectives)[0]


def test_values_are_the_decimals_that_a_person_would_write():
    assert vectors_of({"simplex": {"divisions": 10, "k0": [0.05]}})[6] == (0.05, 0.665, 0.285)
    assert 0.95 * 0.7 != 0.665  # what floating point alone would have given
    assert vectors_of({"simplex": {"divisions": 10, "k0": [0.1]}})[2] == (0.1, 0.27, 0.63)


simplices = st.builds(
    Simplex,
    divisions=st.integers(5, 12),
    k0=st.none() | st.lists(st.sampled_from([0.0, 1e-4, 1e-3, 0.05, 0.3]), min_size=1, unique=True).map(tuple),
    interior=st.booleans(),
)


@settings(deadline=None, derandomize=True)
@given(simplex=simplices, n_tasks=st.integers(1, 4))
def test_a_lattice_is_every_point_of_the_simplex_once(simplex, n_tasks):
    grid = list(simplex_grid(simplex, n_tasks))
    assert len(set(grid)) == len(grid)
    for k in grid:
        assert len(k) == n_tasks + 1
        assert min(k) >= 0
        assert abs(math.fsum(k) - 1) < 1e-9
        assert min(k[1:]) > 0 or not simplex.interior
        assert max(k[1:]) > 0
    d, least = simplex.divisions, int(simplex.interior)
    if simplex.k0 is None:
        n_expected = math.comb(d - least * n_tasks + n_tasks, n_tasks) - (not simplex.interior)
    else:
        n_expected = len(simplex.k0) * math.comb(d - least * n_tasks + n_tasks - 1, n_tasks - 1)
    assert len(grid) == n_expected


def test_a_lattice_over_all_objectives_keeps_k0_0_and_never_all_sparsity():
    assert vectors_of({"simplex": {"divisions": 2, "interior": False}}) == (
        *((0.0, 0.0, 1.0), (0.0, 0.5, 0.5), (0.0, 1.0, 0.0)),
        *((0.5, 0.0, 0.5), (0.5, 0.5, 0.0)),
    )
    assert vectors_of({"simplex": {"divisions": 3}})[-1] == (1 / 3, 1 / 3, 1 / 3)


def test_a_union_merges_duplicates_and_keeps_the_order():
    inside = {"simplex": {"divisions": 20, "k0": [0]}}
    assert vectors_of(["paper", inside]) == paper_grid()
    union = vectors_of([{"list": [[0.2, 0.4, 0.4]]}, inside, {"list": [[0.2, 0.4, 0.4], [0.3, 0.3, 0.4]]}])
    assert union[0] == (0.2, 0.4, 0.4)
    assert union[-1] == (0.3, 0.3, 0.4)
    assert len(union) == 21


def test_nearly_equal_vectors_are_merged():
    assert len(vectors_of([{"list": [[0.1, 0.4, 0.5]]}, {"list": [[0.1, 0.4 + 1e-14, 0.5 - 1e-14]]}])) == 1


def test_a_sum_within_1e_9_is_kept_and_within_1e_6_rescaled():
    kept = (0.1, 0.4, 0.5 + 5e-10)
    assert vectors_of({"list": [kept]}) == (kept,)
    (rescaled,) = vectors_of({"list": [[0.3333333, 0.3333333, 0.3333333]]})
    assert rescaled == (1 / 3, 1 / 3, 1 / 3)
    assert "sum to 1" in mistakes_of({"list": [[0.1, 0.4, 0.49999]]})[0]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ([0.5, 0.5], "3 = sparsity, left, right"),
        ([-0.1, 0.6, 0.5], "sparsity is -0.1"),
        ([0.1, 0.4, 0.4], "the sum is 0.9"),
        ([1.0, 0.0, 0.0], "a task with a preference above 0"),
        ([], "this vector has 0"),
        ([1e308, 1e308, 1e308], "the sum is inf"),
    ],
)
def test_a_vector_off_the_simplex_is_named_by_its_index(row, rule):
    (message,) = mistakes_of({"list": [[0.1, 0.4, 0.5], row]})
    assert "list[1]" in message
    assert rule in message


def test_a_repeated_vector_is_named_with_both_places():
    (message,) = mistakes_of({"list": [[0.1, 0.4, 0.5], [0, 0.5, 0.5], [0.1, 0.4, 0.5]]})
    assert "list[2] repeats list[0]" in message


def test_a_lattice_without_points_or_with_too_many_is_refused():
    assert "a whole number >= 2" in mistakes_of({"simplex": {"divisions": 1, "k0": [0]}})[0]
    assert "at most 100000 vectors" in mistakes_of({"simplex": {"divisions": 10_000}})[0]
    assert "k0[0]" in mistakes_of({"simplex": {"divisions": 5, "k0": [0.1, 0.1]}})[0]


def test_a_file_of_vectors(tmp_path):
    file = tmp_path / "k.csv"
    file.write_text("# my grid\nsparsity, left, right\n0.1, 0.4, 0.5  # first\n\n1e-3,.5,0.499\r\n")
    assert vectors_of({"file": str(file)}) == ((0.1, 0.4, 0.5), (0.001, 0.5, 0.499))
    file.write_text("\ufeffk_0,k_1,k_2\n0,1,0\n", encoding="utf-8")
    assert vectors_of({"file": str(file)}) == ((0.0, 1.0, 0.0),)


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("left,right,sparsity\n0.4,0.5,0.1\n", 1, "`sparsity,left,right` or `k_0,k_1,k_2`"),
        ("0.1,0.4,0.5\n0.1;0.4;0.5\n", 2, "numbers separated by commas"),
        ("0.1,0.4,0.5\n0.1,x,0.5\n", 2, '"x"'),
        ("# c\n0.1,0.4,0.6\n", 2, "the sum is 1.1"),
        ("0.1,0.4,0.5\n0.1,nan,0.5\n", 2, "left is .nan"),
        ("0.1,0.4,0.5\n0.1,1e999,0.5\n", 2, "left is .inf"),
        ("0.1,0.4,0.5\n0.1,-.inf,0.5\n", 2, "left is -.inf"),
        ("0.1,0.4,0.5\n0,1,0\n0.1,0.4,0.5\n", 3, "line 3 repeats line 1"),
    ],
)
def test_a_bad_line_of_a_file_is_named(tmp_path, text, line, rule):
    file = tmp_path / "k.csv"
    file.write_text(text)
    (message,) = mistakes_of({"file": str(file)})
    assert f"k.csv:{line}:1" in message
    assert rule in message


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("missing.csv", None, "no such file"),
        ("empty.csv", b"", "at least 1 vector"),
        ("header.csv", b"sparsity,left,right\n", "at least 1 vector"),
        ("latin.csv", b"0.1,0.4,0.5\n\xff", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, name, content, rule):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (message,) = mistakes_of({"file": str(tmp_path / name)})
    assert rule in message
    assert name in message


@settings(deadline=None, derandomize=True)
@given(weights=st.lists(st.lists(st.integers(1, 999), min_size=3, max_size=3), min_size=1, max_size=20))
def test_written_decimals_come_back_as_written(weights):
    """Any decimals that sum to 1 exactly are kept bit for bit."""
    rows = {(a / 3000, b / 3000): None for a, b, _ in weights}
    exact = [[a, b, float(1 - Fraction(repr(a)) - Fraction(repr(b)))] for a, b in rows]
    assert vectors_of({"list": exact}) == tuple(map(tuple, exact))
