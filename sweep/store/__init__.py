"""The results folder of a sweep. `Store` is its public interface."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.store.store import Checkpoint as Checkpoint
    from sweep.store.store import Finding as Finding
    from sweep.store.store import LockedError as LockedError
    from sweep.store.store import Store as Store
    from sweep.store.store import StoreError as StoreError
    from sweep.store.store import StoreWriteError as StoreWriteError
    from sweep.store.store import UnreachableError as UnreachableError
    from sweep.store.store import UnreadableError as UnreadableError

__all__ = [
    "Checkpoint",
    "Finding",
    "LockedError",
    "Store",
    "StoreError",
    "StoreWriteError",
    "UnreachableError",
    "UnreadableError",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'sweep.store' has no attribute {name!r}")
    from sweep.store import store

    return getattr(store, name)
