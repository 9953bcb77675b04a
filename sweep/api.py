"""The same as the command line, from Python: plan a sweep, run it, get the table of its results.

from sweep import load_config, plan, run

config = load_config("configs/quickstart.yaml")
print(plan(config).n_todo, "trials to train")
table = run(config)
table.frame[["k", "sparsity_rate", "accuracy.test.mean"]]
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.config import SweepConfig
from sweep.planning import Plan, plan_packs, trials_of
from sweep.progress import choose_progress, duration
from sweep.storage.files import write_error
from sweep.store import Store
from sweep.supervisor import EXIT_COMPLETE, Outcome, Timing, expected_workers, run_sweep

if TYPE_CHECKING:
    from analysis.table import ResultTable


def plan(config: SweepConfig, *, limit: int | None = None, address: str | None = None) -> Plan:
    """What `run` would do now; reads the results folder, writes nothing.

    Args:
        config: a grid file, from `load_config`.
        limit: only the first so many trials.
        address: as for `run`; only the expected number of workers depends on it.

    Raises:
        StoreError: the results folder cannot be read.
    """
    store = Store(Path(config.output))
    is_new = store.manifest() is None
    states = {} if is_new else store.complete()
    checkpoints = [] if is_new else store.checkpoints()
    return plan_packs(config, trials_of(config, limit), states, checkpoints, expected_workers(config, address))


def run(
    config: SweepConfig, *, address: str | None = None, dashboard: bool = True, limit: int | None = None, quiet: bool = False
) -> "ResultTable":
    """Train what is not complete yet, write the report, and return all results.

    Ctrl-C (in a notebook: interrupt) ends running epochs, keeps them and returns what is there.

    Args:
        config: a grid file, from `load_config` or `parse_config`.
        address: None starts a local Ray; `auto` or `host:port` joins a cluster.
        dashboard: start Ray's dashboard with a local Ray.
        limit: only the first so many trials.
        quiet: show no progress.

    Returns:
        One row a trial; `table.frame` is a pandas DataFrame.

    Raises:
        StoreError: the results folder cannot be used.
        SweepError: the cluster cannot be used.
    """
    from analysis.table import read_results

    outcome = run_and_report(config, address=address, has_dashboard=dashboard, limit=limit, is_quiet=quiet)[0]
    return read_results(outcome.root)


def run_and_report(
    config: SweepConfig,
    *,
    address: str | None = None,
    has_dashboard: bool = True,
    limit: int | None = None,
    is_quiet: bool = False,
    grid_file: str | None = None,
) -> tuple[Outcome, Path]:
    """Run, fix the hypervolume's reference after the first run, and write the report if anything is new.

    Returns:
        How it ended, and the path of the report.
    """
    progress = choose_progress(is_quiet)
    try:
        outcome = run_sweep(config, progress, address=address, has_dashboard=has_dashboard, limit=limit, grid_file=grid_file)
    finally:
        progress.close()
    report = outcome.root / "report.html"
    if outcome.n_trained or not report.exists():
        from analysis.report import write_report

        if outcome.exit_code == EXIT_COMPLETE:
            _fix_hypervolume_reference(config, outcome.root)
        try:
            write_report(outcome.root)
        except OSError as error:
            raise write_error(report, error) from error
    return outcome, report


def timing_line(timing: Timing) -> str:
    """Where the time went, for people."""
    parts = (
        ("training", timing.training_s),
        ("loading workers", timing.worker_setup_s),
        ("store", timing.store_s),
        ("Ray", timing.ray_s),
    )
    rest = timing.total_s - sum(seconds for _, seconds in parts)
    shares = [
        f"{name} {duration(seconds)} ({100 * seconds / max(timing.total_s, 1e-9):.0f} %)" for name, seconds in (*parts, ("other", rest))
    ]
    return f"{duration(timing.total_s)}: " + ", ".join(shares)


def _fix_hypervolume_reference(config: SweepConfig, root: Path) -> None:
    """Once, after the first complete run: losses of a constant guess, and the largest L0 seen, rounded up to two digits."""
    from analysis.table import read_results

    store = Store(root)
    manifest = store.manifest()
    table = read_results(root).ok
    if manifest is None or manifest["hypervolume_reference"] is not None or not len(table.frame):
        return
    facts = config.problem.facts
    reference = list(facts.guess_losses)
    if facts.has_sparsity:
        largest = float(table.frame["objective.sparsity"].max())
        unit = 10.0 ** (math.floor(math.log10(largest)) - 1) if largest > 0 else 1.0
        reference.insert(0, math.ceil(largest / unit) * unit)
    store.fix_hypervolume_reference(reference)
