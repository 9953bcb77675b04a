"""The command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.cli.commands import main as main

__all__ = [
    "main",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'sweep.cli' has no attribute {name!r}")
    from sweep.cli import commands

    return getattr(commands, name)
