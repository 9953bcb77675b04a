"""What goes wrong with a results folder, in words for its user."""

from collections.abc import Hashable


class StoreError(Exception):
    """Something about a results folder that its user has to know: what is wrong, where, and what to do.

    Args:
        problem: what is wrong.
        where: a path or an address.
        hint: what to do.
    """

    def __init__(self, problem: str, where: Hashable | None = None, hint: str | None = None) -> None:
        super().__init__(problem, where, hint)
        self.problem = problem
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        start = self.problem if self.where is None else f"{self.where}: {self.problem}"
        return start if self.hint is None else f"{start}\n  hint: {self.hint}"


class StoreWriteError(StoreError):
    """A file could not be written: full disk, quota, permission, read-only. Nothing half-written is left as a result."""


class UnreachableError(StoreError):
    """An object store did not answer, or answered that it is busy, for longer than its client tries: it may later."""


class UnreadableError(StoreError):
    """A file of the store that is torn, damaged or of another version."""
