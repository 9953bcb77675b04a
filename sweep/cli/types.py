"""The command line's type for a results folder, and options that several commands share."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from sweep.execution.options import RunOptions
from sweep.store.remote.address import is_address


class ResultsPlace(click.Path):
    """A path, or an address in an object store. An address is left as text, because a `Path` would lose one of its slashes."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)  # the code that reads it gives a better message than click

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the text that the user typed. Click calls this."""
        return value if isinstance(value, str) and is_address(value) else super().convert(value, param, ctx)


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options `grid`, `override` and `trust` to a command that needs the settings of a results folder."""
    file = click.Path(readable=False, path_type=Path)  # the code that reads it gives a better message than click
    options = (
        click.option("--grid", type=file, metavar="FILE", help="Use this grid file instead of the one stored in DIR; `-`: standard input."),
        click.option(
            "--override", type=file, metavar="FILE", help="A second YAML file, merged over the one of --grid, as for `sweep run`."
        ),
        click.option(
            "--trust",
            is_flag=True,
            help="Allow DIR to name your own problem's module to import; without this option, give the grid file by --grid.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


limit_option = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Train only the first N trials of each sweep.")
address_option = click.option(
    "--address",
    metavar="A",
    help="Join a Ray cluster: `auto` or HOST:PORT; default: RAY_ADDRESS, which submitted jobs have. `local` starts a Ray here.",
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that trains. The command receives them as one argument `options: RunOptions`."""

    @wraps(command)
    def gather(
        *,
        limit: int | None,
        address: str | None,
        no_dashboard: bool,
        fail_fast: bool,
        quiet: bool,
        notify: str | None,
        **arguments: Any,
    ) -> Any:
        options = RunOptions(address, limit, has_dashboard=not no_dashboard, fails_fast=fail_fast, is_quiet=quiet, notify=notify)
        return command(options=options, **arguments)

    options = (
        limit_option,
        address_option,
        click.option("--no-dashboard", is_flag=True, help="Start the local Ray without its dashboard."),
        click.option("--fail-fast", is_flag=True, help="Stop when the first trial fails, with exit code 3; running epochs are kept."),
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("--notify", metavar="URL", help="Post a line of JSON to URL when a trial fails for good and when the sweep ends."),
    )
    decorated: Callable[..., Any] = gather
    for option in reversed(options):
        decorated = option(decorated)
    return decorated
