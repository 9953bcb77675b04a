"""The command line's type for a results folder: a path, or the address of one in an object store."""

from pathlib import Path
from typing import Any

import click

from sweep.storage.address import is_address


class ResultsPlace(click.Path):
    """Paths become `Path`; addresses stay text, since a path would lose one of their slashes."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)  # whoever reads it says more than click would

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Called by click with what was typed."""
        return value if isinstance(value, str) and is_address(value) else super().convert(value, param, ctx)
