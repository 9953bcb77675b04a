"""The commands for decisions: which trial to deploy, which front is better, what to train next."""

from collections.abc import Iterable
from pathlib import Path

import click

from sweep.cli.errors import reports_errors
from sweep.cli.types import ResultsPlace
from sweep.terminal import echo

_FOLDER = ResultsPlace()
_text_or_json = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


def _bounds(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[tuple[str, float]]:
    """Parse COLUMN=VALUE as pairs, splitting at the last `=` because a task's name may contain one."""
    pairs = []
    for text in texts:
        column, equals, number = text.rpartition("=")
        try:
            pairs.append((column.strip(), float(number)))
        except ValueError:
            equals = ""
        if not equals or not column:
            raise click.BadParameter(f"COLUMN=VALUE with a number expected, found {text!r}, for example sparsity_rate=0.5")
    return pairs


def _numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> list[float] | None:
    """Parse V,V,... as one number per objective."""
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"numbers separated by commas expected, found {text!r}, for example 1,2.3,2.3") from None


def _name_unreadable(reasons: Iterable[str]) -> None:
    for reason in reasons:
        echo(f"unreadable: {reason}", err=True)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--min",
    "at_least",
    metavar="COLUMN=VALUE",
    multiple=True,
    callback=_bounds,
    help="Smallest allowed value of a column (0.95, not 95 %); repeatable.",
)
@click.option(
    "--max", "at_most", metavar="COLUMN=VALUE", multiple=True, callback=_bounds, help="Largest allowed value of a column; repeatable."
)
@click.option("--minimise", metavar="COLUMN", help="The column to minimise; give either this or --maximise.")
@click.option("--maximise", metavar="COLUMN", help="The column to maximise; give either this or --minimise.")
@_text_or_json
@reports_errors
def pick(
    folder: str | Path,
    at_least: list[tuple[str, float]],
    at_most: list[tuple[str, float]],
    minimise: str | None,
    maximise: str | None,
    form: str,
) -> int:
    """Print the trial of DIR that is best in one column among those within given bounds, and why its neighbours were not chosen.

    The columns are those of the stored rows (docs/store.md); rates and accuracies are fractions. If no trial is within all bounds,
    the exit code is 2 and the message says which bound to relax.

    \b
    Example:
      sweep pick results/quickstart --min accuracy.test.left=0.95 --min sparsity_rate=0.5 --minimise loss.validation.right
    """
    from analysis.decide.pick import pick as pick_trial
    from analysis.decide.pick import pick_json, pick_text
    from analysis.results.table import read_results

    table = read_results(folder)
    found = pick_trial(table, at_least=at_least, at_most=at_most, minimise=minimise, maximise=maximise)
    if form == "json":
        echo(pick_json(found), is_data=True)
    if found.chosen is None:
        echo(f"Error: {pick_text(table, found)}", err=True)
    elif form == "text":
        echo(pick_text(table, found))
    _name_unreadable(table.unreadable)
    return 0 if found.chosen is not None else 2


@click.command()
@click.argument("first", metavar="DIR", type=_FOLDER)
@click.argument("second", metavar="DIR", type=_FOLDER)
@click.option("--studies", nargs=2, metavar="A B", help="The study to compare from each sweep, if it has several.")
@click.option(
    "--reference",
    metavar="V,V,...",
    callback=_numbers,
    help="Nadir of the hypervolumes' box, one number per objective (sparsity: a share up to 1); default: that of the manifests.",
)
@click.option(
    "--figure",
    type=click.Path(dir_okay=False, readable=False, path_type=Path),
    metavar="FILE",
    help="Also draw where each front attains more than the other, as HTML.",
)
@_text_or_json
@reports_errors
def compare(
    first: Path, second: Path, studies: tuple[str, str] | None, reference: list[float] | None, figure: Path | None, form: str
) -> int:
    """Compare two fronts by their hypervolumes, with the difference over seeds, and by how far each must be shifted to dominate the other.

    A hypervolume is the share of a box, stated in the output, that a front dominates; sparsity is the share of the network that is kept.

    Both sweeps need the same objectives. Intervals need at least two seeds in each sweep.

    \b
    Example:
      sweep compare results/multifashion-hps results/multifashion-mdmtn
      sweep compare results/table1-multidigits results/table1-multidigits --studies mdmtn hps --figure difference.html
    """
    from analysis.decide.compare import compare as compare_fronts
    from analysis.decide.compare import comparison_json, comparison_text
    from analysis.figures.export import write_html
    from analysis.results.table import read_results

    tables = (read_results(first), read_results(second))
    found = compare_fronts(*tables, studies=studies, reference=reference)
    if figure is not None:
        write_html(found.figure(), figure)
        echo(figure, err=True)
    echo(comparison_json(found) if form == "json" else comparison_text(found), is_data=form == "json")
    _name_unreadable(reason for table in tables for reason in table.unreadable)
    return 0


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("-n", "n", type=click.IntRange(min=1), default=10, show_default=True, help="The largest number of vectors.")
@click.option("--study", metavar="NAME", help="The study whose front has the gaps; required if several studies have preferences.")
@click.option(
    "--append",
    type=click.Path(readable=False, path_type=Path),
    metavar="GRID",
    help="Add the vectors to the preferences of this grid file.",
)
@_text_or_json
@reports_errors
def suggest(folder: str | Path, n: int, study: str | None, append: Path | None, form: str) -> int:
    """Propose preference vectors where the front of DIR has gaps, the most promising first.

    Each is printed with the two points on either side of the gap and the share of the hypervolume that it could add.

    \b
    Example:
      sweep suggest results/quickstart -n 10
      sweep suggest results/quickstart -n 10 --append configs/quickstart.yaml
    """
    from analysis.decide.suggest import suggest as suggest_vectors
    from analysis.decide.suggest import suggestions_json, suggestions_text
    from analysis.results.table import read_results

    table = read_results(folder)
    found = suggest_vectors(table, n, study)
    if append is not None and found:
        from sweep.grid.append import append_preferences

        append_preferences(append, [one.preference for one in found], study)
        echo(f"{append}: {len(found)} vectors added; `sweep run {append}` trains them", err=True)
    echo(suggestions_json(found) if form == "json" else suggestions_text(table, found), is_data=form == "json")
    _name_unreadable(table.unreadable)
    return 0


COMMANDS = (pick, compare, suggest)
