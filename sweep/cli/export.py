"""`sweep export` and `sweep measure`: write a trial's network to a smaller file, and measure its latency."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.cli.errors import reports_errors
from sweep.cli.types import ResultsPlace, config_options
from sweep.terminal import echo

if TYPE_CHECKING:
    from sweep.artifacts.latency import Measured


@click.command()
@click.argument("folder", metavar="DIR", type=ResultsPlace())
@click.argument("trial", required=False)
@click.option(
    "--to",
    type=click.Path(readable=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to write: NAME.safetensors, .onnx or .pt2; with --all-front, a folder.",
)
@click.option("--all-front", is_flag=True, help="Export every trial that no other trial dominates, into the folder --to.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["safetensors", "onnx", "pt2"]),
    help="Format of the files of --all-front.  [default: safetensors]",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@config_options
@reports_errors
def export(folder: str | Path, trial: str | None, to: Path, all_front: bool, form: str | None, force: bool, **source: Any) -> int:
    """Write the network of TRIAL in DIR to a file, without the weights that training made zero or equal.

    These weights are physically removed; the sizes of the weights and of the file are printed before and after. The file is written
    only if its outputs on the whole test set equal those of the trained network within 1e-5. A model card is embedded in the file
    and written beside it. An ONNX file needs `pip install 'pareto-sweep[export]'`. The latencies are also stored in DIR/latency, if
    DIR is writable.

    \b
    Example:
      sweep export results/quickstart 0a1b2c3d4e5f6071 --to model.onnx
      sweep export results/quickstart --all-front --to front/
    """
    from sweep.artifacts.export import Exporter, check_target, format_of
    from sweep.artifacts.networks import TrainedTrials
    from sweep.errors import SweepError
    from sweep.planning.stored_config import chosen_config
    from sweep.store.store import Store

    if (trial is None) != all_front or (form is not None and not all_front):
        raise SweepError(
            "expected either one TRIAL, or --all-front with an optional --format\n  hint: `sweep front DIR` lists the trials of the front"
        )
    if not all_front:
        format_of(to)
    config = chosen_config(folder, **source)[0]
    jobs = _files_of_front(folder, to, form or "safetensors") if all_front else [(str(trial), to)]
    for _, path in jobs:  # check all paths before the data is read and before any file is written
        check_target(path, replaces=force)
    exporter = Exporter(TrainedTrials(Store(folder), config))
    for trial_id, path in jobs:
        exported = exporter.export(trial_id, path, replaces=force)
        echo(_line(exported.card, path))
        if exported.not_kept is not None:
            echo(f"note: the latencies could not be stored in {folder}: {exported.not_kept}", err=True)
    return 0


def _files_of_front(folder: str | Path, to: Path, form: str) -> list[tuple[str, Path]]:
    """Return the trials of the front, each with the file to which it is exported."""
    from sweep.store.folder import make_writable

    trial_ids = _front(folder)
    make_writable(to)
    return [(trial_id, to / f"{trial_id}.{form}") for trial_id in trial_ids]


def _front(folder: str | Path) -> list[str]:
    """Return the ids of the trials on the front that have weights."""
    from analysis.decide.front import front_frame
    from analysis.results.table import read_results

    table = read_results(folder)
    for reason in table.unreadable:
        echo(f"unreadable: {reason}", err=True)
    on_front = set(front_frame(table)["trial_id"])
    have = table.frame[table.frame["weights_sha256"].notna()]["trial_id"]
    return [trial_id for trial_id in have if trial_id in on_front]


def _line(card: Any, path: Path) -> str:
    (batch, times), *_ = reversed(card["latency_ms"].items())
    names = {"parameters": "parameters", "macs": "macs", "weight_bytes": "bytes of weights", "bytes": "bytes of the file"}
    sizes = ", ".join(f"{title} {card[name]['before']:,} -> {card[name]['after']:,}" for name, title in names.items())
    return f"wrote {path}: {sizes}; {batch}: {times['before']:.3g} -> {times['after']:.3g} ms on one core"


@click.command()
@click.argument("folder", metavar="DIR", type=ResultsPlace())
@click.argument("trials", metavar="[TRIAL...]", nargs=-1)
@click.option("--again", is_flag=True, help="Measure again, even if a trial was measured on this machine already.")
@config_options
@reports_errors
def measure(folder: str | Path, trials: tuple[str, ...], again: bool, **source: Any) -> int:
    """Measure the latency of networks in DIR on one core of this machine, both as trained and compressed.

    TRIAL is an id or its beginning; without it, every trial that no other trial dominates is measured. Batch sizes are 1 and 256.
    The latencies are stored in DIR/latency and shown in the report. Trials that were measured on this machine already are skipped.
    Nothing else should run on the machine meanwhile.

    \b
    Example:
      sweep measure results/quickstart
      sweep measure results/quickstart 0a1b2c3d4e5f6071 --again
    """
    from sweep.artifacts.latency import measure_trial
    from sweep.artifacts.networks import TrainedTrials
    from sweep.errors import SweepError
    from sweep.planning.stored_config import chosen_config
    from sweep.store.store import Store, StoreError, StoreWriteError, UnreachableError

    known = TrainedTrials(Store(folder), chosen_config(folder, **source)[0])
    trial_ids = list(dict.fromkeys(known.row(trial)["trial_id"] for trial in trials)) if trials else _front(folder)
    n_new = n_failed = 0
    for number, trial_id in enumerate(trial_ids, start=1):
        try:
            measured = measure_trial(known, trial_id, again=again)
        except (StoreWriteError, UnreachableError):
            raise
        except (SweepError, StoreError) as error:  # this trial fails, the others continue
            echo(f"Error: {error}", err=True)
            n_failed += 1
            continue
        n_new += measured.is_new
        echo(f"{number} of {len(trial_ids)}: {trial_id}: {_times(measured)}")
    echo(_measured_line(folder, n_new, len(trial_ids) - n_new - n_failed, n_failed))
    return 2 if n_failed else 0


def _times(measured: "Measured") -> str:
    pairs = measured.latency_ms.items()
    text = ", ".join(f"batch {n} {pair['before']:.3g} -> {pair['after']:.3g} ms" for n, pair in pairs)
    return text if measured.is_new else f"{text}, measured on this machine {measured.measured}; use `--again` to repeat it"


def _measured_line(folder: str | Path, n_new: int, n_known: int, n_failed: int) -> str:
    if not n_new + n_known + n_failed:
        return "nothing to measure: no trial of the front has weights"
    known = f", {n_known} measured before" if n_known else ""
    failed = f", {n_failed} could not be measured" if n_failed else ""
    shown = f"; `sweep report {folder}` shows them" if n_new + n_known else ""
    return f"{n_new} measured{known}{failed}{shown}"


COMMANDS = (export, measure)
