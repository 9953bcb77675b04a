"""The table of methods (Table I of the paper)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.method_table.table import MethodTable as MethodTable
    from analysis.method_table.table import method_table as method_table

__all__ = [
    "MethodTable",
    "method_table",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'analysis.method_table' has no attribute {name!r}")
    from analysis.method_table import table

    return getattr(table, name)
