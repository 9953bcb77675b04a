"""`sweep export`: a trial's network as a smaller file."""

from pathlib import Path
from typing import Any

import click

from sweep.command_edge import told_clearly
from sweep.results_place import ResultsPlace
from sweep.terminal import echo


@click.command()
@click.argument("folder", metavar="DIR", type=ResultsPlace())
@click.argument("trial", required=False)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="NAME.safetensors, .onnx or .pt2; with --all-front a folder.",
)
@click.option("--all-front", is_flag=True, help="Every trial that no other one dominates, into the folder --to.")
@click.option("--format", "form", type=click.Choice(["safetensors", "onnx", "pt2"]), help="Of --all-front's files.  [default: safetensors]")
@click.option("--grid", type=click.Path(path_type=Path), metavar="FILE", help="The grid file of DIR, instead of the stored one.")
@click.option("--trust", is_flag=True, help="Import a problem of your own that DIR names; without it name the grid file.")
@told_clearly
def export(folder: str | Path, trial: str | None, to: Path, all_front: bool, form: str | None, grid: Path | None, trust: bool) -> int:
    """Write the network of TRIAL in DIR as a file that is really smaller.

    What training made zero or equal is physically removed. The file is written only if its outputs are those of the trained
    network within 1e-5 on the whole test set; a model card goes into it and, for people, beside it. An ONNX file needs
    `pip install 'pareto-sweep[export]'`.

    \b
    Example:
      sweep export results/quickstart 0a1b2c3d4e5f6071 --to model.onnx
      sweep export results/quickstart --all-front --to front/
    """
    from sweep.exporting import Exporter, format_of
    from sweep.outcome import SweepError
    from sweep.resuming import named_config, stored_config
    from sweep.store import Store

    if (trial is None) != all_front or (form is not None and not all_front):
        raise SweepError(
            "one TRIAL, or --all-front with an optional --format, expected\n  hint: `sweep front DIR` lists the trials of the front"
        )
    if not all_front:
        format_of(to)  # before the data is read
    config = named_config(grid, folder) if grid is not None else stored_config(folder, is_trusted=trust)[0]
    exporter = Exporter(Store(folder), config)
    jobs = _of_front(folder, to, form or "safetensors") if all_front else [(str(trial), to)]
    for trial_id, path in jobs:
        echo(_line(exporter.export(trial_id, path).card, path))
    return 0


def _of_front(folder: str | Path, to: Path, form: str) -> list[tuple[str, Path]]:
    """The trials of the front that have weights, and their files."""
    from analysis.front_table import front_frame
    from analysis.table import read_results
    from sweep.storage.folder import make_writable

    table = read_results(folder)
    on_front = set(front_frame(table)["trial_id"])
    have = table.frame[table.frame["weights_sha256"].notna()]["trial_id"]
    make_writable(to)
    return [(trial_id, to / f"{trial_id}.{form}") for trial_id in have if trial_id in on_front]


def _line(card: Any, path: Path) -> str:
    (batch, times), *_ = reversed(card["latency_ms"].items())
    sizes = ", ".join(f"{name} {card[name]['before']:,} -> {card[name]['after']:,}" for name in ("parameters", "macs", "bytes"))
    return f"wrote {path}: {sizes}; {batch}: {times['before']:.3g} -> {times['after']:.3g} ms on one core"


COMMANDS = (export,)
