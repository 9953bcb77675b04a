"""The rules for names of tasks, which become names of columns in the results."""

import re
from collections.abc import Sequence

from trainer.problems.custom.source import ProblemError
from trainer.problems.facts import SPARSITY

_TASK = re.compile(r"\w[\w -]*")


def check_task_names(names: Sequence[str]) -> None:
    """Refuse names that cannot be columns of the results.

    Raises:
        ProblemError: there is no name, or a name is repeated, reserved or has other characters.
    """
    if not names:
        raise ProblemError("at least one task expected")
    for name in names:
        if not isinstance(name, str) or not _TASK.fullmatch(name):
            raise ProblemError(f"a task's name is of letters, digits, `_`, `-` and spaces, found {name!r}")
        if name in (SPARSITY, "mean"):
            raise ProblemError(f"another name than `{name}` expected for a task: the results use it")
    if len(set(names)) < len(names):
        raise ProblemError(f"a different name for each task expected, found {', '.join(names)}")
