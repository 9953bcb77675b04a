"""Errors about a results folder, with messages for its user."""

from sweep.errors import UserError


class StoreError(UserError):
    """An error about a results folder: what is wrong, where, and what to do."""


class StoreWriteError(StoreError):
    """A file could not be written (full disk, quota, permission, read-only); no half-written file is left as a result."""


class UnreachableError(StoreError):
    """An object store did not answer, or answered that it is busy, for longer than its client retries; it may answer later."""


class UnreadableError(StoreError):
    """A file of the store is torn, damaged or of another version."""
