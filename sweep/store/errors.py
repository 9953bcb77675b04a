"""What goes wrong with a results folder, in words for its user."""

from sweep.errors import UserError


class StoreError(UserError):
    """Something about a results folder that its user has to know: what is wrong, where, and what to do."""


class StoreWriteError(StoreError):
    """A file could not be written: full disk, quota, permission, read-only. Nothing half-written is left as a result."""


class UnreachableError(StoreError):
    """An object store did not answer, or answered that it is busy, for longer than its client tries: it may later."""


class UnreadableError(StoreError):
    """A file of the store that is torn, damaged or of another version."""
