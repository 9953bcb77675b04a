"""The base class of trainer errors that a user can fix. This module imports nothing, so that any module that shows errors can import it."""

_HINT = "\n  hint: "


class TrainerError(Exception):
    """An error that the user can fix: what is wrong, where, and what to do.

    Args:
        problem: a description of the problem. If its last line is `  hint: ...`, that line becomes `hint`.
        where: a path or an address; None if `problem` names it.
        hint: advice on what to do.
    """

    kind = "trial"
    """What can be done about it: `trial` (only the user can fix it, so the trial is not repeated), `node` (another machine may have what
    this one lacks), `backend` (another backend can compute the network), `passing` (transient: it may work later)."""

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
