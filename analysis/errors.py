"""Errors about results that a user can fix. This module imports nothing, so that any code that shows errors can import the classes."""

_HINT = "\n  hint: "


class AnalysisError(Exception):
    """An error about results that the user can fix: what is wrong, where, and what to do.

    Args:
        problem: what is wrong, in words; if its last line is `  hint: ...`, that line becomes `hint`.
        where: a path or an address; None if the problem names it.
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


class ResultsError(AnalysisError, ValueError):
    """A folder cannot be read as results."""


class ReadError(ResultsError):
    """The system refuses to read, list or inspect a file or folder."""


class WriteError(AnalysisError):
    """The system refuses to write a file; an existing file is unchanged."""
