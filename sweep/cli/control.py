"""The commands that control a sweep from any machine with access to its results folder: pause, stop, resume and rm."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.cli.errors import reports_errors
from sweep.cli.types import ResultsPlace, config_options, run_options
from sweep.terminal import echo

if TYPE_CHECKING:
    from sweep.execution.options import RunOptions
    from sweep.store.store import Store

_folder = click.argument("folder", metavar="DIR", type=ResultsPlace())


@click.command()
@_folder
@reports_errors
def pause(folder: str | Path) -> int:
    """Pause the sweep in DIR: no further trials are started.

    Running packs are trained to their end. The pause lasts until `sweep resume DIR` and holds for later runs, too.
    A run whose remaining trials are all paused waits, and does not keep Ray running.

    \b
    Example:
      sweep pause results/quickstart
    """
    store = _known_sweep(folder)
    store.control.request_pause()
    holder = store.lock_holder(include_dead=False)
    effect = f"{_run(holder)} finishes its running packs, then waits" if holder else "nothing is running; the next run will wait"
    echo(f"paused: {effect}; `sweep resume {folder}` ends the pause")
    return 0


@click.command()
@_folder
@reports_errors
def stop(folder: str | Path) -> int:
    """Stop the run in DIR and keep its running epochs.

    The running epochs end and are written as checkpoints; then the run exits with code 130. `sweep run` or `sweep resume` continues
    from there.

    \b
    Example:
      sweep stop results/quickstart
    """
    store = _known_sweep(folder)
    holder = store.lock_holder(include_dead=False)
    if holder is None:
        echo("nothing to stop: nothing is running")
        return 0
    store.control.request_stop()
    echo(f"stopping: {_run(holder)} finishes and keeps its running epochs, then exits; `sweep status {folder} --watch` shows it")
    return 0


@click.command()
@_folder
@config_options
@run_options
@reports_errors
def resume(folder: str | Path, grid: Path | None, override: Path | None, trust: bool, options: "RunOptions") -> int:
    """End a pause of the sweep in DIR, and train what its last grid file asks for.

    If a paused run is waiting, that run continues and this command ends. Exit codes are those of `sweep run`.

    \b
    Example:
      sweep resume results/quickstart
      sweep resume results/wine --grid examples/wine/grid.yaml
    """
    started = time.perf_counter()
    from sweep.cli.run import run_and_summarise
    from sweep.planning.stored_config import chosen_config

    store = _known_sweep(folder)
    holder = store.lock_holder(include_dead=False)
    if holder is not None and store.control.lift_pause():
        echo(f"the pause is over: {_run(holder)} continues")
        return 0
    config, text = chosen_config(folder, grid=grid, override=override, trust=trust)
    store.control.lift_pause()
    return run_and_summarise((config,), text, options, started=started)


@click.command()
@_folder
@click.argument("trials", metavar="TRIAL...", nargs=-1, required=True)
@reports_errors
def rm(folder: str | Path, trials: tuple[str, ...]) -> int:
    """Remove trials from DIR, so that the next run trains them again.

    Their rows and curves are deleted at once, without confirmation. Their weights stay in DIR/blobs, but nothing refers to them.

    \b
    Example:
      sweep rm results/quickstart 0a1b2c3d4e5f6071
    """
    from sweep.execution.forget import forget_trials

    for trial_id, state in forget_trials(folder, trials):
        echo(f"{trial_id}: not complete, nothing to remove" if state is None else f"{trial_id}: removed (its state was {state})")
    return 0


def _known_sweep(folder: str | Path) -> "Store":
    """Return the store of an existing results folder.

    Raises:
        StoreError: the folder holds no sweep.
    """
    from sweep.store.store import Store, StoreError

    store = Store(folder)
    store.check_reachable()
    if store.manifest() is None:
        raise StoreError(
            "not a results folder (no manifest.json)", store.root, "name the results folder of a run, for example results/quickstart"
        )
    return store


def _run(holder: dict[str, Any]) -> str:
    return f"the run on {holder['host']} (pid {holder['pid']}, since {holder['started']})"


COMMANDS = (pause, stop, resume, rm)
