"""The Python interface: plan a sweep, run it, and get the table of its results, as with the command line.

from sweep import load_config, plan, run

config = load_config("configs/quickstart.yaml")
print(plan(config).n_todo, "trials to train")
table = run(config)
table.frame[["k", "sparsity_rate", "accuracy.test.mean"]]

For a grid file that lists several problems use `load_configs`, `plan_all` and `run_all`, which start Ray once for all of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.errors import SweepError
from sweep.execution.options import RunOptions
from sweep.execution.supervisor import expected_workers, run_sweeps
from sweep.grid.load import GridText, SweepConfig
from sweep.monitor.notify import notifying
from sweep.monitor.outcome import EXIT_WRONG_INPUT, Outcome
from sweep.monitor.progress import choose_progress
from sweep.planning.packs import Plan, plan_sweeps
from sweep.planning.placing import place_rounds
from sweep.planning.trials import trials_of
from sweep.store.files import is_there
from sweep.store.remote.path import StorePath
from sweep.store.store import Store

if TYPE_CHECKING:
    from analysis.results.table import ResultTable


def plan(config: SweepConfig, *, limit: int | None = None, address: str | None = None) -> Plan:
    """Return what `run` would do now. This reads the results folder and writes nothing.

    Args:
        config: a grid file, from `load_config`.
        limit: plan only this many trials, the first ones; None means all.
        address: as for `run`; only the expected number of workers depends on it.

    Returns:
        The packs to train and the trials that are already complete.

    Raises:
        StoreError: the results folder cannot be read.
    """
    return plan_all((config,), limit=limit, address=address)[0]


def plan_all(configs: Sequence[SweepConfig], *, limit: int | None = None, address: str | None = None) -> tuple[Plan, ...]:
    """Return what `run_all` would do now, one plan per sweep.

    Args:
        configs: sweeps with the same `resources` and different outputs.
        limit: plan only this many trials of each sweep, the first ones; None means all.
        address: as for `run`; only the expected number of workers depends on it.

    Raises:
        StoreError: a results folder cannot be read.
    """
    stores = [Store(config.output) for config in configs]
    for store in stores:
        store.check_reachable()
    placed = [place_rounds(config, store, writes=False)[0] for config, store in zip(configs, stores, strict=True)]
    sweeps = [(config, trials_of(config, limit), store) for config, store in zip(placed, stores, strict=True)]
    return plan_sweeps(sweeps, expected_workers(configs[0], address).n, limit=limit)


def run(
    config: SweepConfig, *, address: str | None = None, dashboard: bool = True, limit: int | None = None, quiet: bool = False
) -> "ResultTable":
    """Train what is not complete yet, write the report, and return all results.

    After Ctrl-C (or an interrupt in a notebook) running epochs are finished and kept, and the results so far are returned.

    Args:
        config: a grid file, from `load_config` or `parse_config`.
        address: `auto` or `host:port` joins a cluster, `local` starts a local Ray; None joins the cluster that RAY_ADDRESS names, if
            any, and otherwise starts a local Ray.
        dashboard: start Ray's dashboard with a local Ray.
        limit: train only this many trials, the first ones; None means all.
        quiet: show no progress.

    Returns:
        A table with one row per trial; its `frame` is a pandas DataFrame.

    Raises:
        StoreError: the results folder cannot be used.
        SweepError: the cluster cannot be used, or an anchor run of `reference_point: auto` failed.
    """
    return run_all((config,), address=address, dashboard=dashboard, limit=limit, quiet=quiet)[0]


def run_all(
    configs: Sequence[SweepConfig], *, address: str | None = None, dashboard: bool = True, limit: int | None = None, quiet: bool = False
) -> "tuple[ResultTable, ...]":
    """Train several sweeps with one Ray, for example those of `load_configs`, and return the results of each.

    Args:
        configs: sweeps with the same `resources` and different outputs.
        address: as for `run`.
        dashboard: start Ray's dashboard with a local Ray.
        limit: train only this many trials of each sweep, the first ones; None means all.
        quiet: show no progress.

    Returns:
        The results of each sweep, in the order of `configs`.

    Raises:
        StoreError: a results folder cannot be used.
        SweepError: the cluster cannot be used, or an anchor run of `reference_point: auto` failed.
    """
    from analysis.results.table import read_results

    ended = run_and_report_all(configs, RunOptions(address=address, limit=limit, has_dashboard=dashboard, is_quiet=quiet))
    to_mend = [outcome.message for outcome, _ in ended if outcome.exit_code == EXIT_WRONG_INPUT and outcome.message]
    if to_mend:
        raise SweepError("\n".join(to_mend))
    return tuple(read_results(str(outcome.root)) for outcome, _ in ended)


def run_and_report_all(
    configs: Sequence[SweepConfig],
    options: RunOptions,
    *,
    grid_file: GridText | None = None,
) -> tuple[tuple[Outcome, StorePath], ...]:
    """Train several sweeps with one Ray, and write the report of each sweep that has new results.

    Args:
        configs: sweeps with the same `resources` and different outputs.
        options: where and how the sweeps run.
        grid_file: the text of the grid file, which is stored in the plans.

    Returns:
        For each sweep, its outcome and the path of its report.

    Raises:
        StoreError: a results folder cannot be used.
        SweepError: the cluster cannot be used.
    """
    names = {Store(config.output).root: config.name for config in configs}
    progress = choose_progress(options.is_quiet)
    with notifying(progress, names, options.notify) as (notified_progress, notify_end):
        try:
            outcomes = run_sweeps(configs, notified_progress, options, grid_file=grid_file)
        finally:
            progress.close()
        for outcome in outcomes:
            notify_end(outcome)
    return tuple((outcome, _report(config, outcome)) for config, outcome in zip(configs, outcomes, strict=True))


def _report(config: SweepConfig, outcome: Outcome) -> StorePath:
    report = outcome.root / "report.html"
    prices = config.costs.model_dump(exclude_none=True)
    is_new = outcome.n_trained or outcome.has_new_box or not is_there(report)
    if is_new or prices:  # the prices may have changed since
        from analysis.measures.costs import Costs
        from analysis.report.page import write_report

        write_report(str(outcome.root), costs=Costs(**prices))
    return report
