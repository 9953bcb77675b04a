"""The command line's type for a results folder, and its options for where the folder's settings come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sweep.store.remote.address import is_address


class ResultsPlace(click.Path):
    """A path, which becomes a `Path`, or an address in an object store, which stays text: a path would lose one of its slashes."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)  # whoever reads it says more than click would

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Called by click with what was typed."""
        return value if isinstance(value, str) and is_address(value) else super().convert(value, param, ctx)


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options `grid`, `override` and `trust` of commands that need the settings of a results folder."""
    file = click.Path(readable=False, path_type=Path)  # whoever reads it says more than click would
    options = (
        click.option("--grid", type=file, metavar="FILE", help="The grid file of DIR, instead of the stored one; `-`: standard input."),
        click.option("--override", type=file, metavar="FILE", help="A second YAML file, merged over --grid's, as for `sweep run`."),
        click.option("--trust", is_flag=True, help="Import a problem of your own that DIR names; without it name the grid file."),
    )
    for option in reversed(options):
        command = option(command)
    return command
