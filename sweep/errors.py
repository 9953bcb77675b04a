"""The error that ends a command because of something only the user can fix."""

_HINT = "\n  hint: "


class UserError(Exception):
    """Something that the user has to know and can mend: what is wrong, where, and what to do.

    Args:
        problem: what is wrong, in words. A last line `  hint: ...` in it counts as `hint`.
        where: a path or an address; None where the problem names it.
        hint: what to do.
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
    """The sweep cannot go on until the user mends something; the message says what and how."""
