"""Which cases of a test belong to the short, the full and the slow set (docs/testing.md)."""

from collections.abc import Iterable
from typing import Any

import pytest


def short_cases(cases: Iterable[Any], every: int | None = None, full_every: int = 1) -> list[Any]:
    """Leave one case of many to the short set, and give the others the mark `full` or `slow`.

    Args:
        cases: what `pytest.mark.parametrize` takes for one parameter, or tuples and `pytest.param` for several.
        every: leave every n-th case, the first one among them; without it the first case alone.
        full_every: of the other cases every n-th is `full`, the first one among them; the rest are `slow`.

    Returns:
        The same cases in the same order, with the same names; a case that is `slow` stays so.
    """
    marked, n_others = [], 0
    for i, case in enumerate(cases):
        if i % every == 0 if every else i == 0:
            marked.append(case)
        else:
            marked.append(_marked(case, pytest.mark.full if n_others % full_every == 0 else pytest.mark.slow))
            n_others += 1
    return marked


def _marked(case: Any, mark: pytest.MarkDecorator) -> Any:
    if isinstance(case, type(pytest.param())):
        is_slow = any(own.name == "slow" for own in case.marks)
        return case if is_slow else pytest.param(*case.values, marks=[*case.marks, mark], id=case.id)
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark)
