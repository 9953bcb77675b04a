"""Errors about a results folder, with messages for the user."""

from sweep.errors import UserError


class StoreError(UserError):
    """An error about a results folder, with what is wrong, where, and what to do."""


class StoreWriteError(StoreError):
    """A file could not be written (full disk, quota, permissions, read-only disk). No partial file counts as a result."""


class UnreachableError(StoreError):
    """An object store did not answer, or was busy, for longer than its client retries. It may answer later."""


class UnreadableError(StoreError):
    """A file of the store is truncated, damaged, or of an incompatible version."""
