"""Code is run from a grid file that the user names, never from a stored one unless the user says so."""

from collections.abc import Mapping
from typing import Any

from sweep.outcome import SweepError
from sweep.storage.remote import StorePath
from sweep.terminal import one_line
from trainer.own_problem import is_own


def refuse_untrusted(config: Mapping[str, Any], where: StorePath, is_trusted: bool) -> None:
    """Refuse a stored config whose problem is a module of the user's own, before anything of it is imported.

    Args:
        config: what a results folder says was asked for, as plain values, not yet read as a grid file.
        where: the file that it comes from.
        is_trusted: the user said that this folder may name modules to import.

    Raises:
        SweepError: it names a module, and the user did not say so.
    """
    named = [name for name in _problem_names(config.get("problem")) if is_own(name)]
    if named and not is_trusted:
        raise SweepError(
            f"{where}: problem {one_line(named[0])} is a Python module, which a results folder may not name by itself\n"
            "  hint: name the grid file yourself, `--grid FILE` (and `--override FILE`, where the run had one); or add `--trust`, "
            "if nobody else could write to this folder"
        )


def _problem_names(problem: object) -> list[str]:
    """Of one problem or a list of them, each a name or a mapping with one."""
    entries = problem if isinstance(problem, list) else [problem]
    names = [entry.get("name") if isinstance(entry, Mapping) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]
