"""The commands. Each parses its options, calls one function of the library and prints the result. Heavy imports happen inside it."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.figures.catalog import FIGURES, figure_list
from sweep.cli.control import COMMANDS as CONTROL
from sweep.cli.decide import COMMANDS as DECIDING
from sweep.cli.errors import reports_errors
from sweep.cli.export import COMMANDS as EXPORTING
from sweep.cli.types import ResultsPlace, address_option, limit_option, run_options
from sweep.terminal import echo

if TYPE_CHECKING:
    from analysis.pareto.dominance import Mode
    from sweep.execution.options import RunOptions

EXIT_CODES = "Exit codes: 0 complete, 2 wrong input, 3 finished with failed trials, 130 interrupted."
_FOLDER = ResultsPlace()
_FOR_PROGRAMS = ("csv", "json")


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="sweep")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EXIT_CODES)
@click.version_option(package_name="pareto-sweep")
def cli() -> None:
    """Train one multi-task network for each preference between sparsity and tasks, and see the Pareto front.

    \b
    Example:
      sweep init grid.yaml          write a commented grid file
      sweep run grid.yaml           train everything in it, write results/NAME/report.html
      sweep run grid.yaml           again: continue where it stopped, or report that nothing is left
    """


def _grid_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("grid", type=click.Path(readable=False, path_type=Path)),
        click.option(
            "--out",
            metavar="DIR",
            help="Results folder or s3://... (its parent, for a list of problems) instead of the grid file's `output`.",
        ),
        click.option(
            "--override", type=click.Path(readable=False, path_type=Path), metavar="FILE", help="A second YAML file, merged over the first."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"a finite number expected, found {value}")
    return value


_eps_option = click.option(
    "--eps",
    type=click.FloatRange(min=0),
    callback=_finite,
    default=0.0,
    show_default=True,
    help="Tolerance of the dominance filter; see --eps-mode.",
)
_eps_mode_option = click.option(
    "--eps-mode",
    "mode",
    type=click.Choice(["range", "ideal", "absolute"]),
    default="range",
    show_default=True,
    help="What --eps is: a share of each objective's range on the front, a share of the ideal point, or a number in the objectives' units.",
)


def _price_options(command: Callable[..., Any]) -> Callable[..., Any]:
    number = click.FloatRange(min=0)
    options = (
        click.option(
            "--usd-per-device-hour",
            type=number,
            callback=_finite,
            metavar="USD",
            help="Price of an hour of the device that one worker trains on.",
        ),
        click.option("--usd-per-kwh", type=number, callback=_finite, metavar="USD", help="Price of a kilowatt-hour of electricity."),
        click.option(
            "--g-co2-per-kwh",
            type=number,
            callback=_finite,
            metavar="GRAMS",
            help="Grams of CO2 emitted for a kilowatt-hour of electricity.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@_grid_options
@run_options
@reports_errors
def run(grid: Path, out: str | None, override: Path | None, options: "RunOptions") -> int:
    """Train every trial of GRID (`-`: standard input) that is not complete yet, then write the report.

    Run it again to continue where it stopped; in a larger grid only the new trials are trained. The first Ctrl-C lets the
    running epochs end and keeps them, the second one stops at once. Each problem of a list is a sweep with its own folder and
    report.

    \b
    Exit codes: 0 complete, 2 wrong input, 3 finished with failed trials, 130 interrupted.

    \b
    Example:
      sweep run configs/quickstart.yaml
      sweep run configs/quickstart.yaml --limit 4 --out /tmp/try
      sed s/mdmtn/hps/ configs/quickstart.yaml | sweep run - --out results/hps
    """
    started = time.perf_counter()
    from sweep.cli.run import run_and_summarise
    from sweep.grid.load import read_grid

    file = read_grid(grid, override=override)
    return run_and_summarise(file.configs(out), file.text, options, started=started)


@cli.command()
@click.argument("path", type=click.Path(readable=False, path_type=Path), default=Path("grid.yaml"))
@reports_errors
def init(path: Path) -> int:
    """Write a commented grid file to PATH (default grid.yaml).

    \b
    Example:
      sweep init grid.yaml && sweep run grid.yaml
    """
    from importlib.resources import files

    from analysis.results.file_errors import writing
    from sweep.errors import UserError

    text = files("sweep.grid.templates").joinpath("starter.yaml").read_text(encoding="utf-8")
    with writing(path):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise UserError("the file exists already", path, "choose another name, `sweep init other.yaml`") from error
    echo(f"wrote {path}; start it with `sweep run {path}`")
    return 0


@cli.command()
@_grid_options
@limit_option
@address_option
@reports_errors
def plan(grid: Path, out: str | None, limit: int | None, override: Path | None, address: str | None) -> int:
    """Show what `sweep run GRID` would do: its trials, which are complete, packs, workers and an estimate of the time.

    The estimate needs at least one complete trial. Nothing is written.

    \b
    Example:
      sweep plan configs/quickstart.yaml
    """
    from sweep.api import plan_all
    from sweep.cli.run import plan_lines
    from sweep.execution.supervisor import expected_workers
    from sweep.grid.load import load_configs

    configs = load_configs(grid, out=out, override=override)
    plans = plan_all(configs, limit=limit, address=address)
    for line in plan_lines(configs, plans, expected_workers(configs[0], address)):
        echo(line)
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--watch", is_flag=True, help="Update the display until the run ends; with JSON, print a line every second.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@reports_errors
def status(folder: str | Path, watch: bool, form: str) -> int:
    """Show the progress of the sweep in DIR. Only the results folder is read, so this works on any machine that sees it.

    Shown are the time left, the running packs (k, epoch, accuracy, sparsity, time since their last update) and the failed trials
    with their errors.

    \b
    Example:
      sweep status results/quickstart --watch
      sweep status results/quickstart --format json
    """
    from sweep.cli.status import show, watch_status
    from sweep.monitor.status import read_status, watched

    if watch and form == "text":
        watch_status(folder)
        return 0
    for found in watched(folder) if watch else (read_status(folder),):
        echo(json.dumps(found.to_json()) if form == "json" else show(found), is_data=form == "json")
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@_eps_option
@_eps_mode_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    metavar="FILE",
    help="Write the report to FILE instead of DIR/report.html.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Serve the report to this machine's browser and update it while the sweep runs, until Ctrl-C; nothing is written.",
)
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="With --serve: the port on 127.0.0.1; default: any free port.")
@_price_options
@reports_errors
def report(folder: str | Path, eps: float, mode: "Mode", out: Path | None, serve: bool, port: int | None, **prices: float | None) -> int:
    """Write the HTML report of the results in DIR; this works during a run, too.

    Prices come from the grid file's `costs`; the options replace them.

    With --serve the report stays in memory, only this machine can open it, and it is updated while the sweep runs. Ctrl-C (or
    SIGTERM) ends the server with exit code 0.

    \b
    Example:
      sweep report results/quickstart --eps 0.01
      sweep report results/quickstart --g-co2-per-kwh 380 --usd-per-device-hour 1.2
      sweep report results/quickstart --serve --port 8300
    """
    from analysis.measures.costs import Costs

    costs = Costs(**prices)
    if serve:
        if out is not None:
            raise click.UsageError("--serve writes no file, so --out cannot be combined with it\n  hint: leave one of them out")
        from sweep.artifacts.serve import serve as serve_report

        serve_report(folder, port or 0, lambda address: echo(f"live report: {address} (Ctrl-C ends it)"), eps=eps, mode=mode, costs=costs)
        return 0
    if port is not None:
        raise click.UsageError("--port needs --serve\n  hint: add --serve, or leave --port out")
    from analysis.report.page import write_report

    echo(write_report(folder, out, eps=eps, mode=mode, costs=costs), is_data=True)
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@_eps_option
@_eps_mode_option
@click.option("--format", "form", type=click.Choice(["table", "csv", "json", "markdown", "latex"]), default="table", show_default=True)
@reports_errors
def front(folder: str | Path, eps: float, mode: "Mode", form: str) -> int:
    """Print the trials of DIR that no other trial dominates.

    \b
    Example:
      sweep front results/quickstart --eps 0.01 --format csv > front.csv
    """
    from analysis.decide.front import front_text
    from analysis.results.table import read_results

    echo(front_text(folder, eps, form, mode), is_data=form in _FOR_PROGRAMS)
    for reason in read_results(folder).unreadable:
        echo(f"unreadable: {reason}", err=True)
    return 0


@cli.command()
@click.argument("folders", metavar="DIR [DIR ...]", type=_FOLDER, nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json", "markdown", "latex"]),
    default="text",
    show_default=True,
    help="Rounded percentages for people, or fractions in full precision (csv, json) for programs.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    metavar="FILE",
    help="Write the table to FILE instead of printing it.",
)
@reports_errors
def table(folders: tuple[str | Path, ...], form: str, output: Path | None) -> int:
    """Compare the methods of the sweeps in DIR ... as the paper's Table I does.

    For each architecture and method it shows the sparsity, the test accuracy of each task and the training time: means over seeds with
    95 % intervals. If a method has several preference vectors, the one that is best on validation data is shown.

    \b
    Example:
      sweep table results/table1-multidigits
      sweep table results/multimnist results/cifar10mnist --format latex --output table1.tex
    """
    from analysis.method_table.formats import folders_text
    from analysis.results.files import write_whole

    text, unreadable = folders_text(folders, form)
    if output is None:
        echo(text, is_data=form in _FOR_PROGRAMS)
    else:
        write_whole(output, f"{text}\n".encode("utf-8", "replace"))
        echo(output, is_data=True)
    for reason in unreadable:
        echo(f"unreadable: {reason}", err=True)
    return 0


def _list_figures(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        echo(figure_list())
        context.exit()


@cli.command(epilog=f"Figures: {', '.join(FIGURES)}.")
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.argument("name", metavar="NAME", type=click.Choice(list(FIGURES)))
@click.option("--trial", metavar="ID", help="For `similarity`: the id of the trial or its beginning; default: the best sparse trial.")
@click.option("--format", "form", type=click.Choice(["html", "svg", "png", "pdf"]), help="Default: the ending of FILE, or else html.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    metavar="FILE",
    help="Write the figure to FILE instead of NAME.FORMAT.",
)
@click.option(
    "--trust",
    is_flag=True,
    help="For `samples`: allow DIR to name your own problem's module to import, and the folder that data are downloaded to.",
)
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_figures, help="List the figures and what each one shows."
)
@reports_errors
def figure(folder: str | Path, name: str, trial: str | None, form: str | None, out: Path | None, trust: bool) -> int:
    """Draw a figure of the paper from the results in DIR, as a page that opens offline or as an image.

    Images (svg, png, pdf) need the extra `images` and a Chromium; `samples` needs the problem's data.

    \b
    Example:
      sweep figure --list
      sweep figure results/quickstart front-3d
      sweep figure results/quickstart similarity --trial 3f2a --format pdf
    """
    from sweep.artifacts.figure import figure_file

    path = figure_file(folder, name, trial, form, out, is_trusted=trust, tell=lambda reason: echo(f"unreadable: {reason}", err=True))
    echo(path, is_data=True)
    return 0


@cli.command()
@reports_errors
def schema() -> int:
    """Print the JSON Schema of grid files, for editors to complete and check them.

    \b
    Example:
      sweep schema > grid.schema.json
    """
    from sweep.grid.load import json_schema

    echo(json.dumps(json_schema(), indent=2), is_data=True)
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
@click.option(
    "--out",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    metavar="FILE",
    help="Write the image to FILE instead of PROBLEM.png.",
)
@click.option("--root", metavar="DIR", help="Folder with the original data files; default: the problem's own.")
@reports_errors
def show(problem: str, out: Path | None, root: str | None) -> int:
    """Write a PNG with sample images of PROBLEM and their labels for each task.

    \b
    Example:
      sweep data show multifashion
      sweep data show cifar10mnist --root ~/data --out samples.png
    """
    from sweep.artifacts.images import show_data

    echo(show_data(problem, out, root), is_data=True)
    return 0


@cli.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@reports_errors
def verify(folder: str | Path) -> int:
    """Check that every file in DIR can be read and has the right schema and hash. Exit code 3 if something is wrong.

    \b
    Example:
      sweep verify results/quickstart
    """
    from sweep.store.files import is_there
    from sweep.store.store import Store, StoreError

    store = Store(folder)
    store.check_reachable()
    if not is_there(store.root / "manifest.json"):
        raise StoreError(
            "not a results folder (no manifest.json)", folder, "name the results folder of a run, for example results/quickstart"
        )
    findings = store.verify()
    for finding in findings:
        echo(f"{finding.path}: {finding.problem}\n  hint: {finding.hint}")
    if findings:
        echo("1 problem" if len(findings) == 1 else f"{len(findings)} problems")
        return 3
    echo(f"{len(store.complete())} complete trials, everything is in order")
    return 0


for command in (*CONTROL, *DECIDING, *EXPORTING):
    cli.add_command(command)


if __name__ == "__main__":
    main()
