"""Draws one figure of a results folder into a file."""

from collections.abc import Callable
from pathlib import Path

from analysis.figures.catalog import FIGURES


def figure_file(
    folder: str | Path,
    name: str,
    trial: str | None = None,
    form: str | None = None,
    out: Path | None = None,
    *,
    is_trusted: bool = False,
    tell: Callable[[str], object] = lambda reason: None,
) -> Path:
    """Draw a figure of a results folder, and write it to a file.

    Args:
        folder: the results folder.
        name: one of `analysis.figures.catalog.FIGURES`.
        trial: id of the trial, or a prefix of it, for figures of a single trial.
        form: `html`, `svg`, `png` or `pdf`; None uses the suffix of `out`, or html if that is none of them.
        out: the file, which is replaced; None uses the figure's name in the working directory.
        is_trusted: for the figure `samples`, whether the folder may name a module to import and a folder to download data into.
        tell: called with the path and the reason for each file of the folder that could not be read.

    Returns:
        The path of the written file.

    Raises:
        ResultsError: the folder lacks what the figure shows, or this machine cannot draw images.
        SweepError, DataError, ProblemError: the problem's images are not available (`sweep.artifacts.images.samples_of`).
        WriteError: the file cannot be written.
    """
    from analysis.figures.export import FORMATS, draw_figure, write_figure
    from analysis.results.table import read_results

    suffix = out.suffix.removeprefix(".").lower() if out is not None else ""
    form = form or (suffix if suffix in FORMATS else FORMATS[0])
    table = read_results(folder)
    samples = None
    if FIGURES[name].takes == "samples":
        from sweep.artifacts.images import samples_of

        samples = samples_of(table.manifest, f"{folder}/manifest.json", is_trusted=is_trusted)
    figure = draw_figure(table, name, trial, samples)
    path = out or Path(f"{name}.{form}")
    written = write_figure(figure, path, form, f"{table.name}: {FIGURES[name].about}")
    for reason in table.unreadable:  # at the end, so that a figure which cannot be drawn gives only its own error
        tell(reason)
    return written
