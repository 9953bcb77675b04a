"""The command line: parse, call one function of the library, print. Heavy imports happen inside the commands."""

import json
import math
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

EXIT_CODES = "Exit codes: 0 complete, 2 wrong input, 3 finished with failed trials, 130 interrupted."
# An error class whose module was never imported cannot have been raised.
_USER_ERRORS = {
    "sweep.grid.errors": "ConfigError",
    "sweep.storage.files": "StoreError",
    "sweep.outcome": "SweepError",
    "trainer.problems.sources": "DataError",
    "trainer.own_source": "ProblemError",
    "analysis.table": "ResultsError",
}
_FOLDER = click.Path(path_type=Path)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="sweep")


def _told_clearly(command: Callable[..., int | None]) -> Callable[..., None]:
    """A user's mistake ends in one message and exit code 2, an interrupt in 130; never in a traceback."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            code = command(*args, **kwargs)
        except KeyboardInterrupt:
            code = 130
        except Exception as error:
            known = tuple(getattr(sys.modules[module], name) for module, name in _USER_ERRORS.items() if module in sys.modules)
            if not isinstance(error, known):
                raise
            text = str(error)
            click.echo(text if text.startswith("Error: ") else f"Error: {text}", err=True)
            code = 2
        sys.exit(code or 0)

    return wrapper


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EXIT_CODES)
@click.version_option(package_name="pareto-sweep")
def cli() -> None:
    """Train one multi-task network for each preference between sparsity and tasks, and see the Pareto front.

    \b
    Example:
      sweep init grid.yaml          write a commented grid file
      sweep run grid.yaml           train everything it asks for, write results/NAME/report.html
      sweep run grid.yaml           once more: goes on where it stopped, or says that nothing is left
    """


def _grid_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("grid", type=click.Path(path_type=Path)),
        click.option(
            "--out", metavar="DIR", help="Results folder (of a list of problems: its parent) instead of the grid file's `output`."
        ),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N trials of each sweep."),
        click.option("--override", type=click.Path(path_type=Path), metavar="FILE", help="A second YAML file, merged over the first."),
        click.option("--address", metavar="A", help="Join a Ray cluster: `auto` or HOST:PORT. Without it a local Ray starts."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"a finite number expected, found {value}")
    return value


_eps_option = click.option(
    "--eps",
    type=click.FloatRange(min=0),
    callback=_finite,
    default=0.0,
    show_default=True,
    help="Tolerance of the dominance filter, in objective units.",
)


@cli.command()
@_grid_options
@click.option("--no-dashboard", is_flag=True, help="Start the local Ray without its dashboard.")
@click.option("--fail-fast", is_flag=True, help="Stop when the first trial has failed, with exit code 3; running epochs are kept.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@_told_clearly
def run(
    grid: Path,
    out: str | None,
    limit: int | None,
    override: Path | None,
    address: str | None,
    no_dashboard: bool,
    fail_fast: bool,
    quiet: bool,
) -> int:
    """Train every trial of GRID that is not complete yet, then write the report.

    Running it again goes on where it stopped; a larger grid trains what is new. The first Ctrl-C ends running epochs
    and keeps them, the second stops at once. A list of problems is one sweep each, with a folder and a report of its own.

    \b
    Exit codes: 0 complete, 2 wrong input, 3 finished with failed trials, 130 interrupted.

    \b
    Example:
      sweep run configs/quickstart.yaml
      sweep run configs/quickstart.yaml --limit 4 --out /tmp/try
    """
    if sys.platform == "win32":
        click.echo("Error: `sweep run` works on Linux and macOS; on Windows use WSL. `sweep report` and `sweep front` work here.", err=True)
        return 2
    started = time.perf_counter()
    from sweep.api import run_and_report_all
    from sweep.config import load_configs
    from sweep.outcome import EXIT_WRONG_INPUT, worst_exit_code
    from sweep.summaries import outcome_lines

    configs = load_configs(grid, out=out, override=override)
    ended = run_and_report_all(
        configs,
        address=address,
        has_dashboard=not no_dashboard,
        limit=limit,
        is_quiet=quiet,
        grid_file=grid.read_text(encoding="utf-8"),
        fails_fast=fail_fast,
    )
    for outcome, _ in ended:
        outcome.timing.total_s = time.perf_counter() - started
        if outcome.message:
            click.echo(f"Error: {outcome.message}" if outcome.exit_code == EXIT_WRONG_INPUT else outcome.message, err=True)
    if not quiet:
        for line in outcome_lines(configs, ended):
            click.echo(line)
    return worst_exit_code(outcome for outcome, _ in ended)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("grid.yaml"))
@_told_clearly
def init(path: Path) -> int:
    """Write a commented grid file to PATH (default grid.yaml).

    \b
    Example:
      sweep init grid.yaml && sweep run grid.yaml
    """
    from importlib.resources import files

    text = files("sweep.templates").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        click.echo(f"Error: {path}: a file is there already\n  hint: name another one, `sweep init other.yaml`", err=True)
        return 2
    except OSError as error:
        click.echo(f"Error: {path}: cannot be written ({error.strerror})\n  hint: name a file in an existing, writable folder", err=True)
        return 2
    click.echo(f"wrote {path}; start it with `sweep run {path}`")
    return 0


@cli.command()
@_grid_options
@_told_clearly
def plan(grid: Path, out: str | None, limit: int | None, override: Path | None, address: str | None) -> int:
    """Show what `sweep run GRID` would do: trials, what is complete, packs, workers, a time estimate.

    The estimate needs at least one complete trial.

    \b
    Example:
      sweep plan configs/quickstart.yaml
    """
    from sweep.api import plan_all
    from sweep.config import load_configs
    from sweep.summaries import plan_lines
    from sweep.supervisor import expected_workers

    configs = load_configs(grid, out=out, override=override)
    plans = plan_all(configs, limit=limit, address=address)
    for line in plan_lines(configs, plans, expected_workers(configs[0], address)):
        click.echo(line)
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--watch", is_flag=True, help="Keep showing it until the run ends.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@_told_clearly
def status(folder: Path, watch: bool, form: str) -> int:
    """Show where the sweep in DIR stands; reads only the results folder, from any machine.

    \b
    Example:
      sweep status results/quickstart --watch
    """
    from sweep.status import read_status, show, watch_status

    if watch and form == "text":
        watch_status(folder)
        return 0
    found = read_status(folder)
    click.echo(json.dumps(found.to_json()) if form == "json" else show(found))
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@_eps_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it here instead of DIR/report.html.")
@_told_clearly
def report(folder: Path, eps: float, out: Path | None) -> int:
    """Write the HTML report of the results in DIR; also in the middle of a run.

    \b
    Example:
      sweep report results/quickstart --eps 0.01
    """
    from analysis.report import write_report
    from sweep.storage.files import write_error

    try:
        click.echo(write_report(folder, out, eps=eps))
    except OSError as error:
        raise write_error(out or folder / "report.html", error) from error
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@_eps_option
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@_told_clearly
def front(folder: Path, eps: float, form: str) -> int:
    """Print the trials of DIR that no other trial dominates.

    \b
    Example:
      sweep front results/quickstart --eps 0.01 --format csv > front.csv
    """
    from analysis.front_table import front_text
    from analysis.table import read_results

    click.echo(front_text(folder, eps, form))
    for reason in read_results(folder).unreadable:
        click.echo(f"unreadable: {reason}", err=True)
    return 0


@cli.command()
@click.argument("folders", metavar="DIR [DIR ...]", type=_FOLDER, nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json", "markdown", "latex"]),
    default="text",
    show_default=True,
    help="Rounded percents for people, or full precision and fractions (csv, json) for programs.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it here instead of printing it.")
@_told_clearly
def table(folders: tuple[Path, ...], form: str, output: Path | None) -> int:
    """Compare the methods of the sweeps in DIR ... as the paper's Table I does.

    Every architecture trained by every method: sparsity, test accuracy of each task, training time, means over seeds with
    95 % intervals. Of several preference vectors the best one on validation data is shown.

    \b
    Example:
      sweep table results/table1-multidigits
      sweep table results/multimnist results/cifar10mnist --format latex --output table1.tex
    """
    from analysis.method_formats import folders_text
    from sweep.storage.files import write_error

    text, unreadable = folders_text(folders, form)
    if output is None:
        click.echo(text)
    else:
        try:
            output.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise write_error(output, error) from error
        click.echo(output)
    for reason in unreadable:
        click.echo(f"unreadable: {reason}", err=True)
    return 0


@cli.command()
@_told_clearly
def schema() -> int:
    """Print the JSON Schema of grid files, for editors to complete and check them.

    \b
    Example:
      sweep schema > grid.schema.json
    """
    from sweep.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
    return 0


@cli.group()
def data() -> None:
    """Look at the data of a problem.

    \b
    Example:
      sweep data show multifashion
    """


@data.command()
@click.argument("problem")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it here instead of PROBLEM.png.")
@click.option("--root", metavar="DIR", help="Folder with the original files instead of the problem's default.")
@_told_clearly
def show(problem: str, out: Path | None, root: str | None) -> int:
    """Write a PNG with sample images of PROBLEM and their labels for each task.

    \b
    Example:
      sweep data show multifashion
      sweep data show cifar10mnist --root ~/data --out samples.png
    """
    from sweep.show_data import show_data

    click.echo(show_data(problem, out, root))
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@_told_clearly
def verify(folder: Path) -> int:
    """Check every file in DIR: readable, of the right schema, hashes as named. Exit code 3 if something is wrong.

    \b
    Example:
      sweep verify results/quickstart
    """
    from sweep.store import Store, StoreError

    store = Store(folder)
    if not (store.root / "manifest.json").exists():
        raise StoreError("no sweep is here (no manifest.json)", folder, "name the results folder of a run, for example results/quickstart")
    findings = store.verify()
    for finding in findings:
        click.echo(f"{finding.path}: {finding.problem}\n  hint: {finding.hint}")
    if findings:
        click.echo("1 problem" if len(findings) == 1 else f"{len(findings)} problems")
        return 3
    click.echo(f"{len(store.complete())} complete trials, everything is in order")
    return 0


if __name__ == "__main__":
    main()
