"""Which cases of a test belong to the short set (docs/testing.md)."""

from collections.abc import Iterable
from typing import Any

import pytest


def short_cases(cases: Iterable[Any], every: int | None = None) -> list[Any]:
    """Leave one case of many to the short set, and give the others the mark `full`.

    Args:
        cases: what `pytest.mark.parametrize` takes for one parameter, or tuples and `pytest.param` for several.
        every: leave every n-th case, the first one among them; without it the first case alone.

    Returns:
        The same cases in the same order, with the same names; a case that is `slow` stays so.
    """
    return [case if (i % every == 0 if every else i == 0) else _full(case) for i, case in enumerate(cases)]


def _full(case: Any) -> Any:
    if isinstance(case, type(pytest.param())):
        is_slow = any(mark.name == "slow" for mark in case.marks)
        return case if is_slow else pytest.param(*case.values, marks=[*case.marks, pytest.mark.full], id=case.id)
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.full)
