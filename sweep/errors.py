"""Errors that end a command because of a problem that only the user can fix."""

_HINT = "\n  hint: "


class UserError(Exception):
    """An error that the user can fix, with what is wrong, where, and what to do.

    Args:
        problem: a description of the problem. If its last line is `  hint: ...`, that line is used as `hint`.
        where: a path or an address; None if the description already names it.
        hint: advice on what to do.
    """

    def __init__(self, problem: str, where: object = None, hint: str | None = None) -> None:
        super().__init__(problem, where, hint)
        if hint is None and problem.count(_HINT) == 1:
            problem, _, hint = problem.partition(_HINT)
        self.problem = problem
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        start = self.problem if self.where is None else f"{self.where}: {self.problem}"
        return start if self.hint is None else f"{start}{_HINT}{self.hint}"


class SweepError(UserError):
    """The sweep cannot continue until the user fixes a problem; the message describes it and how to fix it."""
