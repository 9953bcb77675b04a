"""The commands that steer a sweep from anywhere its results folder is seen: pause, stop, resume, rm."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.cli.errors import told_clearly
from sweep.cli.types import ResultsPlace, config_options, run_options
from sweep.terminal import echo

if TYPE_CHECKING:
    from sweep.execution.options import RunOptions
    from sweep.store.store import Store

_folder = click.argument("folder", metavar="DIR", type=ResultsPlace())


@click.command()
@_folder
@told_clearly
def pause(folder: str | Path) -> int:
    """Let no more trials of the sweep in DIR begin.

    Running packs go on to their end. The pause stays until `sweep resume DIR`, for later runs too.
    A run with nothing left but paused trials waits, without a Ray.

    \b
    Example:
      sweep pause results/quickstart
    """
    store = _known_sweep(folder)
    store.control.request_pause()
    holder = store.lock_holder(include_dead=False)
    running = f"{_run(holder)} ends its running packs, then waits" if holder else "no run is on; the next one waits"
    echo(f"paused: {running}; `sweep resume {folder}` lifts it")
    return 0


@click.command()
@_folder
@told_clearly
def stop(folder: str | Path) -> int:
    """Stop the run in DIR; its running epochs are kept.

    They end and are written as checkpoints, then the run exits with code 130. `sweep run` or `sweep resume` goes on from there.

    \b
    Example:
      sweep stop results/quickstart
    """
    store = _known_sweep(folder)
    holder = store.lock_holder(include_dead=False)
    if holder is None:
        echo("nothing to stop: no run is on")
        return 0
    store.control.request_stop()
    echo(f"asked to stop: {_run(holder)} ends its running epochs, keeps them and exits; `sweep status {folder} --watch` shows it")
    return 0


@click.command()
@_folder
@config_options
@run_options
@told_clearly
def resume(folder: str | Path, grid: Path | None, override: Path | None, trust: bool, options: "RunOptions") -> int:
    """Lift a pause of the sweep in DIR, and run what its last grid file asks for.

    Where a run is on, that one goes on and this command ends. Exit codes as for `sweep run`.

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
        echo(f"the pause is lifted: {_run(holder)} goes on")
        return 0
    config, text = chosen_config(folder, grid=grid, override=override, trust=trust)
    store.control.lift_pause()
    return run_and_summarise((config,), text, options, started=started)


@click.command()
@_folder
@click.argument("trials", metavar="TRIAL...", nargs=-1, required=True)
@told_clearly
def rm(folder: str | Path, trials: tuple[str, ...]) -> int:
    """Forget trials in DIR: the next run trains them again.

    Their rows and curves go at once and without a question; their weights stay in DIR/blobs, which nothing names any more.

    \b
    Example:
      sweep rm results/quickstart 0a1b2c3d4e5f6071
    """
    from sweep.execution.forget import forget_trials

    for trial_id, state in forget_trials(folder, trials):
        echo(f"{trial_id}: not complete, nothing to forget" if state is None else f"{trial_id}: removed (it had ended {state})")
    return 0


def _known_sweep(folder: str | Path) -> "Store":
    """The folder's store.

    Raises:
        StoreError: no sweep is there.
    """
    from sweep.store.store import Store, StoreError

    store = Store(folder)
    store.check_reachable()
    if store.manifest() is None:
        raise StoreError(
            "no sweep is here (no manifest.json)", store.root, "name the results folder of a run, for example results/quickstart"
        )
    return store


def _run(holder: dict[str, Any]) -> str:
    return f"the run on {holder['host']} (pid {holder['pid']}, since {holder['started']})"


COMMANDS = (pause, stop, resume, rm)
